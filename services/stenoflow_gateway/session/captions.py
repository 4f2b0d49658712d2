"""Messages that are made of what travels with captions: latency from stamps, quality from marks."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from stenoflow.bus.entry import Entry, Mark
from stenoflow.bus.records import NEEDED, Stages
from stenoflow.protocol.messages import Latency, LatencySteps, Partial, Quality


class _Draft(msgspec.Struct):
    track: int
    utterance: int
    begin: int
    end: int
    text: str


_read_draft = msgspec.json.Decoder(_Draft).decode


def draft_of(entry: Entry) -> bytes | None:
    """A draft as clients get it: a partial that is stable to its end. None where nothing was said."""
    draft = _read_draft(entry.data)
    if not draft.text:
        return None
    return (
        Partial(
            track=draft.track,
            utterance=draft.utterance,
            revision=draft.end,
            begin=draft.begin,
            end=draft.end,
            text=draft.text,
            stable=len(draft.text),
        )
        .model_dump_json()
        .encode()
    )


def latency_of(track: int, entry: Entry, wall_ms: int, chunk_ms: int, look_ahead_ms: int) -> Latency | None:
    """How long a caption took from its newest sound's arrival to here; None where it carries no stamps."""
    stamps = entry.stamps
    received = stamps.get("received")
    if received is None:
        return None
    queue, last = 0, received
    steps: dict[Stages, int] = {}
    for stage in NEEDED:
        begin, end = stamps.get(f"{stage}.begin"), stamps.get(f"{stage}.end")
        if begin is None or end is None:
            return None
        queue += max(0, begin - last)
        steps[stage] = max(0, end - begin)
        last = end
    return Latency(
        track=track,
        total_ms=max(0, wall_ms - received),
        chunk_ms=chunk_ms,
        look_ahead_ms=look_ahead_ms,
        steps=_steps(queue, steps, max(0, wall_ms - last)),
    )


def _steps(queue: int, steps: Mapping[Stages, int], back: int) -> LatencySteps:
    return LatencySteps(
        queue=queue,
        features=steps[Stages.FEATURES],
        acoustic=steps[Stages.ACOUSTIC],
        decoder=steps[Stages.DECODER],
        back=back,
    )


def quality_of(track: int, mark: Mark) -> Quality:
    """The ``quality`` message of a mark of the features stage."""
    return Quality.model_validate({"track": track, **mark.fields})
