"""The command `stenoflow-train`: teach, train, export, lm, evaluate."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from stenoflow.base.errors import StenoflowError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Trains Stenoflow's small streaming model: run teach, then train, lm, export and evaluate.",
)

Speech = Annotated[Path, typer.Option(help="Folder of manifests and tar shards.")]
TeacherFolder = Annotated[
    Path, typer.Option(help="Folder of the QuartzNet's ONNX file, or any bundle (`stenoflow bundle add`).")
]
Levels = Annotated[Path, typer.Option(help="Cache of the teacher pass; 14 GB for 26 hours.")]

EXPERIMENT = Path(__file__).parent / "experiments" / "en-small.toml"
Run = Annotated[Path, typer.Option(help="Folder of checkpoint and log.")]
Bundle = Annotated[Path, typer.Option(help="Folder of the bundle.")]

WEIGHTS = Path(__file__).parent / "checkpoints" / "en-small.safetensors"
RUN, BUNDLE = Path(".work/runs/en-small"), Path("shared/models/en-small")
DIALOGUES = ("banking77", "primock57", "restaurant8k_spans", "taskmaster")  # of those whose licence is CC BY
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
    copies: Annotated[int, typer.Option(help="Copies of each recording, at other speeds.", min=0)] = 0,
    own: Annotated[
        Path | None, typer.Option(help="A list of your own instead of the recipe's recordings, for a cache of its own.")
    ] = None,
    worker: Annotated[int, typer.Option(hidden=True)] = -1,
) -> None:
    """Runs the teacher over all training sound and keeps what it says.

    15 minutes and 14 GB for 25 hours on two cores with AMX, once more for every copy.  Interrupt and start it again
    as you like: it goes on where it was, as long as --workers stays the same.  To train on from stored weights give
    their levels (checkpoints/en-small-levels.safetensors) as --projection.

    The QuartzNet teaches level by level.  Of a bundle no levels are known: it teaches by its emissions, frame by frame,
    if its symbols are a to z, the apostrophe and the space; else by the text that it understands.
    """
    import numpy as np
    import torch

    from stenoflow_trainer import data
    from stenoflow_trainer.levels import SEED, fit_projection, write_part
    from stenoflow_trainer.teacher import Projection
    from stenoflow_trainer.teachers import load_teacher

    if own:
        listed, shards = data.read_own_manifest(own), data.Shards(own.parent)
        utterances = [one for one in listed if one.seconds <= data.LONGEST_S]
        if worker < 0 and len(listed) > len(utterances):
            typer.echo(f"{len(listed) - len(utterances)} recordings of more than {data.LONGEST_S:.0f} s are left out")
    else:
        utterances, shards = data.recipe_utterances(speech), data.Shards(speech)
        random.Random(SEED).shuffle(utterances)
    utterances += data.at_other_speeds(utterances, copies, SEED)
    torch.set_num_threads(1)
    model = load_teacher(teacher)
    stored = levels / "projection.safetensors"
    if worker < 0:
        levels.mkdir(parents=True, exist_ok=True)
        if not model.gives_emissions:
            typer.echo(
                f"the symbols of {teacher} are not a to z, the apostrophe and the space: it teaches by its texts alone"
            )
        elif not model.gives_levels:
            typer.echo(f"of {teacher} no levels are known: it teaches by its emissions alone")
        if projection and not stored.exists():
            Projection.load(projection).save(stored)
        elif not stored.exists():
            typer.echo("statistics of sound and levels from 300 utterances ...")
            fitted = fit_projection(utterances[:300], shards, model)
            fitted.save(stored)
            if fitted.kept:
                typer.echo("variance kept: " + " ".join(f"{share:.3f}" for share in fitted.kept))
        command = [sys.executable, "-m", "stenoflow_trainer", "teach", "--workers", str(workers)]
        command += ["--copies", str(copies), *(["--own", str(own)] if own else [])]
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
def synthesise(
    out: Annotated[Path, typer.Option(help="Folder of the recordings and of their list, synthesised.tsv.")],
    text: Annotated[
        list[Path] | None,
        typer.Option(help="What is said, an utterance a line; again for every file. Else service dialogues."),
    ] = None,
    hours: Annotated[float, typer.Option(help="Of speech, what is there already included.", min=0.0)] = 10.0,
    voice: Annotated[
        list[str] | None,
        typer.Option(help="hibari:heart, flite:slt, flite:rms, flite:awb, flite:kal16; again for every voice."),
    ] = None,
    experiment: Annotated[Path, typer.Option(help="TOML file of the experiment, which says what dev is.")] = EXPERIMENT,
    speech: Speech = SPEECH,
) -> None:
    """Speaks sentences of a text, so that the model hears words that the recordings lack.

    Every voice speaks as seven speakers, faster and slower.  Sentences of dev and of the held sets are left out.  Then:

    stenoflow-train teach --own OUT/synthesised.tsv --levels .work/levels-synthesised

    stenoflow-train train --levels .work/levels --levels .work/levels-synthesised
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from stenoflow_trainer.lm import Text
    from stenoflow_trainer.synthesise import MANIFEST, sentences
    from stenoflow_trainer.synthesise import synthesise as speak_all
    from stenoflow_trainer.train import load_settings
    from stenoflow_trainer.voices import load_voice

    settings = load_settings(experiment)
    files = text or [Path("../shared/text") / f"{name}.txt.xz" for name in DIALOGUES]
    allowed = Text(Path(), speech, share=settings["data"]["dev_share"], seed=settings["seed"])
    texts = sentences(allowed.lines_of(files), settings["seed"])
    voices = {name: load_voice(name) for name in voice or ["hibari:heart"]}
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    recordings, seconds = 0, 0.0
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("speaking", total=3600 * hours)
        for recordings, seconds in speak_all(texts, voices, hours, out, settings["seed"]):
            bar.update(task, completed=seconds, description=f"{recordings} recordings")
    typer.echo(f"{recordings} recordings, {seconds / 3600:.2f} h, of {len(texts)} sentences: {out / MANIFEST}")


@app.command()
def train(
    experiment: Annotated[Path, typer.Argument(help="TOML file of the experiment.")] = EXPERIMENT,
    hours: Annotated[float, typer.Option(help="Wall-clock time of the whole schedule.", min=0.001)] = 1.2,
    run: Run = RUN,
    resume: Annotated[bool, typer.Option(help="Go on from the folder's checkpoint.")] = False,
    start: Annotated[Path | None, typer.Option(help="Begin with these weights (checkpoints/*.safetensors).")] = None,
    speech: Speech = SPEECH,
    levels: Annotated[
        list[Path] | None, typer.Option(help="Cache of a teacher pass; again for every one.  [.work/levels]")
    ] = None,
    worker: Annotated[int, typer.Option(hidden=True)] = -1,
) -> None:
    """Trains the student on the caches of `teach`; ends when the hours are over.

    A dev line every five minutes on the screen and in <run>/log.jsonl.  With --resume and more --hours the rate
    rises again to where the longer schedule has it.  Each process takes a GPU where there is one; on several:
    torchrun --nproc-per-node 4 -m -- stenoflow_trainer train EXPERIMENT
    """
    from stenoflow_trainer.train import fit, load_settings

    settings, caches = load_settings(experiment), levels or [LEVELS]
    if "RANK" in os.environ:  # of torchrun
        rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        run.mkdir(parents=True, exist_ok=True)
        fit(settings, speech, caches, run, hours=hours, resume=resume, start=start, rank=rank, world=world)
        return
    processes = settings["processes"]
    if worker >= 0:
        fit(settings, speech, caches, run, hours=hours, resume=resume, start=start, rank=worker, world=processes)
        return
    run.mkdir(parents=True, exist_ok=True)
    (run / "rendezvous").unlink(missing_ok=True)
    command = [sys.executable, "-m", "stenoflow_trainer", "train", str(experiment), "--hours", str(hours)]
    command += ["--run", str(run), "--speech", str(speech)]
    command += [word for cache in caches for word in ("--levels", str(cache))]
    command += ["--resume"] if resume else []
    command += ["--start", str(start)] if start else []
    # Every step allocates and frees the same large arrays: kept by the process, they need no new pages each time.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "1000000000", "MALLOC_TRIM_THRESHOLD_": "4000000000"}
    running = [subprocess.Popen([*command, "--worker", str(number)], env=environment) for number in range(processes)]
    raise typer.Exit(max(process.wait() for process in running))


@app.command()
def label(
    recordings: Annotated[Path, typer.Argument(help="List of recordings: columns path, text, speaker, seconds.")],
    out: Annotated[Path, typer.Option(help="The list with texts; beside the first one, for paths are from there.")],
    model: Annotated[
        str, typer.Option(help="Of the second pass: auto, whisper:FOLDER, transformers:FOLDER ...")
    ] = "auto",
) -> None:
    """Writes texts for recordings that nobody transcribed, so that `fine-tune` can learn from them.

    A larger model hears each recording as a whole; what it seems to invent is left out, what people wrote stays.
    """
    from rich.console import Console
    from rich.progress import track

    from stenoflow_second_pass.models.choice import load_model
    from stenoflow_trainer import data
    from stenoflow_trainer.label import label as write_labels

    listed = data.read_own_manifest(recordings)
    following = track(listed, "labelling", console=Console(stderr=True))
    counts = write_labels(following, data.Shards(recordings.parent).read, load_model(model, "auto"), out)
    typer.echo(", ".join(f"{what}: {count}" for what, count in counts.most_common()) + f"; in {out}")


@app.command("fine-tune")
def fine_tune(
    recordings: Annotated[Path, typer.Argument(help="List of recordings: columns path, text, speaker, seconds.")],
    model: Annotated[
        str,
        typer.Option(help="Weights of this trainer (.safetensors), or a CTC model of transformers: folder or name."),
    ] = str(WEIGHTS),
    out: Annotated[Path, typer.Option(help="The tuned bundle, or the tuned model's folder.")] = Path(".work/tuned"),
    base: Annotated[Path, typer.Option(help="Bundle whose language model is taken.")] = BUNDLE,
    epochs: Annotated[float, typer.Option(help="How often everything is heard.", min=0.01)] = 4.0,
    rate: Annotated[float, typer.Option(help="Highest rate of AdamW.", min=0.0)] = 1e-4,
    batch_seconds: Annotated[float, typer.Option(help="Of sound, a step and process.", min=1.0)] = 60.0,
    accumulate: Annotated[int, typer.Option(help="Batches a step.", min=1)] = 1,
    run: Annotated[Path, typer.Option(help="Folder of log.jsonl, TensorBoard events, weights.")] = Path(
        ".work/runs/tuned"
    ),
) -> None:
    """Tunes a model on your own calls, and keeps what is better on speakers that it did not hear.

    The list is tab-separated (or .csv), paths are from its folder, texts as people write.  On several GPUs:
    torchrun --nproc-per-node 4 -m -- stenoflow_trainer fine-tune calls.tsv
    """
    from stenoflow_trainer import data
    from stenoflow_trainer.bundle import based_on, served_chunk
    from stenoflow_trainer.checkpoint import stored_student
    from stenoflow_trainer.ctc_models import CtcModel, StudentCtc, TransformersCtc
    from stenoflow_trainer.fine_tune import Plan, split_own
    from stenoflow_trainer.fine_tune import fine_tune as tune

    first = os.environ.get("RANK", "0") == "0"  # of the processes of torchrun: it alone tells and writes
    plan = Plan(epochs, rate, batch_seconds, accumulate)
    train, dev = split_own(data.read_own_manifest(recordings), plan.seed)
    tuned: CtcModel
    if model.endswith(".safetensors"):
        if first:
            based_on(base, out)
        tuned = StudentCtc(stored_student(Path(model)), run / "weights.safetensors", served_chunk(base))
    else:
        tuned = TransformersCtc(model)
    minutes = sum(one.seconds for one in train) / 60
    if first:
        typer.echo(f"{len(train)} recordings to learn from ({minutes:.1f} minutes), {len(dev)} to choose by")
    best = tune(tuned, train, dev, recordings.parent, plan, run)
    if not first:
        return
    tuned.save(out)
    if best.step:
        typer.echo(f"WER {best.dev_wer:.1f} % on those to choose by, after {best.step} steps: in {out}")
    else:
        typer.echo(f"nothing was better than the start (WER {best.dev_wer:.1f} %): {out} is as before")


@app.command()
def prune(
    weights: Annotated[Path, typer.Argument(help="Weights of this trainer (.safetensors).")] = WEIGHTS,
    hidden: Annotated[int, typer.Option(help="Units to keep in each feed-forward block.")] = 640,
    out: Annotated[Path, typer.Option(help="The smaller student's weights.")] = Path(".work/pruned.safetensors"),
    recordings: Annotated[int, typer.Option(help="Recordings to watch the units on.", min=1)] = 100,
    speech: Speech = SPEECH,
) -> None:
    """Takes the least useful units out of a student; `train --start` gives back most of what that costs.

    The experiment that goes on from it says the same `hidden`, as experiments/en-small-pruned.toml does.
    """
    from stenoflow_trainer import data
    from stenoflow_trainer.checkpoint import save_weights, stored_student
    from stenoflow_trainer.prune import pruned

    student, shards = stored_student(weights), data.Shards(speech)
    heard = data.recipe_utterances(speech)
    chosen = random.Random(1).sample(heard, min(recordings, len(heard)))
    smaller = pruned(student, hidden, (shards.read(one) for one in chosen))
    save_weights(smaller, out)
    before, after = (sum(one.numel() for one in each.parameters()) / 1e6 for each in (student, smaller))
    typer.echo(f"{after:.1f} million weights of {before:.1f}: in {out}")


@app.command()
def lm(
    experiment: Annotated[Path, typer.Option(help="TOML file of the experiment.")] = EXPERIMENT,
    text: Annotated[
        list[Path] | None, typer.Option(help="Your own text, an utterance a line; again for every file.")
    ] = None,
    base: Annotated[Path | None, typer.Option(help="Bundle to begin with, where --bundle is not there yet.")] = None,
    bundle: Bundle = BUNDLE,
    general: Annotated[Path, typer.Option(help="Folder of xz text files.")] = Path("../shared/text"),
    speech: Speech = SPEECH,
    tools: Annotated[Path, typer.Option(help="Where KenLM is built, once.")] = Path(".tools"),
    work: Annotated[Path, typer.Option(help="Scratch folder.")] = Path(".work/lm"),
) -> None:
    """Counts the 4-gram language model and writes lm.binary and lexicon.txt.

    A minute, and another the first time, when KenLM's programs are compiled.  With --text the model leans towards
    what is said in your calls, as much as makes a twentieth of it likeliest before that is counted:

    stenoflow-train lm --text calls.txt --base shared/models/en-small --bundle .work/our-calls
    """
    from stenoflow_trainer.bundle import based_on, rehash
    from stenoflow_trainer.lm import Counting, OwnText, Text, build_kenlm, write_language_model
    from stenoflow_trainer.train import load_settings

    settings = load_settings(experiment)
    own = OwnText(text) if text else None
    if base:
        based_on(base, bundle)
    everybody = Text(general, speech, share=settings["data"]["dev_share"], seed=settings["seed"])
    counts = settings["language_model"]
    counting = Counting(build_kenlm(tools), work, counts["prune"])
    weighed = write_language_model(counting, bundle, everybody, own, least=counts["least"])
    if own and weighed:
        typer.echo(
            f"perplexity of {len(own.kept_out)} lines of yours, before they were counted: {weighed.general:.0f} by the "
            f"general text, {weighed.domain:.0f} by yours, {weighed.mixture:.0f} by both ({100 * weighed.share:.0f} % "
            "yours)"
        )
    if (bundle / "bundle.json").exists():
        rehash(bundle)


@app.command()
def export(
    experiment: Annotated[Path, typer.Argument(help="TOML file of the experiment.")] = EXPERIMENT,
    run: Annotated[list[Path] | None, typer.Option(help=f"Folder of a run; of several the mean. [{RUN}]")] = None,
    bundle: Bundle = BUNDLE,
    version: Annotated[str, typer.Option(help="Date of the bundle, year.month.day.")] = "2026.11.26",
    measured: Annotated[Path | None, typer.Option(help="JSON rows that `evaluate` wrote.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Also keep the weights to train on from, here.")] = None,
    float32: Annotated[bool, typer.Option(help="As trained, to compare with; four times as large.")] = False,
    levels: Levels = LEVELS,
) -> None:
    """Writes the bundle from a run's checkpoint: int8 step graph, initial state, card.

    Takes the averaged weights; RUN may also be a file of weights (.safetensors).  Of several runs that began with the
    same weights (train --start) their mean is taken, which is better than each.  Run lm first: the card carries the
    hashes of its files.
    """
    import json

    from stenoflow_trainer.bundle import write_card
    from stenoflow_trainer.checkpoint import averaged, load_student, save_weights
    from stenoflow_trainer.export import write_acoustic
    from stenoflow_trainer.model import Merged
    from stenoflow_trainer.teacher import Projection
    from stenoflow_trainer.train import load_settings, served_chunk

    settings = load_settings(experiment)
    files = [each if each.suffix == ".safetensors" else each / "checkpoint.pt" for each in run or [RUN]]
    student = averaged([load_student(file, settings) for file in files])
    chunk = served_chunk(settings)
    write_acoustic(Merged(student, chunk), bundle, int8=not float32)
    rows = json.loads(measured.read_text("utf-8")) if measured else []
    flush = student.feature_mean.numpy()
    write_card(
        bundle,
        version=version,
        flush_frame=flush,
        look_ahead=student.shape.look_ahead,
        chunk=chunk,
        precision="float32" if float32 else "int8",
        decoder=settings["decoder"],
        measured=rows,
    )
    if weights:
        save_weights(student, weights)
        Projection.load(levels / "projection.safetensors").save(
            weights.with_name(f"{weights.stem}-levels.safetensors"), half=True
        )


@app.command()
def calibrate(
    experiment: Annotated[Path, typer.Option(help="TOML file of the experiment, which says what dev is.")] = EXPERIMENT,
    bundle: Bundle = BUNDLE,
    speech: Speech = SPEECH,
) -> None:
    """Finds on dev what its labels' priors are and how often words are right; writes both into the bundle's card."""
    import shutil
    import tempfile

    from stenoflow.alignment.words import Calibration
    from stenoflow_trainer import data
    from stenoflow_trainer.bundle import write_found
    from stenoflow_trainer.calibration import expected_calibration_error, fit, judged, log_priors, reliability
    from stenoflow_trainer.evaluate import Acoustic, streamed
    from stenoflow_trainer.evaluate import evaluate as measure
    from stenoflow_trainer.streaming import first_pass
    from stenoflow_trainer.train import dev_utterances, load_settings

    dev, read, acoustic = dev_utterances(speech, load_settings(experiment)), data.Shards(speech).read, Acoustic(bundle)
    priors = log_priors(acoustic.whole(data.fbank(read(one))) for one in dev)
    with tempfile.TemporaryDirectory() as folder:
        as_said = Path(shutil.copytree(bundle, Path(folder, bundle.resolve().name)))
        write_found(as_said, priors, None)  # words are as sure as the model says itself
        listeners = [streamed({"streaming": first_pass(as_said)}, telephone=True)]
        measured = measure("dev", dev, read, listeners, None)
    utterances = [final for one in measured for final in one.judged]
    calibration = fit(utterances)
    write_found(bundle, priors, calibration)
    errors = [expected_calibration_error(reliability(judged(utterances, of))) for of in (Calibration(), calibration)]
    typer.echo(
        f"{sum(map(len, utterances))} words of dev: slope {calibration.slope:.3f}, offset {calibration.offset:.3f}, "
        f"surroundings {calibration.surroundings:.3f}; expected calibration error {errors[0]:.3f}, now {errors[1]:.3f}"
    )


@app.command()
def evaluate(
    sets: Annotated[
        list[str] | None, typer.Argument(help="Held sets, dev, or lists of your own (.tsv, .csv); all held sets.")
    ] = None,
    experiment: Annotated[Path, typer.Option(help="TOML file of the experiment (for `dev`).")] = EXPERIMENT,
    bundle: Bundle = BUNDLE,
    speech: Speech = SPEECH,
    beam: Annotated[bool, typer.Option(help="Also with the language model.")] = True,
    streaming: Annotated[bool, typer.Option(help="Also the real pipeline, 160 ms chunks.")] = True,
    second_pass: Annotated[str, typer.Option(help="Also with this model hearing again; auto, or off.")] = "off",
    telephone: Annotated[bool, typer.Option(help="The pipeline also at 8 kHz, mu-law.")] = False,
    teacher: Annotated[Path, typer.Option(help="Says where words end; if missing, the bundle does.")] = TEACHER,
    limit: Annotated[int | None, typer.Option(help="Utterances a set, evenly spread.", min=1)] = None,
    speed: Annotated[bool, typer.Option(help="Also audio seconds per processor second.")] = False,
    report: Annotated[Path | None, typer.Option(help="Folder for report.html and report.json.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the rows as JSON, for export --measured.")] = None,
) -> None:
    """Measures a bundle: WER and CER with intervals by speaker, emission delay, calibration.

    The set `dev` is the development part of the training speakers; choose with it, and with nothing else.
    """
    import json

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from stenoflow_trainer import data, word_delay
    from stenoflow_trainer import evaluate as measuring
    from stenoflow_trainer.report import provenance, table, write_report
    from stenoflow_trainer.streaming import first_pass, with_second_pass
    from stenoflow_trainer.train import dev_utterances, load_settings

    acoustic, shards, alignment = measuring.Acoustic(bundle), data.Shards(speech), None
    searches: dict[str, measuring.Decode] = {"greedy": acoustic.greedy}
    if beam:
        searches["4-gram"] = measuring.beam_search(bundle)
    listeners = [measuring.whole(acoustic, searches)]
    if streaming:
        pipelines = {"streaming": first_pass(bundle)}
        if second_pass != "off":
            pipelines["streaming + second pass"] = with_second_pass(pipelines["streaming"], bundle, second_pass)
        listeners.append(measuring.streamed(pipelines, telephone=telephone))
        model = next(teacher.glob("*.onnx"), None)
        own = word_delay.by_bundle(lambda samples: acoustic.whole(data.fbank(samples)), acoustic.card["tokens"])
        alignment = word_delay.by_teacher(model) if model else own
    elif telephone or second_pass != "off":
        raise typer.BadParameter("--telephone and --second-pass are about the pipeline: leave --no-streaming out")
    measured: list[measuring.Measured] = []
    screen, errors = Console(), Console(stderr=True)
    screen = screen if screen.is_terminal else Console(width=140)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    for name in sets or data.held_splits(speech):
        if name == "dev":
            listed = dev_utterances(speech, load_settings(experiment))
        elif name.endswith((".tsv", ".csv")):
            listed = [one for one in data.read_own_manifest(Path(name)) if one.text]
        else:
            listed = data.read_manifest(speech, name)
        read = data.Shards(Path(name).parent).read if name.endswith((".tsv", ".csv")) else shards.read
        chosen = measuring.evenly_spread(listed, limit)
        with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
            following = bar.track(chosen, description=name)
            of_set = measuring.evaluate(name, following, read, listeners, alignment)
        screen.print(table(of_set))
        measured += of_set
    if speed:
        for batch in (1, 16):
            screen.print(f"batch {batch:2}: {acoustic.speed(batch):.0f} audio seconds per processor second")
    if report:
        write_report(report, provenance(acoustic.card, alignment.name if alignment else "", limit), measured)
        screen.print(f"report: {report / 'report.html'}")
    if out:
        out.write_text(json.dumps([one.row() for one in measured], indent=1) + "\n", "utf-8")


def main() -> None:
    """Entry point of the console script ``stenoflow-train``."""
    try:
        app()
    except StenoflowError as error:
        typer.secho(str(error), err=True, fg="red")
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
