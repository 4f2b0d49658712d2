"""``stenoflow transcribe``: files through a gateway (or through all stages in this process), written as text."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from stenoflow.audio.files import AudioFile, open_audio, track_names
from stenoflow.base.errors import ClientError, ConfigError, StenoflowError
from stenoflow.bundle.loading import find_bundle, read_card
from stenoflow.protocol import messages as wire
from stenoflow.protocol.transcript import as_json, as_srt, as_text, as_vtt
from stenoflow_cli.access_tokens import own_token
from stenoflow_cli.address import greet, stream_address
from stenoflow_cli.streaming import Stream
from stenoflow_cli.up import AUTO, Stack, running_stack, second_pass_model
from stenoflow_cli.view import print_error

USUAL_PAGE = "http://127.0.0.1:8000"
"""Where ``stenoflow up`` listens unless told otherwise."""

USUAL_BUNDLE = "en-small"
"""Of a stack that is started for a run, and of this process; a gateway elsewhere has its own usual one."""

CHUNK_S = 0.32


class Pace(StrEnum):
    """How fast a file is sent."""

    REALTIME = "realtime"
    FAST = "fast"


class Format(StrEnum):
    """What is written."""

    TEXT = "text"
    JSON = "json"
    SRT = "srt"
    VTT = "vtt"


SUFFIXES = {Format.TEXT: ".txt", Format.JSON: ".json", Format.SRT: ".srt", Format.VTT: ".vtt"}


@dataclass(frozen=True, slots=True)
class TranscribeOptions:
    """What the command line said."""

    url: str | None
    pace: Pace
    format: Format
    output: Path | None
    bundle: str | None
    in_process: bool
    second_pass: str | None
    boost: Sequence[str]
    into_folder: bool = False
    headings: bool = False
    token: str | None = None


def transcribe_files(files: Sequence[Path], options: TranscribeOptions) -> int:
    """Transcribes what can be transcribed; returns the exit code: 0, or 2 where a file failed."""
    console = Console(stderr=True)
    opened: list[AudioFile] = []
    failed = False
    for path in files:
        try:
            opened.append(open_audio(path))
        except ClientError as error:
            print_error(console, error)
            failed = True
    options = dataclasses.replace(options, headings=len(opened) > 1)
    paths = output_paths([audio.path for audio in opened], options) if opened else []
    if opened:
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %  {task.fields[speed]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        ) as progress:
            jobs = list(zip(opened, paths, strict=True))
            if options.in_process:
                failed = _in_process(jobs, options, progress, console) or failed
            else:
                failed = asyncio.run(_over_gateway(jobs, options, progress, console)) or failed
    return 2 if failed else 0


def output_paths(files: Sequence[Path], options: TranscribeOptions) -> list[Path | None]:
    """Where the captions of each file go; None is standard output. Folders are made, before anything is sent.

    ``--output`` is a folder where there are several files, where it is one already, or where it ends with a slash. Two
    files of one name get two names.

    Raises:
        ConfigError: a folder cannot be made.
    """
    output = options.output
    if output is None:
        if len(files) > 1 and options.format is not Format.TEXT:
            sentence = (
                f"several files in one stream are no {options.format.value.upper()}: give a folder, --output DIR/"
            )
            raise ConfigError("output_needed", sentence)
        return [None] * len(files)
    into_folder = len(files) > 1 or output.is_dir() or options.into_folder
    folder = output if into_folder else output.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        sentence = f"{folder} cannot be made a folder; give another --output"
        raise ConfigError("cannot_write", sentence) from None
    if not into_folder:
        return [output]
    taken: set[str] = set()
    paths: list[Path | None] = []
    for path in files:
        name, number = path.stem, 1
        while name in taken:
            number += 1
            name = f"{path.stem}-{number}"
        taken.add(name)
        paths.append(folder / (name + SUFFIXES[options.format]))
    return paths


Job = tuple[AudioFile, Path | None]
"""A file, and where its captions go."""


async def _over_gateway(files: Sequence[Job], options: TranscribeOptions, progress: Progress, console: Console) -> bool:
    if options.url is not None:
        url = stream_address(options.url)
        await greet(url)
        return await _all_files(files, url, options, progress, console)
    if await asyncio.to_thread(_answers, USUAL_PAGE):
        return await _all_files(files, stream_address(USUAL_PAGE), options, progress, console)
    console.print(
        f"[yellow]•[/] no stack at {USUAL_PAGE}: one is started for this run. "
        "Start one that stays with `stenoflow up`, or name yours with --url",
        highlight=False,
        soft_wrap=True,
    )
    options = dataclasses.replace(options, token=options.token or own_token())
    async with running_stack(_stack(options), Console(stderr=True, quiet=True)) as stack:
        return await _all_files(files, stack.stream_url, options, progress, console)


def _name_of(bundle: str | None) -> str | None:
    """The name by which a gateway knows a bundle; a folder's is in its card."""
    return bundle if bundle is None or "/" not in bundle else read_card(find_bundle(bundle)).name


def _stack(options: TranscribeOptions) -> Stack:
    return Stack(port=0, bundle=options.bundle or USUAL_BUNDLE, second_pass=options.second_pass or AUTO)


async def _all_files(
    files: Sequence[Job], url: str, options: TranscribeOptions, progress: Progress, console: Console
) -> bool:
    failed = False
    for audio, path in files:
        task = progress.add_task(audio.path.name, total=audio.seconds, speed="")
        try:
            finals = await _stream(audio, url, options, progress, task)
            _write(audio, finals, options, path, console)
        except StenoflowError as error:
            print_error(console, error, str(audio.path))
            failed = True
    return failed


async def _stream(
    audio: AudioFile, url: str, options: TranscribeOptions, progress: Progress, task: TaskID
) -> Sequence[wire.Final]:
    loop = asyncio.get_running_loop()
    began = loop.time()

    def show(message: Any) -> None:
        if isinstance(message, wire.Progress):
            done = min((track.decoder for track in message.tracks), default=0) / 16_000
            speed = done / max(loop.time() - began, 0.1)
            progress.update(task, completed=min(done, audio.seconds), speed=f"{speed:.1f} × real time")

    start = wire.Start(
        kind="file" if options.pace is Pace.FAST else "live",
        bundle=_name_of(options.bundle),
        second_pass=options.second_pass,
        boost=tuple(wire.Boost(phrase=phrase) for phrase in options.boost),
        tracks=tuple(
            wire.TrackRequest(name=name, sample_rate=audio.sample_rate, duration_s=audio.seconds)
            for name in track_names(audio, audio.path.stem)
        ),
    )
    size = round(CHUNK_S * audio.sample_rate) * 2
    sent = 0
    async with Stream(url, start, show, give_up_s=30, token=options.token) as call:
        for block in audio.blocks():
            for offset in range(0, max(map(len, block)), size):
                if options.pace is Pace.REALTIME:
                    sent += 1
                    await asyncio.sleep(max(0.0, began + sent * CHUNK_S - loop.time()))
                for track, samples in enumerate(block):
                    await call.say(track, samples[offset : offset + size])
        finals = await call.finish()
    progress.update(task, completed=audio.seconds)
    return finals


def _in_process(files: Sequence[Job], options: TranscribeOptions, progress: Progress, console: Console) -> bool:
    # Imported here: only this path needs the services themselves, and their numeric libraries.
    from stenoflow.runtime.in_process import Sound, transcribe
    from stenoflow_cli.stages import all_stages

    stages = all_stages(options.bundle or USUAL_BUNDLE, second_pass_model(options.second_pass or AUTO))
    settings = {"boost": [{"phrase": phrase} for phrase in options.boost]}
    failed = False
    for audio, path in files:
        task = progress.add_task(audio.path.name, total=audio.seconds, speed="")
        try:
            channels = [b"".join(pieces) for pieces in zip(*audio.blocks(), strict=True)]
        except ClientError as error:
            print_error(console, error)
            failed = True
            continue
        sounds = [
            Sound(name, audio.sample_rate, pcm)
            for name, pcm in zip(track_names(audio, audio.path.stem), channels, strict=True)
        ]
        finals = []
        for message in transcribe(stages, sounds, settings=settings):
            if message["type"] == "final" and message["text"]:
                finals.append(wire.Final.model_validate(message))
                progress.update(task, completed=message["end"] / 16_000)
        progress.update(task, completed=audio.seconds)
        _write(audio, finals, options, path, console)
    return failed


def _answers(page: str) -> bool:
    """Whether a stack that can take calls is there, and not some other server."""
    try:
        with urlopen(f"{page}/readyz", timeout=1) as response:
            return bool(response.read(3) == b"ok\n")
    except (OSError, HTTPException):
        return False


def _write(
    audio: AudioFile, finals: Sequence[wire.Final], options: TranscribeOptions, path: Path | None, console: Console
) -> None:
    """Writes a file's captions to its path, or to standard output; says where there are none.

    Raises:
        ConfigError: it cannot be written.
    """
    names = track_names(audio, audio.path.stem)
    if not any(final.text for final in finals):
        # Beside the captions, not in them: whoever reads those expects only what was said.
        sentence = f"no speech was heard in {audio.path} ({round(audio.seconds, 1):g} s)"
        console.print(f"[yellow]•[/] {escape(sentence)}", highlight=False, soft_wrap=True)
    match options.format:
        case Format.TEXT:
            text = as_text(names, finals)
        case Format.JSON:
            text = as_json(names, finals, audio.seconds)
        case Format.SRT:
            text = as_srt(names, finals)
        case Format.VTT:
            text = as_vtt(names, finals)
    if path is None:
        sys.stdout.write((f"# {audio.path}\n" if options.headings else "") + text)
        sys.stdout.flush()
        return
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            "cannot_write", f"{path} cannot be written ({os.strerror(error.errno or 0).lower()})"
        ) from None
