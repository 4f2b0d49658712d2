"""``stenoflow bundle``: the models of this machine: list, show, verify, add, export, remove."""

from __future__ import annotations

import shutil
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stenoflow.base.errors import BundleError
from stenoflow.bundle.card import Card, StatefulCard
from stenoflow.bundle.loading import CARD, find_bundle, load_bundle, model_folders, own_folders, read_card
from stenoflow_cli.view import print_error

app = typer.Typer(
    help="The models of this machine: what is there, whether it is whole, and models of others made into bundles.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


class Layout(StrEnum):
    """Layouts that our own models are exported to."""

    SHERPA_ONNX = "sherpa-onnx"


Name = Annotated[str, typer.Argument(metavar="NAME", help="A bundle's name, or its folder.")]


@app.command("list")
def list_() -> None:
    """What is there, by name.

    Bundles are looked for in the folders of `STENOFLOW_MODELS` (separated by colons), in
    `~/.local/share/stenoflow/models`, and where the one that ships lies. The first of a name is taken.
    """
    table = Table("name", "version", "language", "runs", "size", "folder", box=None, pad_edge=False)
    seen: set[str] = set()
    for folder in model_folders():
        for card_path in sorted(folder.glob(f"*/{CARD}")):
            place = card_path.parent
            hidden = " (another of this name comes first)" if place.name in seen else ""
            seen.add(place.name)
            try:
                card = read_card(place)
            except BundleError as error:
                table.add_row(escape(place.name), "", "", f"[red]{error.code}[/]", "", escape(str(place)))
                continue
            runs = how_it_runs(card)
            where = escape(str(place) + hidden)
            table.add_row(
                escape(place.name), escape(card.version), escape(card.language), runs, _size(place, card), where
            )
    console = Console(width=None if Console().is_terminal else 200)
    console.print(table)


@app.command()
def show(name: Name) -> None:
    """What a bundle's card says."""
    folder = find_bundle(name)
    card = read_card(folder)
    decoder, tokens = card.decoder, card.tokens
    words = "pieces of words" if tokens.separator is None else "letters"
    lines = {
        "name": f"{card.name} {card.version}, {card.language}",
        "folder": str(folder),
        "about": card.description,
        "licences": "; ".join(card.licences),
        "hears": f"{card.features.kind}, {card.features.bins} numbers every {card.features.hop_ms} ms",
        "runs": how_it_runs(card),
        "waits": f"{card.acoustic.wait_ms} ms for what comes after a sound",
        "tokens": f"{len(tokens.symbols)}, {words}",
        "words": f"language model {decoder.language_model or 'none'}, lexicon {decoder.lexicon or 'none'}",
    }
    if not isinstance(card.acoustic, StatefulCard):
        for name_of, preset in card.acoustic.presets.items():
            usual = " (where the worker is told none)" if name_of == card.acoustic.preset else ""
            lines[name_of] = (
                f"hears {preset.left_ms} + {preset.step_ms} + {preset.right_ms} ms, keeps the middle{usual}"
            )
    console = Console(soft_wrap=True)
    for title, text in lines.items():
        console.print(f"[bold]{title:<9}[/] {escape(text)}", highlight=False)
    for figures in card.measured:
        console.print(f"[bold]{'measured':<9}[/] {escape(_measured(figures))}", highlight=False)
    for file, digest in card.files.items():
        console.print(f"[bold]{'file':<9}[/] {escape(file)}  sha256 {digest}", highlight=False)


@app.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Names or folders; none: all.")] = None,
) -> None:
    """Compares every file with the card's hash of it; the exit code is 2 where one differs or is missing."""
    console, failed = Console(soft_wrap=True), False
    found = names or [str(path.parent) for folder in model_folders() for path in sorted(folder.glob(f"*/{CARD}"))]
    for name in found:
        try:
            bundle = load_bundle(find_bundle(name))
        except BundleError as error:
            print_error(Console(stderr=True), error, name)
            failed = True
        else:
            console.print(f"{escape(str(bundle))}: {len(bundle.card.files)} files as its card says", highlight=False)
    raise typer.Exit(2 if failed else 0)


@app.command()
def add(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A CTC model: a transformers folder or its name on Hugging Face, or an ONNX file (or its folder) with "
            "tokens.txt or vocab.json beside it.",
        ),
    ],
    name: Annotated[str | None, typer.Option(help="What to call it; default: as the source is called.")] = None,
    language: Annotated[str, typer.Option(help="What it understands, as a language code.")] = "en",
    lexicon: Annotated[
        Path | None, typer.Option(help="Words that are likely, one a line; default: those of an ARPA file in --lm.")
    ] = None,
    language_model: Annotated[
        Path | None, typer.Option("--lm", "--language-model", help="A KenLM file over words, ARPA or binary.")
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option(
            help="Where to put it; default: the first of STENOFLOW_MODELS, else ~/.local/share/stenoflow/models."
        ),
    ] = None,
) -> None:
    """Makes a bundle of a model that others trained.

    A *transformers* CTC model (wav2vec2, HuBERT, WavLM, Parakeet-CTC, …) and an offline CTC model in ONNX run in
    overlapping windows. The streaming CTC models that sherpa-onnx publishes (zipformer2, NeMo's cache-aware) run as
    they are, step by step. Weights come from safetensors or ONNX, never from pickles.
    """
    from stenoflow_acoustic.adding.add import add_bundle

    folder = models or own_folders()[0]
    bundle = add_bundle(source, folder, name, language, lexicon, language_model)
    console = Console(soft_wrap=True)
    console.print(f"[green]●[/] {escape(str(bundle))} in {escape(str(bundle.folder))}", highlight=False)
    console.print(f"  {escape(bundle.card.description)}; {how_it_runs(bundle.card)}", highlight=False)
    found = bundle.card.name if folder in model_folders() else str(bundle.folder)
    console.print(f"  run it: stenoflow up --bundle {escape(found)}", highlight=False)


@app.command()
def export(
    name: Name,
    out: Annotated[Path, typer.Option(help="A folder to make.")],
    layout: Annotated[Layout, typer.Option(help="Whose.")] = Layout.SHERPA_ONNX,
) -> None:
    """Writes one of our own streaming models so that others run it.

    *sherpa-onnx*: in the layout of its streaming zipformer2 CTC models, with `tokens.txt` beside it. Its features
    differ a little from ours, which the model makes up for; the n-gram stays behind.
    """
    from stenoflow_acoustic.export_sherpa import export_sherpa

    assert layout is Layout.SHERPA_ONNX
    frames = export_sherpa(load_bundle(find_bundle(name)), out)
    console = Console(soft_wrap=True)
    console.print(f"[green]●[/] {escape(str(out))}, a run hears {frames * 10} ms", highlight=False)
    console.print("  run it: sherpa_onnx.OnlineRecognizer.from_zipformer2_ctc, see its README.md", highlight=False)


@app.command()
def remove(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Deletes a bundle that was added; what ships stays."""
    folder = find_bundle(name)
    card = read_card(folder)
    if folder.resolve().parent not in {each.resolve() for each in own_folders()} and "/" not in name:
        raise BundleError(
            "bundle_ships", f"{folder} came with Stenoflow and stays; workers that are not told its name do not load it"
        )
    if not yes and not typer.confirm(f"Delete {folder} ({card.name} {card.version})?"):
        raise typer.Exit(1)
    shutil.rmtree(folder)
    Console(soft_wrap=True).print(f"{escape(str(folder))} is deleted.", highlight=False)


def how_it_runs(card: Card) -> str:
    """In a few words, for people."""
    acoustic = card.acoustic
    if isinstance(acoustic, StatefulCard):
        layout = "" if acoustic.layout == "stenoflow" else f", layout {acoustic.layout}"
        return f"streaming, steps of {acoustic.step_frames * 10} ms, {acoustic.precision}{layout}"
    presets = ", ".join(acoustic.presets)
    return f"in windows ({presets}), {acoustic.runtime}, {acoustic.precision}"


def _size(folder: Path, card: Card) -> str:
    total = sum(path.stat().st_size for file in card.files if (path := folder / file).is_file())
    return f"{total / 1e6:.0f} MB"


def _measured(figures: dict[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in figures.items() if isinstance(value, str | int | float))
