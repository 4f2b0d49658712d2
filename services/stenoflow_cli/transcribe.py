"""``stenoflow transcribe``: files through a gateway (or through all stages in this process), written as text."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from stenoflow.base.errors import ClientError, StenoflowError
from stenoflow.protocol import messages as wire
from stenoflow_cli.audio_files import AudioFile, open_audio
from stenoflow_cli.captions import as_json, as_srt, as_text, as_vtt
from stenoflow_cli.streaming import Stream
from stenoflow_cli.up import AUTO, Stack, running_stack

USUAL_URL = "ws://127.0.0.1:8000/v1/stream"
CHUNK_S = 0.32
STEREO_NAMES = ("left", "right")


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
    bundle: str
    in_process: bool
    second_pass: str | None
    boost: Sequence[str]


def transcribe_files(files: Sequence[Path], options: TranscribeOptions) -> int:
    """Transcribes what can be transcribed; returns the exit code: 0, or 2 where a file failed."""
    console = Console(stderr=True)
    opened: list[AudioFile] = []
    failed = False
    for path in files:
        try:
            opened.append(open_audio(path))
        except ClientError as error:
            console.print(f"[red]✗[/] {error.message} [dim]({error.code})[/]", highlight=False, soft_wrap=True)
            failed = True
    if opened:
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %  {task.fields[speed]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        ) as progress:
            run = _in_process if options.in_process else _over_gateway
            failed = asyncio.run(run(opened, options, progress, console)) or failed
    return 2 if failed else 0


async def _over_gateway(
    files: Sequence[AudioFile], options: TranscribeOptions, progress: Progress, console: Console
) -> bool:
    url = options.url or (USUAL_URL if await asyncio.to_thread(_answers, USUAL_URL) else None)
    if url is not None:
        return await _all_files(files, url, options, progress, console)
    async with running_stack(_stack(options), Console(stderr=True, quiet=True)) as stack:
        return await _all_files(files, stack.stream_url, options, progress, console)


def _stack(options: TranscribeOptions) -> Stack:
    return Stack(port=0, bundle=options.bundle, second_pass=options.second_pass or AUTO)


async def _all_files(
    files: Sequence[AudioFile], url: str, options: TranscribeOptions, progress: Progress, console: Console
) -> bool:
    failed = False
    for audio in files:
        task = progress.add_task(audio.path.name, total=audio.seconds, speed="")
        try:
            finals = await _stream(audio, url, options, progress, task)
        except StenoflowError as error:
            console.print(
                f"[red]✗[/] {audio.path}: {error.message} [dim]({error.code})[/]", highlight=False, soft_wrap=True
            )
            failed = True
            continue
        _write(audio, finals, options, several=len(files) > 1)
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
        second_pass=options.second_pass,
        boost=tuple(wire.Boost(phrase=phrase) for phrase in options.boost),
        tracks=tuple(
            wire.TrackRequest(name=name, sample_rate=audio.sample_rate, duration_s=audio.seconds)
            for name in track_names(audio)
        ),
    )
    size = round(CHUNK_S * audio.sample_rate) * 2
    sent = 0
    async with Stream(url, start, show, give_up_s=30) as call:
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


async def _in_process(
    files: Sequence[AudioFile], options: TranscribeOptions, progress: Progress, console: Console
) -> bool:
    # Imported here: only this path needs the services themselves, and their numeric libraries.
    from stenoflow.runtime.in_process import Sound, transcribe
    from stenoflow_cli.stages import all_stages

    stages = all_stages(options.bundle, options.second_pass or "off")
    settings = {"boost": [{"phrase": phrase} for phrase in options.boost]}
    failed = False
    for audio in files:
        task = progress.add_task(audio.path.name, total=audio.seconds, speed="")
        try:
            channels = [b"".join(pieces) for pieces in zip(*audio.blocks(), strict=True)]
        except ClientError as error:
            console.print(f"[red]✗[/] {error.message} [dim]({error.code})[/]", highlight=False, soft_wrap=True)
            failed = True
            continue
        sounds = [Sound(name, audio.sample_rate, pcm) for name, pcm in zip(track_names(audio), channels, strict=True)]
        finals = []
        for message in transcribe(stages, sounds, settings=settings):
            if message["type"] == "final" and message["text"]:
                finals.append(wire.Final.model_validate(message))
                progress.update(task, completed=message["end"] / 16_000)
        progress.update(task, completed=audio.seconds)
        _write(audio, finals, options, several=len(files) > 1)
    return failed


def track_names(audio: AudioFile) -> tuple[str, ...]:
    """What the tracks of a file are called."""
    if audio.channels == 1:
        return (audio.path.stem[:64],)
    if audio.channels == 2:
        return STEREO_NAMES
    return tuple(f"channel {number + 1}" for number in range(audio.channels))


def _answers(url: str) -> bool:
    try:
        with urlopen(url.replace("ws", "http", 1).replace("/v1/stream", "/readyz"), timeout=1) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _write(audio: AudioFile, finals: Sequence[wire.Final], options: TranscribeOptions, *, several: bool) -> None:
    names = track_names(audio)
    match options.format:
        case Format.TEXT:
            text = as_text(names, finals)
        case Format.JSON:
            text = as_json(names, finals, audio.seconds)
        case Format.SRT:
            text = as_srt(names, finals)
        case Format.VTT:
            text = as_vtt(names, finals)
    if options.output is None:
        if several and options.format is Format.TEXT:
            sys.stdout.write(f"# {audio.path}\n")
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    path = options.output
    if several or path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        path = path / (audio.path.stem + SUFFIXES[options.format])
    path.write_text(text, encoding="utf-8")
