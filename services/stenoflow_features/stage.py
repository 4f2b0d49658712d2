"""The features stage: client sound in, frames of speech segments and marks out (DESIGN 6).

Here lives the batching over tracks: one call of the network per 32 ms for all tracks that have such a frame, one call
of each front end for all its frames of a step. What happens to one track is :mod:`stenoflow_features.channel`'s matter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Sequence

import numpy as np

from stenoflow.base.positions import SAMPLE_RATE
from stenoflow.bus.entry import Entry, Kind, MarkKind
from stenoflow.runtime.stage import ResumeFrom, Step, Track
from stenoflow_features.channel import Channel, Output
from stenoflow_features.detector import Detector, Heard, Window
from stenoflow_features.filterbank import HOP
from stenoflow_features.front_end import front_end_of
from stenoflow_features.metrics import FeaturesMetrics
from stenoflow_features.segmenter import HANG_OVER_MS


class FeaturesStage:
    """A :class:`stenoflow.runtime.stage.Stage` whose state of a track is a :class:`Channel`.

    Args:
        detector: the network.
        trailing_silence_ms: hang-over of sessions that name none.
        metrics: where sound, speech and hints are counted.
        features: the kind that sessions get whose record names none; see :func:`stenoflow.bundle.card.asked`.
    """

    def __init__(
        self,
        detector: Detector,
        trailing_silence_ms: int = HANG_OVER_MS,
        metrics: FeaturesMetrics | None = None,
        features: str = "",
    ) -> None:
        self._detector = detector
        self._metrics = metrics or FeaturesMetrics()
        self._trailing_silence_ms = trailing_silence_ms
        self._features = features

    def open(self, track: Track, at: ResumeFrom) -> Channel:
        """The state of a track at ``at``; its input (client samples) begins at ``at.restart``."""
        return Channel(track, at, self._trailing_silence_ms)

    def step(self, batch: Sequence[tuple[Channel, Sequence[Entry]]]) -> list[Step]:
        """Takes news of many tracks and gives at most one entry for each.

        Args:
            batch: per track its channel (mutated) and its audio entries, in order.

        Returns:
            One step per item. Entries count 16 kHz samples, ``hop`` 160, and have frames of the kind that the session's
            bundle asks for; restart points count client samples.
        """
        self._listen([channel.listen(entries) for channel, entries in batch])
        outputs = [channel.take() for channel, _ in batch]
        payloads = self._payloads([channel for channel, _ in batch], outputs)
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
            frame_bytes=front_end_of(self._asked(channel)).frame_bytes,
            data=payload,
            marks=output.marks,
            restart=output.restart,
            carry=output.carry,
        )
        return Step(entries=(entry,), restart=output.restart, position=output.end)

    def _asked(self, channel: Channel) -> str:
        return channel.track.features or self._features

    def _payloads(self, channels: Sequence[Channel], outputs: Sequence[Output]) -> list[bytes]:
        """The frames of each output as bytes; those of one kind computed all at once."""
        payloads = [b""] * len(outputs)
        of_kind: dict[str, list[int]] = defaultdict(list)
        for number, (channel, output) in enumerate(zip(channels, outputs, strict=True)):
            if output.rows:
                of_kind[self._asked(channel)].append(number)
        for asked, numbers in of_kind.items():
            front_end, at = front_end_of(asked), 0
            frames = front_end.frames(np.concatenate([rows for number in numbers for rows in outputs[number].rows]))
            for number in numbers:
                size = front_end.frame_bytes * sum(len(rows) for rows in outputs[number].rows)
                payloads[number] = frames[at : at + size]
                at += size
        return payloads

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
