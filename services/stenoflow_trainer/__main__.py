"""The command `stenoflow-train`: teach, train, export, lm, evaluate."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Trains Stenoflow's small streaming model: run teach, then train, lm, export and evaluate.",
)

Speech = Annotated[Path, typer.Option(help="Folder of manifests and tar shards.")]
TeacherFolder = Annotated[Path, typer.Option(help="Folder of the teacher's ONNX file.")]
Levels = Annotated[Path, typer.Option(help="Cache of the teacher pass; 13 GB for 26 hours.")]

EXPERIMENT = Path(__file__).parent / "experiments" / "en-small.toml"
Run = Annotated[Path, typer.Option(help="Folder of checkpoint and log.")]
Bundle = Annotated[Path, typer.Option(help="Folder of the bundle.")]

RUN, BUNDLE = Path(".work/runs/en-small"), Path("shared/models/en-small")
SPEECH, TEACHER, LEVELS = Path("../shared/speech"), Path("../shared/teacher"), Path(".work/levels")


@app.callback()
def trainer() -> None:
    """Keeps the name of the command on the line while there is one command only."""


@app.command()
def teach(
    speech: Speech = SPEECH,
    teacher: TeacherFolder = TEACHER,
    levels: Levels = LEVELS,
    workers: Annotated[int, typer.Option(help="Processes of one thread; one a core.", min=1)] = 2,
    projection: Annotated[Path | None, typer.Option(help="Use these levels instead of fitting new ones.")] = None,
    copies: Annotated[int, typer.Option(help="How often each recording is heard again, faster or slower.", min=0)] = 0,
    worker: Annotated[int, typer.Option(hidden=True)] = -1,
) -> None:
    """Runs the teacher over all training sound and keeps what it says.

    15 minutes and 13 GB for 25 hours on two cores with AMX, once more for every copy.  Interrupt and start it again
    as you like: it goes on where it was, as long as --workers stays the same.  To train on from stored weights give
    their levels (checkpoints/en-small-levels.safetensors) as --projection.
    """
    import numpy as np
    import torch

    from stenoflow_trainer import data
    from stenoflow_trainer.levels import SEED, fit_projection, write_part
    from stenoflow_trainer.teacher import Projection, Teacher

    utterances = [one for split in ("train", "train_unlabelled") for one in data.read_manifest(speech, split)]
    held = [one for split in data.held_splits(speech) for one in data.read_manifest(speech, split)]
    utterances = data.without_speakers(utterances, held)
    random.Random(SEED).shuffle(utterances)
    utterances += data.at_other_speeds(utterances, copies, SEED)
    torch.set_num_threads(1)
    shards, model = data.Shards(speech), Teacher(next(teacher.glob("*.onnx")))
    stored = levels / "projection.safetensors"
    if worker < 0:
        levels.mkdir(parents=True, exist_ok=True)
        if projection and not stored.exists():
            Projection.load(projection).save(stored)
        elif not stored.exists():
            typer.echo("projection of the levels from 300 utterances ...")
            fitted = fit_projection(utterances[:300], shards, model)
            fitted.save(stored)
            typer.echo("variance kept: " + " ".join(f"{share:.3f}" for share in fitted.kept))
        command = [sys.executable, "-m", "stenoflow_trainer", "teach", "--workers", str(workers)]
        command += ["--copies", str(copies)]
        command += ["--speech", str(speech), "--teacher", str(teacher), "--levels", str(levels)]
        running = [subprocess.Popen([*command, "--worker", str(number)]) for number in range(workers)]
        raise typer.Exit(max(process.wait() for process in running))
    mine = utterances[worker::workers]
    levels_of = Projection.load(stored)
    total = float(np.sum([one.seconds for one in mine]))
    with typer.progressbar(length=int(total), label=f"worker {worker}", file=sys.stderr) as bar:
        for seconds in write_part(levels / f"part-{worker}", mine, shards, model, levels_of):
            bar.update(int(seconds + 0.5))


@app.command()
def train(
    experiment: Annotated[Path, typer.Argument(help="TOML file of the experiment.")] = EXPERIMENT,
    hours: Annotated[float, typer.Option(help="Wall-clock time of the whole schedule.", min=0.001)] = 1.2,
    run: Run = RUN,
    resume: Annotated[bool, typer.Option(help="Go on from the folder's checkpoint.")] = False,
    start: Annotated[Path | None, typer.Option(help="Begin with these weights (checkpoints/*.safetensors).")] = None,
    speech: Speech = SPEECH,
    levels: Levels = LEVELS,
    worker: Annotated[int, typer.Option(hidden=True)] = -1,
) -> None:
    """Trains the student on the cache of `teach`; ends when the hours are over.

    A dev line every five minutes on the screen and in <run>/log.jsonl.  With --resume and more --hours the rate
    rises again to where the longer schedule has it.
    """
    from stenoflow_trainer.train import fit, load_settings

    settings = load_settings(experiment)
    processes = settings["processes"]
    if worker >= 0:
        fit(settings, speech, levels, run, hours=hours, resume=resume, start=start, rank=worker, world=processes)
        return
    run.mkdir(parents=True, exist_ok=True)
    (run / "rendezvous").unlink(missing_ok=True)
    command = [sys.executable, "-m", "stenoflow_trainer", "train", str(experiment), "--hours", str(hours)]
    command += ["--run", str(run), "--speech", str(speech), "--levels", str(levels)]
    command += ["--resume"] if resume else []
    command += ["--start", str(start)] if start else []
    # Every step allocates and frees the same large arrays: kept by the process, they need no new pages each time.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "1000000000", "MALLOC_TRIM_THRESHOLD_": "4000000000"}
    running = [subprocess.Popen([*command, "--worker", str(number)], env=environment) for number in range(processes)]
    raise typer.Exit(max(process.wait() for process in running))


@app.command()
def lm(
    experiment: Annotated[Path, typer.Argument(help="TOML file of the experiment.")] = EXPERIMENT,
    bundle: Bundle = BUNDLE,
    text: Annotated[Path, typer.Option(help="Folder of xz text files.")] = Path("../shared/text"),
    speech: Speech = SPEECH,
    tools: Annotated[Path, typer.Option(help="Where KenLM is built, once.")] = Path(".tools"),
    work: Annotated[Path, typer.Option(help="Scratch folder.")] = Path(".work/lm"),
) -> None:
    """Counts the 4-gram language model and writes lm.binary and lexicon.txt.

    A minute, and another the first time, when KenLM's programs are compiled.
    """
    from stenoflow_trainer.lm import Text, write_language_model
    from stenoflow_trainer.train import load_settings

    settings = load_settings(experiment)
    source = Text(text, speech, share=settings["data"]["dev_share"], seed=settings["seed"])
    counts = settings["language_model"]
    write_language_model(source, tools, work, bundle, least=counts["least"], prune=counts["prune"])


@app.command()
def export(
    experiment: Annotated[Path, typer.Argument(help="TOML file of the experiment.")] = EXPERIMENT,
    run: Run = RUN,
    bundle: Bundle = BUNDLE,
    version: Annotated[str, typer.Option(help="Date of the bundle, year.month.day.")] = "2026.11.26",
    measured: Annotated[Path | None, typer.Option(help="JSON rows that `evaluate` wrote.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Also keep the weights to train on from, here.")] = None,
    levels: Levels = LEVELS,
) -> None:
    """Writes the bundle from a run's checkpoint: int8 step graph, initial state, card.

    Takes the averaged weights.  Run lm first: the card carries the hashes of its files.
    """
    import json

    from stenoflow_trainer.bundle import write_card
    from stenoflow_trainer.checkpoint import load_student, save_weights
    from stenoflow_trainer.export import write_acoustic
    from stenoflow_trainer.model import Merged
    from stenoflow_trainer.teacher import Projection
    from stenoflow_trainer.train import load_settings

    settings = load_settings(experiment)
    student = load_student(run / "checkpoint.pt", settings)
    write_acoustic(Merged(student), bundle)
    rows = json.loads(measured.read_text("utf-8")) if measured else []
    flush = student.feature_mean.numpy()
    look_ahead = student.shape.look_ahead
    write_card(
        bundle, version=version, flush_frame=flush, look_ahead=look_ahead, decoder=settings["decoder"], measured=rows
    )
    if weights:
        save_weights(student, weights)
        Projection.load(levels / "projection.safetensors").save(
            weights.with_name(f"{weights.stem}-levels.safetensors"), half=True
        )


@app.command()
def evaluate(
    sets: Annotated[list[str] | None, typer.Argument(help="Manifests to measure; all held sets by default.")] = None,
    experiment: Annotated[Path, typer.Option(help="TOML file of the experiment (for `dev`).")] = EXPERIMENT,
    bundle: Bundle = BUNDLE,
    speech: Speech = SPEECH,
    beam: Annotated[bool, typer.Option(help="Also with the language model.")] = True,
    speed: Annotated[bool, typer.Option(help="Also audio seconds per processor second.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the rows as JSON, for export --measured.")] = None,
) -> None:
    """Measures a bundle: WER and CER with intervals by speaker.

    The set `dev` is the development part of the training speakers; choose with it, and with nothing else.
    """
    import json

    from stenoflow_trainer import data
    from stenoflow_trainer.evaluate import Acoustic, Decode, beam_search
    from stenoflow_trainer.evaluate import evaluate as measure
    from stenoflow_trainer.train import dev_utterances, load_settings

    acoustic, shards, rows = Acoustic(bundle), data.Shards(speech), []
    searches: dict[str, Decode] = {"greedy": acoustic.greedy}
    if beam:
        searches["4-gram"] = beam_search(bundle)
    for name in sets or data.held_splits(speech):
        dev = name == "dev"
        utterances = dev_utterances(speech, load_settings(experiment)) if dev else data.read_manifest(speech, name)
        for row in measure(acoustic, name, utterances, shards, searches):
            rows.append(row)
            low, high = row["wer_interval"]
            typer.echo(f"{name:20} {row['condition']:8} WER {row['wer']:5.1f} [{low}, {high}]  CER {row['cer']:5.1f}")
    if speed:
        for batch in (1, 16):
            typer.echo(f"batch {batch:2}: {acoustic.speed(batch):.0f} audio seconds per processor second")
    if out:
        out.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


def main() -> None:
    """Entry point of the console script ``stenoflow-train``."""
    app()


if __name__ == "__main__":
    main()
