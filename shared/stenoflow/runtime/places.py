"""Where each stage stands between the logs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stenoflow.bus.logs import LogName
from stenoflow.bus.records import Stages
from stenoflow.runtime.stage import Track


@dataclass(frozen=True, slots=True)
class Place:
    """Where a stage stands between its logs."""

    stage: Stages
    input: LogName
    output: LogName
    before_second_pass: LogName | None = None
    """The output where the session has a second pass."""

    def output_of(self, track: Track) -> LogName:
        """The log that the stage writes for a track."""
        return self.before_second_pass if track.second_pass and self.before_second_pass else self.output


FEATURES = Place(Stages.FEATURES, LogName.AUDIO, LogName.FEATURES)
ACOUSTIC = Place(Stages.ACOUSTIC, LogName.FEATURES, LogName.EMISSIONS)
DECODER = Place(Stages.DECODER, LogName.EMISSIONS, LogName.FINALS, LogName.DRAFTS)
SECOND_PASS = Place(Stages.SECOND_PASS, LogName.DRAFTS, LogName.FINALS)
PLACES: Sequence[Place] = (FEATURES, ACOUSTIC, DECODER, SECOND_PASS)

CAPTION_LOGS = frozenset({LogName.DRAFTS, LogName.FINALS})
"""What cannot be sliced: an entry is appended only to the tail that its writer knows (DESIGN 2, sentence 3)."""
