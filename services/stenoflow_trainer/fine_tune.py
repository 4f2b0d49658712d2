"""Fine-tuning on one's own calls: the same loop for our student and for any CTC model of transformers.

CTC on the transcripts, held back by the divergence from what the model said before, so that few hours of one domain do
not cost it the rest (D. Yu et al. 2013, "KL-divergence regularized deep neural network adaptation"). The weights with
the least errors on speakers that were not trained on are kept; the old ones, if none are better.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import jiwer
import numpy as np
import torch
import torch.distributed as dist
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from stenoflow.base.errors import ConfigError
from stenoflow_trainer import data
from stenoflow_trainer.batches import schedule
from stenoflow_trainer.ctc_models import CtcModel
from stenoflow_trainer.progress_log import ProgressLog

STEPS_PER_S = 25
MOST_LETTERS_PER_S = 30
"""More are no transcript of that recording."""
DRAWN = {"dev_wer": "dev WER, %", "loss": "loss"}
DEV_SHARE = 0.1
EVERY_TENTH = 10


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast.

    Args:
        epochs: how often everything is heard.
        rate: of AdamW at its highest, after a tenth of the steps; a cosine to 0 follows.
        batch_s: audio seconds a step and process, padding included.
        accumulate: batches a step.
        seed: of order, augmentation and split.
    """

    epochs: float = 4.0
    rate: float = 1e-4
    batch_s: float = 60.0
    accumulate: int = 1
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Figures:
    """Dev after some steps."""

    step: int
    dev_wer: float
    dev_cer: float
    loss: float

    @property
    def known(self) -> dict[str, float]:
        """All but the loss before the first step."""
        return {name: value for name, value in asdict(self).items() if not math.isnan(value)}


def split_own(utterances: Sequence[data.Utterance], seed: int) -> tuple[list[data.Utterance], list[data.Utterance]]:
    """(training, dev) of recordings with a transcript; by speaker where at least two are named.

    Raises:
        ConfigError: nothing is transcribed, or too little to keep some apart.
    """
    usable = [one for one in utterances if one.label == "human" and _fits(one)]
    if len(usable) < 2:
        raise ConfigError(
            "recordings_few", f"{len(usable)} recordings of 0.3 to {data.LONGEST_S:.0f} s have a text: 2 at least"
        )
    # Not `data.split_dev`: it keeps somebody of every corpus apart, and takes what stands before a hyphen for one.
    speakers = sorted({one.speaker for one in usable} - {"unknown"})
    if len(speakers) >= 2:
        chosen = set(random.Random(seed).sample(speakers, max(1, round(DEV_SHARE * len(speakers)))))
        return [one for one in usable if one.speaker not in chosen], [one for one in usable if one.speaker in chosen]
    order = np.random.default_rng(seed).permutation(len(usable)).tolist()
    count = max(1, len(usable) // EVERY_TENTH)
    return [usable[at] for at in sorted(order[count:])], [usable[at] for at in sorted(order[:count])]


def _fits(one: data.Utterance) -> bool:
    """Whether it is no longer than is trained on, and its letters fit into its frames."""
    return 0.3 <= one.seconds <= data.LONGEST_S and len(one.text) <= MOST_LETTERS_PER_S * one.seconds


def error_rates(model: CtcModel, dev: Sequence[data.Utterance], shards: data.Shards) -> tuple[float, float]:
    """(WER, CER) in per cent."""
    said = [model.transcribe(shards.read(one)) for one in dev]
    texts = [one.text for one in dev]
    return 100 * jiwer.wer(texts, said), 100 * jiwer.cer(texts, said)


def fine_tune(
    model: CtcModel, train: list[data.Utterance], dev: list[data.Utterance], root: Path, plan: Plan, run: Path
) -> Figures:
    """Tunes `model` in place and leaves the best weights in it.

    Under ``torchrun`` every process hears its share and gradients are averaged. ``run`` gets ``log.jsonl`` (a line a
    measurement) and TensorBoard events.

    Returns:
        the best figures; step 0 where nothing was better than the start.
    """
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    torch.manual_seed(plan.seed)
    shards, parameters = data.Shards(root), [one for one in model.parameters() if one.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.01)
    lengths = [math.ceil(one.seconds * STEPS_PER_S) for one in train]
    budget = max(int(plan.batch_s * STEPS_PER_S), max(lengths) + 8)
    batches = schedule(lengths, budget, seed=plan.seed, share=rank, shares=world)
    an_epoch = max(1.0, sum(lengths) / (budget * 0.9) / world)  # batches; few recordings fill no whole one
    steps = max(1, round(plan.epochs * an_epoch / plan.accumulate))
    every = max(1, steps // max(4, round(2 * plan.epochs)))
    best = Figures(0, *error_rates(model, dev, shards), math.nan)
    kept = [one.detach().clone() for one in parameters]
    with ProgressLog(run, rank, DRAWN) as log, _bar(rank) as bar:
        log.add(best.known)
        task, losses = bar.add_task(f"dev WER {best.dev_wer:.1f} %", total=steps), list[float]()
        for step in range(1, steps + 1):
            # The cosine begins at the first step and is 0 after the last one: where there is but one, it learns too.
            factor = min(1.0, step / (0.1 * steps)) * 0.5 * (1 + math.cos(math.pi * (step - 1) / steps))
            for group in optimiser.param_groups:
                group["lr"] = plan.rate * factor
            optimiser.zero_grad(set_to_none=True)
            losses.append(0.0)
            for part in range(plan.accumulate):
                chosen = [train[at] for at in next(batches)[0]]
                draw = np.random.default_rng([plan.seed, step, part, rank])
                loss = model.loss([shards.read(one) for one in chosen], [one.text for one in chosen], draw)
                (loss / plan.accumulate).backward()  # type: ignore[no-untyped-call]
                losses[-1] += float(loss.detach()) / plan.accumulate
            _average_gradients(parameters, world)
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            bar.advance(task)
            if step % every == 0 or step == steps:
                now = Figures(step, *error_rates(model, dev, shards), float(np.mean(losses)))
                losses.clear()
                log.add(now.known)
                if now.dev_wer < best.dev_wer:
                    best, kept = now, [one.detach().clone() for one in parameters]
                bar.update(task, description=f"dev WER {now.dev_wer:.1f} % (best {best.dev_wer:.1f})")
    with torch.no_grad():
        for parameter, value in zip(parameters, kept, strict=True):
            parameter.copy_(value)
    if world > 1:
        dist.destroy_process_group()
    return best


def _average_gradients(parameters: Sequence[torch.nn.Parameter], world: int) -> None:
    if world == 1:
        return
    # What got no gradient here may have got one elsewhere.
    flat = torch.cat([(one.grad if one.grad is not None else torch.zeros_like(one)).flatten() for one in parameters])
    dist.all_reduce(flat)
    flat /= world
    for parameter, gradient in zip(parameters, torch.split(flat, [one.numel() for one in parameters]), strict=True):
        parameter.grad = gradient.view_as(parameter)


def _bar(rank: int) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, transient=False, disable=rank != 0)
