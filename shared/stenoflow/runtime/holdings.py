"""The tracks that a worker holds: taking, renewing, dropping, reopening and handing over (DESIGN 4).

Runs in the event loop beside compute. What is no longer held is closed here and nowhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic

import structlog

from stenoflow.base.clock import Clock
from stenoflow.base.errors import BusUnavailable, LogGap
from stenoflow.base.ids import TrackKey
from stenoflow.base.positions import SAMPLE_RATE
from stenoflow.bus.claims import MAX_FRUITLESS_TAKEOVERS, Claim, Claims
from stenoflow.bus.entry import Entry, EntryId, Mark
from stenoflow.bus.logs import LogKey, LogName, Logs
from stenoflow.bus.records import Records, SessionRecord, SessionState
from stenoflow.runtime.metrics import WorkerMetrics
from stenoflow.runtime.places import Place
from stenoflow.runtime.stage import Stage, State, Track
from stenoflow.runtime.track_run import TrackRun

TAKE_S = 0.1
"""How often a worker with free places looks for tracks that nobody has."""

QUIET_S = 10.0
"""A track without news for this long is asked for: its log may be gone (DESIGN 2, sentence 7)."""


@dataclass(eq=False, slots=True)
class Held(Generic[State]):
    """A track that this worker works on.

    Args:
        claim: the lease.
        run: the track under the stage.
        output: the log that the stage writes.
        tail_id: the newest id of the output log, as far as appends succeeded.
        heard_at: monotonic seconds of the last news.
    """

    claim: Claim
    run: TrackRun[State]
    output: LogKey
    tail_id: EntryId
    heard_at: float
    outbox: list[tuple[EntryId, Entry]] = field(default_factory=list)
    live: tuple[bytes | None, tuple[Mark, ...]] | None = None
    noted: int = -1
    """The restart point that progress and trim know."""
    gap: LogGap | None = None
    """A gap that was met and is not dealt with; nothing is read meanwhile."""
    gap_at: int | None = None
    """Where a gap was met before: a second one at the same place is a loss."""
    taken_over_at: int | None = None
    """Where its output ended when it was taken over, which was counted; None where it was not."""

    @property
    def key(self) -> TrackKey:
        """Which track."""
        return self.claim.track

    @property
    def may_read(self) -> bool:
        """Whether the next input may come: one append is in flight per log, and a gap is mended first."""
        return not self.outbox and self.gap is None


class Holdings(Generic[State]):
    """All tracks of one worker.

    Args:
        stage: opens and closes states.
        place: where the stage stands; the tail of its output log says where to go on.
        claims: the leases.
        logs: for the tails.
        records: for the sessions' settings.
        clock: time.
        places: tracks that may be held at once.
        lease_s: a worker that has not renewed for so long renews before it writes.
        renew_s: how often leases are renewed.
        metrics: what is measured.
    """

    def __init__(
        self,
        stage: Stage[State],
        place: Place,
        claims: Claims,
        logs: Logs,
        records: Records,
        clock: Clock,
        metrics: WorkerMetrics,
        *,
        places: int,
        lease_s: float,
        renew_s: float,
    ) -> None:
        self._stage = stage
        self._place = place
        self._claims = claims
        self._logs = logs
        self._records = records
        self._clock = clock
        self._metrics = metrics
        self.places = places
        self._lease_s = lease_s
        self._renew_s = renew_s
        self._held: dict[str, Held[State]] = {}
        self._opening: set[str] = set()
        """Claims whose tracks are being opened, for the first time or again: they count as held."""
        self._some = asyncio.Event()
        self._taking = True
        self._renewed_at = clock.monotonic()
        self._renewing = asyncio.Lock()
        self._log = structlog.get_logger().bind(stage=place.stage.value)

    def __iter__(self) -> Iterator[Held[State]]:
        return iter(list(self._held.values()))

    def __len__(self) -> int:
        return len(self._held)

    def holds(self, held: Held[State]) -> bool:
        """Whether this very holding is still ours (a reopened track is another one)."""
        return self._held.get(held.claim.id) is held

    def stop_taking(self) -> None:
        """No new tracks from here on (drain)."""
        self._taking = False
        self._some.set()

    async def wait_for_some(self, timeout_s: float) -> None:
        """Returns as soon as a track is held, or after the timeout."""
        if self._held:
            return
        self._some.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._some.wait()
        except TimeoutError:
            return

    # ------------------------------------------------------------------ leases

    async def keep(self) -> None:
        """Renews, takes over and takes, for ever. Ends only by cancellation or by a bug."""
        renew_due = 0.0
        while True:
            try:
                if self._clock.monotonic() >= renew_due:
                    renew_due = self._clock.monotonic() + self._renew_s
                    for claim in await self.renew():
                        await self._open_stray(claim)
                    await self._take_over()
                await self._take()
            except BusUnavailable as error:
                self._log.warning("claims unavailable", code=error.code)
            await asyncio.sleep(min(TAKE_S, self._renew_s))

    async def renew_if_stale(self) -> None:
        """Before a write: a worker that slept past its lease renews first and drops what is no longer its own."""
        if self._held and self._clock.monotonic() - self._renewed_at > self._lease_s:
            self._log.warning("lease was late", late_s=round(self._clock.monotonic() - self._renewed_at, 2))
            await self.renew()

    async def renew(self) -> list[Claim]:
        """Renews, drops what is lost, and returns what is ours but not held.

        That is a take whose answer was lost, or an opening that failed. Renewal keeps such a claim from everybody else,
        so nobody would ever work on it.
        """
        async with self._renewing:
            if not self._held:
                self._renewed_at = self._clock.monotonic()
                return []
            before = set(self._held)
            known = before | self._opening
            sent_at = self._clock.monotonic()
            own = {claim.id: claim for claim in await self._claims.renew()}
            self._renewed_at = sent_at  # counted from the sending: the answer may have been slow
        for claim_id in before - own.keys():
            held = self._held.get(claim_id)
            if held is not None:
                self._log.info("track lost to another worker", track=str(held.key))
                self._metrics.lost.inc()
                self._drop(held)
        return [own[each] for each in own.keys() - known - self._held.keys() - self._opening]

    @property
    def _free(self) -> int:
        return self.places - len(self._held) - len(self._opening) if self._taking else 0

    async def _take(self) -> None:
        if self._free > 0:
            for claim in await self._claims.take(self._free):
                await self._open(claim)

    async def _take_over(self) -> None:
        if self._free <= 0:
            return
        for claim in await self._claims.take_over(self._free):
            if claim.id in self._held or claim.id in self._opening:
                continue
            self._metrics.takeovers.inc()
            await self._open(claim, taken_over=True)

    # ------------------------------------------------------------------ opening and closing

    async def _open_stray(self, claim: Claim) -> None:
        if self._free > 0:
            await self._open(claim)
        else:
            await self._claims.hand_over([claim])

    async def _open(self, claim: Claim, *, taken_over: bool = False) -> None:
        self._opening.add(claim.id)
        try:
            await self._open_claimed(claim, taken_over)
        finally:
            self._opening.discard(claim.id)

    async def _open_claimed(self, claim: Claim, taken_over: bool) -> None:
        record = await self._records.get(claim.track.session)
        if record is None or record.epoch != claim.track.epoch or record.state is not SessionState.OPEN:
            await self._claims.done([claim])
            return
        track = track_of(record, claim.track)
        output = LogKey(claim.track, self._place.output_of(track))
        tail = await self._logs.tail(output)
        if tail is None or tail.entry.ends:
            await self._claims.done([claim])
            return
        if taken_over:
            fruitless = await self._records.count_takeover(self._place.stage, claim.track, tail.entry.end)
            if fruitless > MAX_FRUITLESS_TAKEOVERS:
                sentence = f"the {self._place.stage} stage failed {fruitless} times at one place; the call ends there"
                await self._break(claim, record, "poisoned_track", sentence)
                return
        run = TrackRun(self._stage, track, tail)
        self._held[claim.id] = held = Held(claim, run, output, tail.id, self._clock.monotonic())
        held.taken_over_at = tail.entry.end if taken_over else None
        self._metrics.held.set(len(self._held))
        self._some.set()
        self._log.info("track opened", track=str(claim.track), at=tail.entry.end, taken_over=taken_over)

    def _drop(self, held: Held[State]) -> None:
        if self._held.pop(held.claim.id, None) is not None:
            self._stage.close(held.run.state)
            self._metrics.held.set(len(self._held))

    async def reopen(self, held: Held[State]) -> None:
        """Rebuilds a track from its output's tail (sentence 4); drops it where its session or its log is no more."""
        self._metrics.rebuilds.inc()
        self._drop(held)
        await self._open(held.claim)
        again = self._held.get(held.claim.id)
        if again is not None:
            again.gap_at, again.taken_over_at = held.gap_at, held.taken_over_at

    async def reopen_all(self) -> None:
        """Rebuilds every track (the server is another one, or came back)."""
        for held in self:
            await self.reopen(held)

    async def mend_gap(self, held: Held[State], gap: LogGap) -> None:
        """A gap rebuilds once; if it stays and the claim is still ours, the session is broken, loudly (sentence 1)."""
        if held.gap_at != gap.expected:
            held.gap_at = gap.expected
            await self.reopen(held)
            return
        await self.renew()
        if not self.holds(held):
            return
        record = await self._records.get(held.key.session)
        self._drop(held)
        if record is not None and record.epoch == held.key.epoch:
            rate = held.run.track.sample_rate if self._place.input is LogName.AUDIO else SAMPLE_RATE
            self._metrics.audio_lost.inc((gap.begin - gap.expected) / rate)
            await self._break(held.claim, record, gap.code, gap.message)

    async def _break(self, claim: Claim, record: SessionRecord, code: str, sentence: str) -> None:
        self._log.error("session broken", track=str(claim.track), code=code, reason=sentence)
        self._metrics.broken.inc()
        await self._records.finish(record, SessionState.BROKEN, (code, sentence))
        await self._claims.done([claim])

    async def ask_the_quiet(self, now: float) -> None:
        """Tracks without news for long: their log may have gone without an append noticing."""
        for held in self:
            if now - held.heard_at > QUIET_S:
                held.heard_at = now
                if await self._logs.tail(held.output) is None:
                    await self.reopen(held)

    async def done(self, over: Sequence[Held[State]]) -> None:
        """The tracks' end has been written: their claims go for good."""
        await self._claims.done([held.claim for held in over])
        for held in over:
            self._drop(held)

    async def hand_over_all(self) -> None:
        """Gives every track back at once (drain). This worker did not die of them, so they are not counted as such."""
        counted = {held.key: held.taken_over_at for held in self if held.taken_over_at is not None}
        await self._claims.hand_over([held.claim for held in self])
        for held in self:
            self._drop(held)
        if counted:
            await self._records.uncount_takeovers(self._place.stage, counted)


def track_of(record: SessionRecord, key: TrackKey) -> Track:
    """What a stage needs to know of a track, from its session's record."""
    info = record.tracks[key.number]
    return Track(key, info.base, info.sample_rate, record.settings, record.second_pass, record.features)
