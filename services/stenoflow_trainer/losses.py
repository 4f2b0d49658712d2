"""What the student is asked for: the teacher's levels, the teacher's emissions and the transcript."""

from __future__ import annotations

import torch
from torch import Tensor

from stenoflow_trainer.batches import Batch
from stenoflow_trainer.kernels import ctc, squared_error
from stenoflow_trainer.model import BLANK, EMISSIONS


def level_errors(levels: list[Tensor], batch: Batch) -> Tensor:
    """Mean squared error of every level, [6]; a constant guess has about 1. 0 where the teacher has no levels."""
    if not batch.levels.shape[3]:
        return torch.stack([level.sum().float() * 0.0 for level in levels])
    errors = []
    for k, level in enumerate(levels):
        counts = batch.level_mask[:, :, k]
        errors.append(squared_error(level, batch.levels[:, :, k], counts) / (counts.sum() * level.shape[2]))
    return torch.stack(errors)


def divergence(log_probs: Tensor, batch: Batch) -> Tensor:
    """KL(teacher || student) an emission frame of 20 ms, in nats; 0 where the teacher has no emissions."""
    wanted, got = batch.log_probs[batch.emission_mask], log_probs[batch.emission_mask]
    return (wanted.exp() * (wanted - got)).sum() / max(1, wanted.shape[0] * EMISSIONS)


def transcript_loss(log_probs: Tensor, batch: Batch, look_ahead: int) -> Tensor:
    """CTC on the human transcripts, in nats an emission frame; 0 where the batch has none."""
    rows = [row for row, text in enumerate(batch.texts) if len(text)]
    if not rows:
        return log_probs.sum() * 0.0
    lengths = [EMISSIONS * batch.steps[row] for row in rows]
    frames = log_probs[rows, look_ahead:].flatten(1, 2)
    likelihoods: Tensor = ctc(frames, [batch.texts[row] for row in rows], lengths, BLANK)
    return likelihoods / sum(lengths)
