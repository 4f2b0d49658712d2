"""Nobody may be measured on a voice that was trained on; frames must lie where the service has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from stenoflow.base.errors import ConfigError
from stenoflow_trainer import data


def utterance(number: int, speaker: str, label: str = "human") -> data.Utterance:
    return data.Utterance(f"u{number}", "train", "s.tar", f"u{number}.opus", speaker, 2.0, "hello", label, "corpus")


def test_dev_shares_no_speaker_with_training() -> None:
    # The same reader in two lists, once under each name.
    everything = [utterance(i, f"{corpus}-{i % 20}") for i, corpus in enumerate(["ls", "cv"] * 100)]
    everything += [utterance(1000 + i, "unknown", "none") for i in range(5)]
    train, dev = data.split_dev(everything, share=0.1, seed=1)
    assert dev and train
    assert not {data.bare_speaker(one.speaker) for one in dev} & {data.bare_speaker(one.speaker) for one in train}
    assert sum(one.speaker == "unknown" for one in train) == 5


def test_dev_is_labelled_by_humans_and_the_same_each_time() -> None:
    everything = [utterance(i, f"ls-{i % 30}", "teacher" if i % 3 else "human") for i in range(90)]
    first, second = (data.split_dev(everything, share=0.1, seed=4)[1] for _ in range(2))
    assert first == second
    assert {one.label for one in first} == {"human"}


def test_held_speaker_is_found_under_any_prefix() -> None:
    kept = data.without_speakers(
        [utterance(1, "ls-1188"), utterance(2, "LS_1188"), utterance(3, "1188"), utterance(4, "ls-118")],
        [utterance(5, "libri-1188"), utterance(6, "unknown")],
    )
    assert [one.id for one in kept] == ["u4"]


def test_unknown_speaker_is_not_one_person() -> None:
    anonymous = [utterance(1, "unknown", "none")]
    assert data.without_speakers(anonymous, [utterance(2, "unknown")]) == anonymous


def test_padding_is_quiet_bounded_and_whole_steps() -> None:
    draw = np.random.default_rng(3)
    speech = (0.1 * draw.standard_normal(16_000)).astype(np.float32)
    for _ in range(50):
        padded = data.pad_like_serving(speech, draw)
        extra = len(padded) - len(speech)
        assert len(padded) % data.STEP == 0
        assert -data.STEP <= extra <= (data.LEAD_MS + data.TAIL_MS) * 16 + data.STEP
    quiet = data.pad_like_serving(np.zeros(16_000, np.float32), draw)
    assert np.abs(quiet).max() < 1e-3


def test_frame_hears_no_later_sample_than_its_own_ten_milliseconds() -> None:
    draw = np.random.default_rng(5)
    samples = (0.1 * draw.standard_normal(16_000)).astype(np.float32)
    changed = samples.copy()
    changed[8_000:] = 0.0
    plain, cut = data.fbank(samples), data.fbank(changed)
    assert plain.shape == (100, 80)
    assert np.array_equal(plain[:50], cut[:50])
    assert not np.allclose(plain[50], cut[50])


def tone(path: Path, rate: int, channels: int = 1) -> None:
    at = np.arange(rate) / rate
    soundfile.write(path, np.stack([0.1 * np.sin(2 * np.pi * 440 * at)] * channels, axis=1), rate)


def test_own_recordings_of_any_rate_and_kind_with_texts_as_people_write_them(tmp_path: Path) -> None:
    (tmp_path / "calls").mkdir()
    tone(tmp_path / "calls" / "a.wav", 8_000, channels=2)
    tone(tmp_path / "calls" / "b.flac", 44_100)
    rows = ["path,text,speaker,seconds", 'calls/a.wav,"Hello, all 20 of you!",anna,', "calls/b.flac,,,1.0"]
    (tmp_path / "mine.csv").write_text("\n".join(rows) + "\n")
    first, second = data.read_own_manifest(tmp_path / "mine.csv")
    assert (first.text, first.label, first.speaker, first.seconds) == ("hello all twenty of you", "human", "anna", 1.0)
    assert (second.text, second.label, second.speaker) == ("", "none", "unknown")
    shards = data.Shards(tmp_path)
    for one in (first, second):
        samples = shards.read(one)
        assert len(samples) == data.SAMPLE_RATE
        spectrum = np.abs(np.fft.rfft(samples))
        assert int(spectrum.argmax()) == 440


@pytest.mark.parametrize(
    ("rows", "code", "said"),
    [
        ("file\ttext\n", "manifest_damaged", "lacks the column path"),
        ("path\ttext\nnowhere.wav\thello\n", "recording_unreadable", "line 2: nowhere.wav"),
        ("path\tseconds\ta\nx.wav\tlong\t\n", "manifest_damaged", "'long' is no number"),
    ],
)
def test_a_list_that_cannot_be_used_says_where(tmp_path: Path, rows: str, code: str, said: str) -> None:
    (tmp_path / "mine.tsv").write_text(rows)
    with pytest.raises(ConfigError, match=said) as caught:
        data.read_own_manifest(tmp_path / "mine.tsv")
    assert caught.value.code == code


def test_no_list_at_all(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no list of recordings at .*mine\.tsv"):
        data.read_own_manifest(tmp_path / "mine.tsv")


def test_names_without_a_corpus_are_one_corpus() -> None:
    everything = [utterance(i, name) for i, name in enumerate(["anna", "bob", "cleo", "dan", "eve"] * 4)]
    _, dev = data.split_dev(everything, share=0.2, seed=1)
    assert len({one.speaker for one in dev}) == 1
