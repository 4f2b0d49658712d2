"""Nobody may be measured on a voice that was trained on; frames must lie where the service has them."""

from __future__ import annotations

import numpy as np

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
