"""What the trainer knows about recordings: manifests, tar shards, speakers, padding, filterbank.

Nothing here knows a model.  The filterbank must give what `stenoflow_features` computes on the
wire; the test of both is that they agree on the clips in `tests/clips`.
"""

from __future__ import annotations

import csv
import io
import random
import re
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from stenoflow.base.errors import ConfigError
from stenoflow.text.plain import plain_text

SAMPLE_RATE = 16_000
HOP = 160  # samples; 10 ms
WINDOW = 400  # samples; 25 ms
STEP = 4 * HOP  # samples of one model step; 40 ms
BINS = 80
LEAD_MS = 240  # most silence a segment has before its speech (the segmenter's pre-roll)
TAIL_MS = 480  # silence after which the segmenter closes a segment
LONGEST_S = 30.0  # longer recordings are left out of training: cut them where nobody speaks
SPEEDS = (0.86, 1.16)  # slowest and fastest copy of a recording

_AT_SPEED = re.compile(r"@\d+\.\d+$")

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Utterance:
    """One row of a manifest, or that recording played at another speed.

    label: human, teacher, teacher+slots or none (no transcript); seconds: as played.
    """

    id: str
    split: str
    shard: str
    file: str
    speaker: str
    seconds: float
    text: str
    label: str
    source: str
    speed: float = 1.0


def recording_of(utterance: str) -> str:
    """`libri-7` of the utterance id `libri-7@1.12`."""
    return _AT_SPEED.sub("", utterance)


def at_other_speeds(utterances: Iterable[Utterance], copies: int, seed: int) -> list[Utterance]:
    """`copies` of each recording, every one at a speed (and so a pitch) of its own; the same at every call."""
    made = []
    for one in utterances:
        for copy in range(copies):
            speed = round(random.Random(f"{seed} {one.id} {copy}").uniform(*SPEEDS), 3)
            made.append(replace(one, id=f"{one.id}@{speed}", seconds=one.seconds / speed, speed=speed))
    return made


def read_manifest(root: Path, split: str) -> list[Utterance]:
    """Reads ``<root>/<split>.tsv``: recordings packed into tar shards, texts as they are trained on.

    Raises:
        ConfigError: there is no such list, or a column is missing.
    """
    return [
        Utterance(
            id=row["id"],
            split=split,
            shard=row["shard"],
            file=row["file"],
            speaker=row["speaker"],
            seconds=float(row["seconds"]),
            text=row["text"],
            label=row["label"],
            source=row["source"],
        )
        for row in _rows(
            root / f"{split}.tsv", {"id", "shard", "file", "speaker", "seconds", "text", "label", "source"}
        )
    ]


def read_own_manifest(path: Path) -> list[Utterance]:
    """Reads a list of one's own recordings: a tab-separated file, or one with commas if it ends in ``.csv``.

    Columns: ``path`` (from the list's folder; whatever libsndfile reads), and if they are there ``text`` (as people
    write: it is normalised here), ``speaker`` and ``seconds``.

    Returns:
        one a row, the id being its path. Rows without a text have the label "none", those without a speaker
        "unknown", whom no split keeps apart.

    Raises:
        ConfigError: there is no such list, no column ``path``, or a recording is missing or cannot be read.
    """
    found = []
    for number, row in enumerate(_rows(path, {"path"}), start=2):
        recording, text = path.parent / row["path"], plain_text(row.get("text") or "")
        try:
            seconds = float(row.get("seconds") or soundfile.info(recording).duration)
        except (OSError, soundfile.LibsndfileError):
            raise ConfigError(
                "recording_unreadable",
                f"{path}, line {number}: {row['path']} is missing or no sound that libsndfile reads",
            ) from None
        except ValueError:
            raise ConfigError(
                "manifest_damaged", f"{path}, line {number}: {row['seconds']!r} is no number of seconds"
            ) from None
        found.append(
            Utterance(
                id=row["path"],
                split=path.stem,
                shard="",
                file=row["path"],
                speaker=row.get("speaker") or "unknown",
                seconds=seconds,
                text=text,
                label="human" if text else "none",
                source=path.stem,
            )
        )
    return found


def _rows(path: Path, needed: set[str]) -> list[dict[str, str]]:
    """The rows of a list with a header line; columns in any order."""
    try:
        lines = path.open(encoding="utf-8", newline="")
    except OSError:
        raise ConfigError("manifest_missing", f"there is no list of recordings at {path}") from None
    with lines:
        comma = path.suffix == ".csv"
        reader = csv.DictReader(lines) if comma else csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        if missing := needed - set(reader.fieldnames or ()):
            names = ", ".join(sorted(missing))
            raise ConfigError("manifest_damaged", f"{path} lacks the column {names} in its first line")
        return list(reader)


def recipe_utterances(root: Path) -> list[Utterance]:
    """All training recordings of a folder of manifests, of nobody who speaks in a held set."""
    held = [one for split in held_splits(root) for one in read_manifest(root, split)]
    listed = [one for split in ("train", "train_unlabelled") for one in read_manifest(root, split)]
    return without_speakers(listed, held)


def held_splits(root: Path) -> list[str]:
    """Names of the sets that are only ever measured."""
    return sorted(path.stem for path in root.glob("held_*.tsv"))


def bare_speaker(speaker: str) -> str:
    """The corpus's own speaker id: lists name the same reader ``ls-1188``, ``LS_1188`` or ``1188``."""
    return speaker.lower().replace("_", "-").rsplit("-", 1)[-1]


def without_speakers(utterances: Iterable[Utterance], excluded: Iterable[Utterance]) -> list[Utterance]:
    """`utterances` without those whose speaker occurs in `excluded`; an unknown speaker equals nobody."""
    banned = {bare_speaker(one.speaker) for one in excluded} - {"unknown", ""}
    return [one for one in utterances if bare_speaker(one.speaker) not in banned]


def split_dev(utterances: Sequence[Utterance], *, share: float, seed: int) -> tuple[list[Utterance], list[Utterance]]:
    """Parts off a development set by speaker.

    Of every corpus at least one speaker and `share` of the speakers with human labels go to dev,
    so that no corpus is missing there.  Anonymous speakers stay in training.

    Returns:
        (training, dev): no bare speaker id is in both; dev has human labels only.
    """
    speakers: dict[str, set[str]] = defaultdict(set)
    for one in utterances:
        if one.label == "human" and one.speaker != "unknown":
            corpus, _, number = one.speaker.partition("-")
            speakers[corpus if number else ""].add(bare_speaker(one.speaker))
    draw = random.Random(seed)
    chosen: set[str] = set()
    for corpus in sorted(speakers):
        pool = sorted(speakers[corpus])
        chosen.update(draw.sample(pool, max(1, round(share * len(pool)))))
    dev = [one for one in utterances if bare_speaker(one.speaker) in chosen]
    train = [one for one in utterances if bare_speaker(one.speaker) not in chosen]
    return train, [one for one in dev if one.label == "human"]


class Shards:
    """Random access to the recordings of a folder: files, or members of its tar shards (one open file a shard)."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._open: dict[str, tuple[tarfile.TarFile, dict[str, tarfile.TarInfo]]] = {}

    def read(self, one: Utterance) -> Samples:
        """Mono float32 samples at 16 kHz in [-1, 1], at the utterance's speed."""
        samples = decode(self._encoded(one), one.id)
        if one.speed == 1.0:
            return samples
        played: Samples = soxr.resample(samples, SAMPLE_RATE * one.speed, SAMPLE_RATE, quality="MQ")
        return played

    def _encoded(self, one: Utterance) -> bytes:
        if not one.shard:
            return (self._root / one.file).read_bytes()
        if one.shard not in self._open:
            tar = tarfile.open(self._root / one.shard)  # noqa: SIM115 (open as long as this object)
            self._open[one.shard] = (tar, {member.name: member for member in tar.getmembers()})
        tar, members = self._open[one.shard]
        stream = tar.extractfile(members[one.file])
        assert stream is not None, f"{one.file} in {one.shard} is no plain file"
        return stream.read()


def decode(encoded: bytes, name: str) -> Samples:
    """Decodes an audio file in memory: channels averaged, resampled to 16 kHz.

    Raises:
        ConfigError: libsndfile cannot read it.
    """
    try:
        samples, rate = soundfile.read(io.BytesIO(encoded), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ConfigError("recording_unreadable", f"{name} is no sound that libsndfile reads: {error}") from None
    mono: Samples = samples.mean(axis=1)
    if rate == SAMPLE_RATE:
        return mono
    resampled: Samples = soxr.resample(mono, rate, SAMPLE_RATE)
    return resampled


def pad_like_serving(samples: Samples, draw: np.random.Generator) -> Samples:
    """Adds what the segmenter leaves around speech: up to 240 ms before, in half the cases up to 480 ms after.

    The silence is white noise somewhat below the quietest 20 ms of the recording, and the whole is
    cut to full steps of 40 ms.
    """
    lead = int(draw.integers(0, LEAD_MS * 16 + 1))
    tail = int(draw.integers(0, TAIL_MS * 16 + 1)) * int(draw.integers(0, 2)) + STEP
    blocks = samples[: len(samples) // 320 * 320].reshape(-1, 320)
    floor = float(np.percentile(np.sqrt((blocks**2).mean(axis=1)), 3)) if len(blocks) else 0.0
    noise = draw.standard_normal(lead + tail).astype(np.float32) * np.float32(max(floor, 2e-5) * draw.uniform(0.4, 1.0))
    padded = np.concatenate([noise[:lead], samples, noise[lead:]])
    return padded[: len(padded) // STEP * STEP]


def fbank(samples: Samples) -> npt.NDArray[np.float32]:
    """Kaldi log-mel filterbank with the service's framing.

    Frame i covers samples [160 (i + 1) - 400, 160 (i + 1)), that is nothing after its own 10 ms; before the
    beginning there are zeros.  Natural log, int16 scale, povey window, 20 Hz to 8 kHz.

    Returns:
        float32 [floor(N / 160), 80].
    """
    # Imported here: torchaudio may first need torchaudio_cpu, and reading manifests needs neither.
    import torch
    from torchaudio.compliance import kaldi

    wave = np.concatenate([np.zeros(WINDOW - HOP, np.float32), samples]) * np.float32(32768.0)
    frames = kaldi.fbank(
        torch.from_numpy(wave)[None],
        sample_frequency=SAMPLE_RATE,
        num_mel_bins=BINS,
        frame_length=25.0,
        frame_shift=10.0,
        dither=0.0,
        window_type="povey",
        preemphasis_coefficient=0.97,
        remove_dc_offset=True,
        snip_edges=True,
        low_freq=20.0,
        high_freq=0.0,
        use_energy=False,
    )
    array: npt.NDArray[np.float32] = frames.numpy()
    return array
