"""The training loop: one flat function a process, scheduled by wall-clock time.

`fit` runs in every process; gradients are summed by gloo.  A checkpoint holds all that is needed to go on; how far the
schedule is depends on the seconds trained so far alone, so a run ends when it was told to, on a machine of any speed.
"""

from __future__ import annotations

import copy
import os
import time
import tomllib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import cos, pi
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from stenoflow.base.errors import ConfigError
from stenoflow_trainer import data
from stenoflow_trainer.augment import Augmentation
from stenoflow_trainer.batches import SYMBOLS, collate, schedule
from stenoflow_trainer.checkpoint import load_weights, new_student
from stenoflow_trainer.levels import Cached, open_cache, read_ahead
from stenoflow_trainer.losses import divergence, level_errors, transcript_loss
from stenoflow_trainer.model import BLANK, Student
from stenoflow_trainer.muon import Muon
from stenoflow_trainer.progress_log import ProgressLog
from stenoflow_trainer.teacher import Projection

Settings = dict[str, Any]
STEPS_PER_S = 25
DRAWN = {"dev_wer": "dev WER, %", "dev_kl": "dev KL, nats"}
AVERAGE_EVERY = 4  # steps


@dataclass(frozen=True)
class Corpus:
    """Cached utterances with the best text that there is: by people, of the cache, the teacher's (`pseudo_labels`)."""

    train: list[Cached]
    dev: list[Cached]
    projection: Projection


def load_settings(path: Path) -> Settings:
    """Reads an experiment's TOML file."""
    return tomllib.loads(path.read_text("utf-8"))


def labelled_utterances(speech: Path) -> list[data.Utterance]:
    """The split `train` without any speaker of a held set."""
    held = [one for name in data.held_splits(speech) for one in data.read_manifest(speech, name)]
    return data.without_speakers(data.read_manifest(speech, "train"), held)


def split(labelled: list[data.Utterance], settings: Settings) -> tuple[list[data.Utterance], list[data.Utterance]]:
    """(training, dev) as the experiment has it."""
    return data.split_dev(labelled, share=settings["data"]["dev_share"], seed=settings["seed"])


def dev_utterances(speech: Path, settings: Settings) -> list[data.Utterance]:
    """The development set, at most `dev_per_speaker` utterances of each of its speakers."""
    count: dict[str, int] = defaultdict(int)
    chosen = []
    for one in split(labelled_utterances(speech), settings)[1]:
        count[one.speaker] += 1
        if count[one.speaker] <= settings["data"]["dev_per_speaker"]:
            chosen.append(one)
    return chosen


def load_corpus(speech: Path, caches: Sequence[Path], settings: Settings) -> Corpus:
    """Joins caches and manifests; what the caches lack is left out.

    Raises:
        ConfigError: caches have levels of different projections.
    """
    labelled = labelled_utterances(speech)
    train, _ = split(labelled, settings)
    dropped = {one.id for one in labelled} - {one.id for one in train}
    kept = {one.id for one in dev_utterances(speech, settings)}
    human = {one.id: one.text for one in labelled if one.label == "human"}
    pseudo_labels = settings["data"].get("pseudo_labels", False)
    cached = [one for cache in caches for one in with_texts(open_cache(cache), human, pseudo_labels=pseudo_labels)]
    return Corpus(
        train=[one for one in cached if data.recording_of(one.id) not in dropped],
        dev=[one for one in cached if one.id in kept],
        projection=shared_projection(caches),
    )


def with_texts(cached: list[Cached], human: dict[str, str], *, pseudo_labels: bool) -> list[Cached]:
    """The utterances of a cache with the best text that there is: `human` by recording, its own, the teacher's."""
    pseudo = {}
    if pseudo_labels:
        alone = (one for one in cached if one.id == data.recording_of(one.id) and one.id not in human and not one.text)
        said = ((one.id, one.log_probs) for one in alone if one.log_probs is not None)
        pseudo = {name: greedy(torch.from_numpy(rows.astype(np.float32)).flatten(0, 1)) for name, rows in said}
    recordings = ((one, data.recording_of(one.id)) for one in cached)
    return [replace(one, text=human.get(name) or one.text or pseudo.get(name, "")) for one, name in recordings]


def shared_projection(caches: Sequence[Path]) -> Projection:
    """The projection that all caches have; those without levels fit to any.

    Raises:
        ConfigError: levels are projected differently.
    """
    found = [Projection.load(cache / "projection.safetensors") for cache in caches]
    with_levels = [(cache, one) for cache, one in zip(caches, found, strict=True) if one.matrix]
    for cache, one in with_levels:
        first = with_levels[0][1].matrix
        if any(not np.allclose(mine, others, atol=1e-2) for mine, others in zip(one.matrix, first, strict=True)):
            raise ConfigError(
                "levels_differ",
                f"the levels in {cache} are projected otherwise than those in {with_levels[0][0]}: run teach with "
                "--projection of the first",
            )
    return with_levels[0][1] if with_levels else found[0]


def ramp(progress: float, begin: float, end: float) -> float:
    """0 before `begin`, 1 from `end` on, linear between."""
    return min(1.0, max(0.0, (progress - begin) / max(end - begin, 1e-9)))


def join(run: Path, rank: int, world: int) -> torch.device:
    """Meets the other processes, by torchrun's address or in the run's folder; the device of this one."""
    if gpu := torch.cuda.is_available():
        torch.cuda.set_device(rank % torch.cuda.device_count())
    meeting = "env://" if "MASTER_ADDR" in os.environ else f"file://{run.resolve()}/rendezvous"
    dist.init_process_group("nccl" if gpu else "gloo", init_method=meeting, rank=rank, world_size=world)
    return torch.device("cuda" if gpu else "cpu")


def served_chunk(settings: Settings) -> int:
    """Steps of 40 ms that the student is served in: a conformer's chunk; 1 where every step stands by itself."""
    chunk: int = settings["student"].get("served_chunk", 1)
    return chunk


def level_weight(progress: float, plan: Settings) -> float:
    """How much the levels count beside the emissions: all, then less and less once they stand."""
    least: float = plan["levels_least"]
    return 1.0 - (1.0 - least) * ramp(progress, plan["levels_from"], plan["levels_at"])


def rate_factor(progress: float, warm_up: float) -> float:
    """Linear warm-up, then a cosine to 0 at the end."""
    return ramp(progress, 0.0, warm_up) * (1e-3 + 0.5 * (1.0 + cos(pi * ramp(progress, warm_up, 1.0))))


def greedy(log_probs: Tensor) -> str:
    """Best path of one utterance, [U, 29]: repeats and blanks out."""
    best = torch.unique_consecutive(log_probs.argmax(-1)).tolist()
    return " ".join("".join(SYMBOLS[token] for token in best if token != BLANK).split())


@torch.no_grad()
def copy_weights(weights: list[Tensor], into: list[Tensor]) -> None:
    """Copies every tensor into its counterpart, of any type."""
    torch._foreach_copy_(into, weights)


@torch.no_grad()
def measure(student: Student, corpus: Corpus, rank: int, world: int, chunk: int) -> dict[str, Any]:
    """WER, CER, KL and level errors on dev, the student's own levels throughout; shared between the processes.

    KL and level errors only where the teacher gave something of dev to compare with.

    chunk: steps that a conformer sees at once.
    """
    sums = torch.zeros(5 + len(student.shape.delays) + 1, device=student.head.weight.device)
    draw, flush = np.random.default_rng(0), corpus.projection.feature_mean
    mine = sorted(corpus.dev, key=lambda one: one.steps)[rank::world]
    for begin in range(0, len(mine), 24):
        chosen = mine[begin : begin + 24]
        batch = collate(chosen, [""] * len(chosen), student.shape.delays, flush, draw, None).to(sums.device)
        levels, log_probs = student(batch.features, chunk=chunk)
        for row, one in enumerate(chosen):
            late = student.shape.look_ahead
            text = greedy(log_probs[row, late : late + one.steps].flatten(0, 1))
            words = jiwer.process_words(one.text, text)
            letters = jiwer.process_characters(one.text, text)
            for at, counts in ((0, words), (2, letters)):
                sums[at] += counts.substitutions + counts.deletions + counts.insertions
                sums[at + 1] += counts.substitutions + counts.deletions + counts.hits
        sums[4] += divergence(log_probs, batch) * sum(batch.steps)
        sums[5:-1] += level_errors(levels, batch) * sum(batch.steps)
        sums[-1] += sum(batch.steps)
    dist.all_reduce(sums)
    figures: dict[str, Any] = {
        "dev_wer": round(100 * float(sums[0] / sums[1]), 2),
        "dev_cer": round(100 * float(sums[2] / sums[3]), 2),
    }
    if any(one.log_probs is not None for one in corpus.dev):
        figures["dev_kl"] = round(float(sums[4] / sums[-1]), 4)
    if any(one.levels is not None for one in corpus.dev):
        figures["dev_levels"] = [round(float(error), 3) for error in sums[5:-1] / sums[-1]]
    return figures


def fit(
    settings: Settings,
    speech: Path,
    caches: Sequence[Path],
    run: Path,
    *,
    hours: float,
    resume: bool,
    start: Path | None,
    rank: int,
    world: int,
) -> None:
    """Trains until `hours` of wall-clock time are used; writes checkpoint.pt and log.jsonl into `run`.

    Args:
        caches: of `teach`; levels and emissions count where there are some. Without any, only texts teach, from the
            beginning.
        resume: go on from `run`'s checkpoint, in its schedule.
        start: begin a new schedule from these weights (`checkpoint.save_weights`) instead of random ones.
        rank, world: which process this is, and of how many.
    """
    torch.set_num_threads(1)
    order: int = settings["data"].get("order", settings["seed"])
    torch.manual_seed(order)
    device = join(run, rank, world)
    plan, optimiser, minutes = settings["schedule"], settings["optimiser"], settings["minutes"]
    dtype = getattr(torch, settings.get("dtype", "bfloat16"))
    corpus = load_corpus(speech, caches, settings)
    student = new_student(settings, corpus.projection).to(device)
    if start:
        student.load_state_dict(load_weights(start))
    average = new_student(settings, corpus.projection).to(device)
    average.load_state_dict(student.state_dict())
    flush, delays = corpus.projection.feature_mean, student.shape.delays
    chunks = settings["student"].get("chunks", [0])

    # The student keeps float32 weights; a copy of it in `dtype` does the work, so that nothing is cast on the way.
    working = copy.deepcopy(student)
    for parameter in working.parameters():
        parameter.data = parameter.data.to(dtype)
    inner = [name for name, _ in student.named_parameters() if name.endswith((".up.weight", ".down.weight"))]
    names = [*inner, *(name for name, _ in student.named_parameters() if name not in inner)]
    parameters: list[Tensor] = [student.get_parameter(name) for name in names]
    copies: list[Tensor] = [working.get_parameter(name) for name in names]
    averages: list[Tensor] = [average.get_parameter(name) for name in names]
    matrices, others = parameters[: len(inner)], parameters[len(inner) :]
    muon = Muon(matrices, share=rank, shares=world)
    betas, decay = (0.9, 0.98), optimiser["adam_decay"]
    adam = torch.optim.AdamW(others, lr=optimiser["adam_rate"], betas=betas, weight_decay=decay, fused=True)
    # All gradients are gathered in one buffer, so that one all-reduce carries them.
    flat = torch.zeros(sum(p.numel() for p in parameters), dtype=dtype, device=device)
    views = torch.split(flat, [p.numel() for p in parameters])
    gradients = [view.view_as(parameter) for view, parameter in zip(views, parameters, strict=True)]

    spent, step, heard = 0.0, 0, 0.0
    if resume:
        stored = torch.load(run / "checkpoint.pt", weights_only=True, map_location=device)
        student.load_state_dict(stored["student"])
        average.load_state_dict(stored["average"])
        adam.load_state_dict(stored["adam"])
        for buffer, kept in zip(muon.buffers, stored["muon"], strict=True):
            buffer.copy_(kept)
        spent, step, heard = stored["spent"], stored["step"], stored["heard"]

    steps = [one.steps + student.shape.look_ahead for one in corpus.train]
    budget = int(settings["data"]["batch_seconds"] * STEPS_PER_S)
    batches = schedule(steps, budget, seed=order, share=rank, shares=world)
    accumulate = settings["data"].get("accumulate", 1)  # batches a step
    for _ in range(step * accumulate):
        next(batches)
    began, next_dev = time.monotonic() - spent, spent + 60 * minutes["dev"]
    next_save = spent + 60 * minutes["checkpoint"]
    log = ProgressLog(run, rank, DRAWN, resume=resume)
    if rank == 0:
        hours_ready = sum(one.steps for one in corpus.train) / STEPS_PER_S / 3600
        dev_hours = sum(one.steps for one in corpus.dev) / STEPS_PER_S / 3600
        print(
            f"{len(corpus.train)} utterances, {hours_ready:.2f} h; dev {len(corpus.dev)}, {dev_hours:.2f} h; "
            f"{sum(p.numel() for p in parameters) / 1e6:.2f} million parameters",
            flush=True,
        )
    ctc_from = plan["ctc_from"] if any(one.log_probs is not None for one in corpus.train) else 0.0
    progress = spent / (3600 * hours)
    recent: Tensor = torch.zeros(2 + len(delays), device=device)
    shown = 0
    upcoming = next(batches)
    while progress < 1.0:
        # 1. Losses and gradients of a batch, or of several; which segments read the teacher is drawn for each.
        copy_weights(parameters, copies)
        flat.zero_()
        for part in range(accumulate):
            (indices, epoch), upcoming = upcoming, next(batches)
            for index in upcoming[0]:
                read_ahead(corpus.train[index])
            draw = np.random.default_rng([order, step, rank, part])
            grown = ramp(progress, plan["hard_from"], plan["hard_at"])
            augmentation = Augmentation(settings["data"]["spoiled"] * grown, plan["hardest"] * grown)
            chosen = [corpus.train[index] for index in indices]
            texts = [one.text for one in chosen]
            batch = collate(chosen, texts, delays, flush, draw, augmentation).to(device)
            p = 1.0 - ramp(progress, plan["forced_until"], plan["free_from"])
            mask = torch.from_numpy(draw.random((len(chosen), len(delays))) < p).to(device)
            mask &= batch.level_mask.any(dim=1)
            levels, log_probs = working(batch.features, batch.levels, mask, chunk=int(draw.choice(chunks)))
            errors, kl = level_errors(levels, batch), divergence(log_probs, batch)
            loss = level_weight(progress, plan) * errors.sum() + kl
            if progress >= ctc_from:
                loss = loss + optimiser["ctc_weight"] * transcript_loss(log_probs, batch, student.shape.look_ahead)
            flat += torch.cat([gradient.flatten() for gradient in torch.autograd.grad(loss, copies)])
            recent += torch.cat([loss.detach()[None], kl.detach()[None], errors.detach()])
            heard += world * sum(batch.steps) / STEPS_PER_S / 3600
            shown += 1

        # 2. One gradient of all processes, who go by the first one's clock.
        clock = torch.tensor((time.monotonic() - began) / (3600 * hours), dtype=torch.float64, device=device)
        dist.broadcast(clock, src=0)
        progress = float(clock)
        dist.all_reduce(flat)
        norm = float(flat.norm()) / (world * accumulate)
        scale = min(1.0, optimiser["clip"] / (norm + 1e-6)) / (world * accumulate)

        # 3. The step: Muon's matrices divided between the processes, AdamW the same everywhere.
        factor = rate_factor(progress, plan["warm_up"])
        own = muon.updates(gradients[: len(matrices)], scale)
        updates = [own if share == rank else own.new_empty(muon.size(share)) for share in range(world)]
        for share, update in enumerate(updates):
            dist.broadcast(update.view(torch.uint8), src=share)
        muon.apply(updates, optimiser["muon_rate"] * factor, optimiser["muon_decay"])
        for other, gradient in zip(others, gradients[len(matrices) :], strict=True):
            other.grad = gradient.float() * scale
        for group in adam.param_groups:
            group["lr"] = optimiser["adam_rate"] * factor
        adam.step()
        step += 1
        keep = min(optimiser["ema"], (1 + step) / (10 + step))
        if step % AVERAGE_EVERY == 0:
            with torch.no_grad():
                torch._foreach_lerp_(averages, parameters, 1.0 - keep**AVERAGE_EVERY)

        # 4. Now and then: a line, dev, a checkpoint.
        elapsed = progress * 3600 * hours
        if step % 50 == 0 and rank == 0:
            values = [round(float(v), 3) for v in recent / shown]
            print(
                f"{elapsed / 60:6.1f} min step {step} epoch {epoch} heard {heard:.1f} h p {p:.2f} norm {norm:.2f} "
                f"loss {values[0]} kl {values[1]} levels {values[2:]}",
                flush=True,
            )
            recent.zero_()
            shown = 0
        over = progress >= 1.0
        if elapsed >= next_dev or over:
            next_dev = elapsed + 60 * minutes["dev"]
            figures = {"minutes": round(elapsed / 60, 1), "step": step, "heard_h": round(heard, 1), "p": round(p, 2)}
            copy_weights(averages, copies)
            figures |= measure(working, corpus, rank, world, served_chunk(settings))
            log.add(figures)
            if rank == 0:
                print(figures, flush=True)
        if rank == 0 and (elapsed >= next_save or over):
            next_save = elapsed + 60 * minutes["checkpoint"]
            state: dict[str, Any] = {
                "student": student.state_dict(),
                "average": average.state_dict(),
                "adam": adam.state_dict(),
            }
            state |= {"muon": muon.buffers, "spent": elapsed, "step": step, "heard": heard}
            torch.save(state, run / "checkpoint.part")
            (run / "checkpoint.part").rename(run / "checkpoint.pt")
    dist.barrier()
    dist.destroy_process_group()
