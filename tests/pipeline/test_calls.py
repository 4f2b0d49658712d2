"""What a call can do beyond speaking, through real stages: mute, watch, and come as a recording."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import soundfile

from stenoflow.base.ids import TrackKey
from stenoflow.base.positions import SAMPLE_RATE
from stenoflow.bus.entry import Entry, EntryId, Kind, MarkKind
from stenoflow.bus.records import TrackInfo
from stenoflow.protocol import messages as wire
from stenoflow.runtime.in_process import InProcessCall
from stenoflow_gateway.session.audio_writer import AudioWriter
from stenoflow_gateway.session.opening import opening_tail
from tests.pipeline.calls import ROOT, SAMPLE, oracle, sample_sound, stages
from tests.stack import StackProcess

MUTED_S = (8.0, 17.0)


class Muting(InProcessCall):
    """A call in one process whose audio log is written as a gateway writes it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.muted = False
        self._writers = {
            key: AudioWriter(key, info.sample_rate, opening_tail(self.record, key.number))
            for key, info in zip(self.record.track_keys(), self.record.tracks, strict=True)
        }

    def _audio_entry(self, key: TrackKey, pcm: bytes, end: bool) -> tuple[EntryId, Entry]:
        writer = self._writers[key]
        if self.muted and not writer.paused:
            writer.mark(MarkKind.PAUSE)
        writer.pause(self.muted)
        if writer.paused:
            writer.push_silence(writer.next + len(pcm) // 2, 0)
        else:
            writer.push(pcm, 0)
        if end:
            writer.mark(MarkKind.END)
        made = writer.entry()
        assert made is not None
        writer.appended()
        return made


def test_what_is_said_on_muted_tracks_is_not_written_down_and_the_rest_keeps_its_time() -> None:
    sounds = sample_sound()
    rate = sounds[0].sample_rate
    call = Muting(stages(), [TrackInfo(sound.name, "pcm_s16le", sound.sample_rate) for sound in sounds])
    words = []
    size = 2 * rate * 320 // 1000
    steps = -(-max(len(sound.pcm) for sound in sounds) // size)
    for step in range(steps):
        call.muted = MUTED_S[0] <= step * 0.32 < MUTED_S[1]
        pieces = {number: sound.pcm[step * size : (step + 1) * size] for number, sound in enumerate(sounds)}
        for entry in call.feed(pieces, end=step == steps - 1):
            if entry.kind is Kind.FINAL and entry.data:
                words += [(entry.track.number, word) for word in wire.Final.model_validate_json(entry.data).words]
    call.close()
    begin, end = (each * SAMPLE_RATE for each in MUTED_S)
    assert [word.word for _, word in words if begin + SAMPLE_RATE / 2 < word.begin < end - SAMPLE_RATE / 2] == []
    for far in (lambda word: word.end < begin - SAMPLE_RATE, lambda word: word.begin > end + SAMPLE_RATE):
        said = [(final.track, word) for final in oracle() for word in final.words if far(word)]
        assert len(said) > 5
        again = [
            any(one == other and abs(a.begin - b.begin) < SAMPLE_RATE / 4 for other, b in words) for one, a in said
        ]
        assert sum(again) > 0.8 * len(again), "what was not muted is where it was"


@pytest.mark.faults
def test_the_curl_lines_of_the_readme_do_what_they_say(stack: StackProcess, tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    commands = [line.split("   #")[0].strip() for line in re.findall(r"^    (curl .*)$", readme, re.MULTILINE)]
    assert len(commands) == 4
    samples, rate = soundfile.read(SAMPLE, frames=8 * 44_100)
    soundfile.write(tmp_path / "call.wav", samples, rate)
    base = httpx.URL(stack.stream_url)

    def run(command: str) -> str:
        command = command.replace("127.0.0.1:8000", f"{base.host}:{base.port}").replace("curl ", "curl -sS --fail ", 1)
        done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, timeout=90, check=False)
        assert done.returncode == 0, (command, done.stderr.decode())
        return done.stdout.decode()

    told = [
        json.loads(line.removeprefix("data: ")) for line in run(commands[0]).splitlines() if line.startswith("data")
    ]
    assert (told[0]["type"], told[-1]["type"]) == ("started", "ended")
    finals = [message["text"] for message in told if message["type"] == "final"]
    assert finals
    session = told[0]["session"]
    assert any(each["session"] == session for each in json.loads(run(commands[1]))["sessions"])
    assert finals[0].split()[0] in run(commands[2].replace("ID", session))
    run(commands[3].replace("ID", session))
    assert not any(each["session"] == session for each in json.loads(run(commands[1]))["sessions"])
