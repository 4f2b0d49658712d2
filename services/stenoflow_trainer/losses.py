"""What the student is asked for: the teacher's levels, the teacher's emissions and the transcript."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from stenoflow_trainer.batches import Batch
from stenoflow_trainer.model import BLANK, EMISSIONS


def level_errors(levels: list[Tensor], batch: Batch) -> Tensor:
    """Mean squared error of every level, [6]; a constant guess has about 1."""
    errors = []
    for k, level in enumerate(levels):
        mask = batch.level_mask[:, :, k]
        errors.append((level - batch.levels[:, :, k])[mask].square().mean())
    return torch.stack(errors)


def divergence(log_probs: Tensor, batch: Batch) -> Tensor:
    """KL(teacher || student) an emission frame of 20 ms, in nats."""
    wanted, got = batch.log_probs[batch.emission_mask], log_probs[batch.emission_mask]
    return (wanted.exp() * (wanted - got)).sum() / (wanted.shape[0] * EMISSIONS)


def transcript_loss(log_probs: Tensor, batch: Batch, look_ahead: int) -> Tensor:
    """CTC on the human transcripts, in nats an emission frame; 0 where the batch has none."""
    rows = [row for row, text in enumerate(batch.texts) if len(text)]
    if not rows:
        return log_probs.sum() * 0.0
    frames = log_probs[rows, look_ahead:].flatten(1, 2).transpose(0, 1)
    lengths = torch.tensor([EMISSIONS * batch.steps[row] for row in rows])
    texts = [batch.texts[row] for row in rows]
    sizes = torch.tensor([len(text) for text in texts])
    loss = F.ctc_loss(frames, torch.cat(texts), lengths, sizes, blank=BLANK, reduction="sum", zero_infinity=True)
    return loss / lengths.sum()
