"""Turns cached utterances into padded batches with delayed targets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stenoflow_trainer.augment import Augmentation, heard
from stenoflow_trainer.levels import Cached
from stenoflow_trainer.model import EMISSIONS
from stenoflow_trainer.teacher import WIDTH

SYMBOLS = " abcdefghijklmnopqrstuvwxyz'"
GRAIN = 8  # steps that a padded length is a multiple of: oneDNN compiles every new shape of a product for some 10 ms
_IDS = {symbol: number for number, symbol in enumerate(SYMBOLS)}


@dataclass
class Batch:
    """B utterances, padded to T steps, every one followed by its flush steps.

    features: float32 [B, 4 T, 80], log-mel, not normalised.
    levels: float16 [B, T, 6, 384], the teacher's, each delayed as the student's will be, zeros elsewhere; [B, T, 6, 0]
        where no utterance of the batch has any.
    level_mask: bool [B, T, 6]: where `levels` holds something.
    log_probs: float32 [B, T, 2, 29], delayed by the look-ahead; emission_mask: bool [B, T], where it holds something.
    texts: token ids, empty where nobody transcribed the recording; steps: of the recordings themselves, [B].
    """

    features: Tensor
    levels: Tensor
    level_mask: Tensor
    log_probs: Tensor
    emission_mask: Tensor
    texts: list[Tensor]
    steps: list[int]

    def to(self, device: torch.device) -> Batch:
        """The same on a device; texts stay."""
        if device.type == "cpu":
            return self
        tensors = {one.name: getattr(self, one.name) for one in fields(self)}
        moved: dict[str, Any] = {name: one.to(device) for name, one in tensors.items() if isinstance(one, Tensor)}
        return replace(self, **moved)


def tokens(text: str) -> Tensor:
    """Character ids of a normalised transcript."""
    return torch.tensor([_IDS[symbol] for symbol in text], dtype=torch.long)


def padded_steps(steps: int) -> int:
    """The least allowed length of a batch whose longest row has `steps`."""
    return -(-steps // GRAIN) * GRAIN


def schedule(
    steps: Sequence[int], budget: int, *, seed: int, share: int = 0, shares: int = 1
) -> Iterator[tuple[list[int], int]]:
    """Endless batches of utterances of like length.

    All processes make the same plan, and the batches of one training step are neighbours by length, so that
    nobody waits long for another. Where there are fewer batches than processes, some hear the same one.

    Yields:
        (indices into `steps`, epoch).
    """
    assert len(steps), "no utterances to make batches of"
    epoch = 0
    while True:
        draw = np.random.default_rng([seed, epoch])
        order = np.argsort(np.asarray(steps) * draw.uniform(0.99, 1.01, len(steps)))
        groups: list[list[int]] = []
        longest = 0
        for index in order.tolist():
            longest = max(longest, padded_steps(steps[index]))
            if not groups or longest * (len(groups[-1]) + 1) > budget:
                groups.append([])
                longest = padded_steps(steps[index])
            groups[-1].append(index)
        whole = len(groups) // shares
        for number in draw.permutation(whole).tolist():
            yield groups[number * shares + share], epoch
        if not whole:
            yield groups[share % len(groups)], epoch
        epoch += 1


def collate(
    chosen: Sequence[Cached],
    texts: Sequence[str],
    delays: Sequence[int],
    flush: npt.NDArray[np.float32],
    draw: np.random.Generator,
    augmentation: Augmentation | None,
) -> Batch:
    """Pads, augments and delays.  flush: the frame that ends an utterance, [80]."""
    flushes = delays[-1]
    total = padded_steps(max(one.steps for one in chosen) + flushes)
    size, depth = len(chosen), len(delays)
    features = np.empty((size, 4 * total, flush.shape[0]), np.float32)
    features[:] = flush
    width = WIDTH if any(one.levels is not None for one in chosen) else 0
    levels = np.zeros((size, total, depth, width), np.float16)
    level_mask = np.zeros((size, total, depth), bool)
    log_probs = np.zeros((size, total, EMISSIONS, len(SYMBOLS) + 1), np.float32)
    emission_mask = np.zeros((size, total), bool)
    for row, one in enumerate(chosen):
        features[row, : 4 * one.steps] = heard(one.sound, draw, augmentation)
        if one.levels is not None:
            for k, delay in enumerate(delays):
                levels[row, delay : delay + one.steps, k] = one.levels[:, k]
                level_mask[row, delay : delay + one.steps, k] = True
        if one.log_probs is not None:
            log_probs[row, flushes : flushes + one.steps] = one.log_probs
            emission_mask[row, flushes : flushes + one.steps] = True
    return Batch(
        features=torch.from_numpy(features),
        levels=torch.from_numpy(levels),
        level_mask=torch.from_numpy(level_mask),
        log_probs=torch.from_numpy(log_probs),
        emission_mask=torch.from_numpy(emission_mask),
        texts=[tokens(text) for text in texts],
        steps=[one.steps for one in chosen],
    )
