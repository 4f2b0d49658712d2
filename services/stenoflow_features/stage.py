"""The features stage: client sound in, log-mel frames of speech segments and marks out (DESIGN 6).

Here lives the batching over tracks: one call of the network per 32 ms for all tracks that have such a frame, one call
of the filterbank for all frames of a step. What happens to one track is :mod:`stenoflow_features.channel`'s matter.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Final

import numpy as np

from stenoflow.base.positions import SAMPLE_RATE
from stenoflow.bus.entry import Entry, Kind, MarkKind
from stenoflow.runtime.stage import ResumeFrom, Step, Track
from stenoflow_features.channel import Channel, Output
from stenoflow_features.detector import Detector, Heard, Window
from stenoflow_features.filterbank import BANDS, HOP, log_mel
from stenoflow_features.metrics import FeaturesMetrics
from stenoflow_features.segmenter import HANG_OVER_MS

FRAME_BYTES: Final = BANDS * 2
"""One frame on the wire: 80 float16, little-endian."""


class FeaturesStage:
    """A :class:`stenoflow.runtime.stage.Stage` whose state of a track is a :class:`Channel`.

    Args:
        detector: the network.
        trailing_silence_ms: hang-over of sessions that name none.
        metrics: where sound, speech and hints are counted.
    """

    def __init__(
        self,
        detector: Detector,
        trailing_silence_ms: int = HANG_OVER_MS,
        metrics: FeaturesMetrics | None = None,
    ) -> None:
        self._detector = detector
        self._metrics = metrics or FeaturesMetrics()
        self._trailing_silence_ms = trailing_silence_ms

    def open(self, track: Track, at: ResumeFrom) -> Channel:
        """The state of a track at ``at``; its input (client samples) begins at ``at.restart``."""
        return Channel(track, at, self._trailing_silence_ms)

    def step(self, batch: Sequence[tuple[Channel, Sequence[Entry]]]) -> list[Step]:
        """Takes news of many tracks and gives at most one entry for each.

        Args:
            batch: per track its channel (mutated) and its audio entries, in order.

        Returns:
            One step per item. Entries count 16 kHz samples, ``hop`` 160, 80 float16 a frame; restart points count
            client samples.
        """
        self._listen([channel.listen(entries) for channel, entries in batch])
        outputs = [channel.take() for channel, _ in batch]
        payloads = _payloads(outputs)
        return [
            self._step(channel, output, payload)
            for (channel, _), output, payload in zip(batch, outputs, payloads, strict=True)
        ]

    def close(self, state: Channel) -> None:
        """Nothing is held for a track but its channel."""

    def _listen(self, channels: Sequence[Generator[Window, Heard, None]]) -> None:
        """Runs all channels to their end, one detector frame of each at a time."""
        asking = [(channel, window) for channel in channels if (window := next(channel, None)) is not None]
        while asking:
            heard = self._detector.hear([window for _, window in asking])
            answered = zip(asking, heard, strict=True)
            asking = [
                (channel, window) for (channel, _), answer in answered if (window := _send(channel, answer)) is not None
            ]

    def _step(self, channel: Channel, output: Output, payload: bytes) -> Step:
        if output.end == output.begin and not output.marks:
            return Step(entries=(), restart=output.restart, position=output.end)
        self._count(output)
        entry = Entry(
            track=channel.track.key,
            kind=Kind.FEATURES,
            begin=output.begin,
            end=output.end,
            spans=output.spans,
            hop=HOP,
            frame_bytes=FRAME_BYTES,
            data=payload,
            marks=output.marks,
            restart=output.restart,
            carry=output.carry,
        )
        return Step(entries=(entry,), restart=output.restart, position=output.end)

    def _count(self, output: Output) -> None:
        self._metrics.sound.inc((output.end - output.begin) / SAMPLE_RATE)
        self._metrics.speech.inc(sum(span.end - span.begin for span in output.spans) / SAMPLE_RATE)
        for mark in output.marks:
            if mark.kind is MarkKind.SEGMENT_BEGIN:
                self._metrics.segments.inc()
            elif mark.kind is MarkKind.QUALITY:
                self._metrics.quality(mark.fields)


def _send(channel: Generator[Window, Heard, None], answer: Heard) -> Window | None:
    try:
        return channel.send(answer)
    except StopIteration:
        return None


def _payloads(outputs: Sequence[Output]) -> list[bytes]:
    """The frames of each output as bytes, computed all at once."""
    rows = [rows for output in outputs for rows in output.rows]
    if not rows:
        return [b""] * len(outputs)
    frames = log_mel(np.concatenate(rows)).astype("<f2")
    payloads, at = [], 0
    for output in outputs:
        count = sum(len(rows) for rows in output.rows)
        payloads.append(frames[at : at + count].tobytes())
        at += count
    return payloads
