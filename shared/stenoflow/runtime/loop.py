"""The one loop of all workers (DESIGN 5): read → step → append → progress → trim.

It knows entries, positions and marks and never looks into a payload. Compute runs in one thread; leases are renewed
by :class:`stenoflow.runtime.holdings.Holdings` in the event loop, so that renewal never waits for compute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Protocol

import structlog

from stenoflow.base.clock import Clock
from stenoflow.base.errors import BusUnavailable, LogGap
from stenoflow.base.positions import SAMPLE_RATE, Position, to_client
from stenoflow.bus.claims import Claims
from stenoflow.bus.entry import Entry, EntryId, Kind
from stenoflow.bus.logs import Appended, Full, Gone, LogKey, LogName, Logs, Outcome, Refused
from stenoflow.bus.records import Records, StageProgress, Stages
from stenoflow.runtime.holdings import Held, Holdings
from stenoflow.runtime.look_back import HEARD_AGAIN, MARGIN, LookBack, with_what_is_heard
from stenoflow.runtime.metrics import WorkerMetrics
from stenoflow.runtime.places import CAPTION_LOGS, Place
from stenoflow.runtime.stage import Stage, State, Step
from stenoflow.telemetry.tracing import Tracing

PROGRESS_S = 0.5
"""Progress and trims, at most this often a track (sentence 6)."""

BLOCK_MS = 100
"""How long a read waits for news while few tracks are open; a track that was just taken waits no longer."""

BLOCKING_TRACKS = 24
"""From so many tracks on the loop reads without blocking: a wake-up over many keys is dear (DESIGN 5)."""

GATHER_S = (0.005, 0.020)
"""Bounds of the pause between two reads that do not block: as long as the last step took, within these."""

STUCK_S = 5.0
"""A step that takes this long ends the process, so that another worker takes its tracks (DESIGN 4)."""

ALIVE_S = 15.0
"""A loop without a round for so long is not alive, or for three times the longest step that is allowed."""

RETRY_S = 0.2
"""Pause before writes are tried again that Redis refused or did not answer."""


class Bus(Protocol):
    """What a worker needs of Redis, or of memory."""

    def logs(self) -> Logs:
        """The logs."""
        ...

    def claims(self, stage: Stages, consumer: str, bundle: str = "") -> Claims:
        """The claims of one stage (of one model), as one consumer."""
        ...

    def records(self) -> Records:
        """Session records, progress, registry."""
        ...


class StuckStep(RuntimeError):
    """A step took longer than one may."""


class WorkerLoop(Generic[State]):
    """Runs one stage over all tracks that its worker holds.

    Args:
        stage: what is run.
        place: which logs it stands between.
        bus: the logs, claims and records.
        clock: time.
        holdings: the tracks that are held; its renewal runs beside :meth:`run`.
        metrics: what is measured.
        look_back: for a stage that hears again.
        tracing: where spans go; None for nowhere.
        stuck_s: the longest that a step may take.
    """

    def __init__(
        self,
        stage: Stage[State],
        place: Place,
        bus: Bus,
        clock: Clock,
        holdings: Holdings[State],
        metrics: WorkerMetrics,
        look_back: LookBack[Held[State]] | None = None,
        tracing: Tracing | None = None,
        stuck_s: float = STUCK_S,
    ) -> None:
        self._stage = stage
        self._place = place
        self._look_back = look_back
        self._tracing = tracing
        self._stuck_s = stuck_s
        self._logs = bus.logs()
        self._records = bus.records()
        self._clock = clock
        self._holdings = holdings
        self._metrics = metrics
        self._log = structlog.get_logger().bind(stage=place.stage.value)
        self._draining = asyncio.Event()
        self._generation = ""
        self._last_step_s = 0.0
        self._round_at = clock.monotonic()
        self._progress_due = 0.0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=place.stage.value)

    def drain(self) -> None:
        """Finish the step at hand, hand everything over, and let :meth:`run` return."""
        self._draining.set()
        self._holdings.stop_taking()

    def alive(self) -> bool:
        """Whether the loop made a round lately: a probe that fails here should restart the process."""
        return self._clock.monotonic() - self._round_at < max(ALIVE_S, 3 * self._stuck_s)

    def ready(self) -> bool:
        """Whether the worker takes tracks."""
        return self.alive() and not self._draining.is_set()

    async def run(self) -> None:
        """Works until :meth:`drain`.

        Raises:
            StuckStep: a step hangs; the process must end, for its thread cannot be stopped.
        """
        renewal = asyncio.create_task(self._holdings.keep())
        try:
            while not self._draining.is_set():
                if renewal.done():
                    renewal.result()  # a bug there must not go unseen: it ends the worker
                try:
                    await self._round_after_round()
                except BusUnavailable as error:
                    self._log.warning("bus unavailable", code=error.code, reason=error.message)
                    self._round_at = self._clock.monotonic()  # it tries: to start it anew would mend nothing
                    await asyncio.sleep(RETRY_S)
            await self._leave()
        finally:
            renewal.cancel()
            self._thread.shutdown(wait=False, cancel_futures=True)

    # ------------------------------------------------------------------ one round

    async def _round_after_round(self) -> None:
        if self._generation:
            # After a break: which server is behind the new links is known only once there are any.
            await self._holdings.renew()
        self._generation = self._generation or self._logs.generation()
        reading = asyncio.ensure_future(self._read())
        try:
            while not self._draining.is_set():
                news = await reading
                self._round_at = self._clock.monotonic()
                if self._is_elsewhere:
                    # Another server, or one that came back: it may have lost the end of our output (sentence 6).
                    generation = self._logs.generation()
                    await self._holdings.reopen_all()
                    self._generation = generation  # only now: where Redis goes again meanwhile, all is looked at again
                    news = {}
                if self._look_back is None:
                    batch = self._take(news)
                else:
                    chosen = self._look_back.choose(news)
                    heard = await self._look_back.read(chosen)
                    taken = self._take(chosen.news)
                    batch = [(held, with_what_is_heard(fresh, heard.get(held, {}))) for held, fresh in taken]
                compute = self._compute(batch) if batch else None
                reading = asyncio.ensure_future(self._read())
                if compute is not None:
                    steps, stamps, traces = await compute
                    for (held, _), step, trace in zip(batch, steps, traces, strict=True):
                        before = held.run.position
                        held.outbox.extend(held.run.emit(step, stamps, trace))
                        self._metrics.sound.inc((held.run.position - before) / SAMPLE_RATE)
                        held.live = (step.live, step.live_marks) if self._place.stage is Stages.DECODER else None
                await self._write()
                await self._note_progress()
        finally:
            if not reading.done():
                reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self) -> Mapping[Held[State], Sequence[tuple[EntryId, Entry]]]:
        await self._holdings.wait_for_some(BLOCK_MS / 1000)
        # A track whose output is still to be written reads nothing: one append is in flight per log (sentence 2).
        readers = {LogKey(held.key, self._place.input): held for held in self._holdings if held.may_read}
        if not readers:
            await asyncio.sleep(GATHER_S[1])
            return {}
        if len(readers) < BLOCKING_TRACKS:
            block_ms: int | None = BLOCK_MS
        else:
            block_ms = None
            await asyncio.sleep(min(max(self._last_step_s, GATHER_S[0]), GATHER_S[1]))
        news = await self._logs.read(
            {key: held.run.input.read_after for key, held in readers.items()}, block_ms=block_ms
        )
        now = self._clock.monotonic()
        for key in news:
            readers[key].heard_at = now
        return {readers[key]: entries for key, entries in news.items()}

    def _take(
        self, news: Mapping[Held[State], Sequence[tuple[EntryId, Entry]]]
    ) -> list[tuple[Held[State], list[Entry]]]:
        # Not a coroutine: between a cursor's advance and the step that uses the news nothing may fail.
        batch: list[tuple[Held[State], list[Entry]]] = []
        for held, entries in news.items():
            if not self._holdings.holds(held) or not held.may_read:
                continue  # dropped, reopened, or with something to write since the read began
            try:
                fresh = held.run.take(entries)
            except LogGap as gap:
                held.gap = gap
                continue
            if fresh:
                batch.append((held, fresh))
        return batch

    async def _compute(
        self, batch: list[tuple[Held[State], list[Entry]]]
    ) -> tuple[Sequence[Step], dict[str, int], Sequence[str]]:
        begin = self._clock.monotonic()
        began_ms = self._clock.wall_ms()
        work = asyncio.get_running_loop().run_in_executor(
            self._thread, self._stage.step, [(held.run.state, entries) for held, entries in batch]
        )
        try:
            async with asyncio.timeout(self._stuck_s):
                steps = await asyncio.shield(work)
        except TimeoutError:
            reason = f"a step of {self._place.stage} over {len(batch)} tracks took over {self._stuck_s:g} s"
            raise StuckStep(reason) from None
        self._last_step_s = self._clock.monotonic() - begin
        ended_ms = self._clock.wall_ms()
        received = [entries[-1].stamps for _, entries in batch]
        self._metrics.step(len(batch), self._last_step_s, began_ms, received)
        stage = self._place.stage.value
        traces: Sequence[str] = [""] * len(batch)
        if self._tracing is not None:
            producers = [entries[-1].trace for _, entries in batch]
            traces = self._tracing.batch(stage, producers, began_ms, ended_ms)
        return steps, {f"{stage}.begin": began_ms, f"{stage}.end": ended_ms}, traces

    # ------------------------------------------------------------------ effects, in their order (sentence 6)

    @property
    def _is_elsewhere(self) -> bool:
        """Whether the links lead to a server whose tails were not looked at: nothing is written or trimmed there."""
        return self._logs.generation() != self._generation

    async def _write(self) -> None:
        await self._holdings.renew_if_stale()
        if self._is_elsewhere:
            return
        writers = [held for held in self._holdings if held.outbox]
        if writers:
            begin = self._clock.monotonic()
            outcomes = await self._append(writers)
            self._metrics.append.observe(self._clock.monotonic() - begin)
            for held, outcome in zip(writers, outcomes, strict=True):
                await self._settle(held, outcome)
            if any(isinstance(outcome, Full) for outcome in outcomes):
                self._log.warning("redis refuses writes")
                await asyncio.sleep(RETRY_S)
        for held in self._holdings:
            if held.gap is not None:
                await self._holdings.mend_gap(held, held.gap)
        await self._publish()
        over = [held for held in self._holdings if held.run.over and not held.outbox]
        if over:
            await self._note_progress(over)
            await self._holdings.done(over)

    async def _append(self, writers: Sequence[Held[State]]) -> Sequence[Outcome]:
        if self._place.output in CAPTION_LOGS:
            return await self._logs.append_finals([(held.output, held.tail_id, held.outbox) for held in writers])
        return await self._logs.append([(held.output, *held.outbox[0]) for held in writers])

    async def _settle(self, held: Held[State], outcome: Outcome) -> None:
        match outcome:
            case Appended(id=entry_id):
                held.tail_id = entry_id
                # Logs of frames take one entry an append; finals go in all at once.
                held.outbox = [] if self._place.output in CAPTION_LOGS else held.outbox[1:]
            case Refused():
                # The log goes further than we knew: somebody else wrote. Its word stands; start again from its tail.
                self._metrics.refused.inc()
                await self._holdings.reopen(held)
            case Gone():
                await self._holdings.reopen(held)
            case Full():
                pass  # the entry stays in the outbox, the input is not trimmed: try again

    async def _publish(self) -> None:
        messages = []
        told: list[Held[State]] = []
        for held in self._holdings:
            if held.live is None or held.outbox:
                continue
            text, marks = held.live
            told.append(held)
            position = held.run.position
            stamps = held.run.stamps
            entry = Entry(
                held.key,
                Kind.LIVE,
                position,
                position,
                data=text or b"",
                marks=marks,
                stamps=stamps,
                trace=held.run.trace,
            )
            messages.append((LogKey(held.key, LogName.LIVE), entry))
        # Kept until it is there: the gateway's window follows it, and a client whose window is full sends nothing that
        # would bring another one.
        outcomes = await self._logs.publish(messages) if messages else ()
        for held, outcome in zip(told, outcomes, strict=True):
            if not isinstance(outcome, Full):
                held.live = None

    async def _note_progress(self, tracks: Sequence[Held[State]] | None = None) -> None:
        if self._is_elsewhere:
            return
        now = self._clock.monotonic()
        if tracks is None:
            if now < self._progress_due:
                return
            self._progress_due = now + PROGRESS_S
            tracks = list(self._holdings)
            await self._holdings.ask_the_quiet(now)
        moved = [held for held in tracks if not held.outbox and held.run.restart != held.noted]
        if not moved:
            return
        wall_ms = self._clock.wall_ms()
        full: BusUnavailable | None = None
        try:
            await self._records.note_progress(
                self._place.stage,
                {held.key: StageProgress(held.run.position, held.run.restart, wall_ms) for held in moved},
            )
        except BusUnavailable as error:
            if error.code != "bus_full":
                raise
            full = error  # trims need no memory and are what frees some; a restart point stands in the output too
        await self._trim(moved)
        if full is not None:
            raise full
        for held in moved:
            held.noted = held.run.restart

    async def _trim(self, tracks: Sequence[Held[State]]) -> None:
        """Drops what this stage needs no more; of a log that a second pass reads again, no more than it has done."""
        restarts = {LogKey(held.key, self._place.input): held.run.restart for held in tracks}
        if self._place.input in HEARD_AGAIN:
            shared = [held for held in tracks if held.run.track.second_pass]
            of_each = await self._records.progress([held.key for held in shared]) if shared else ()
            for held, stages in zip(shared, of_each, strict=True):
                track, noted = held.run.track, stages.get(Stages.SECOND_PASS)
                needed = max(track.base, (noted.position if noted else track.base) - MARGIN)
                if self._place.input is LogName.AUDIO:
                    needed = to_client(Position(needed), track.sample_rate)
                key = LogKey(held.key, self._place.input)
                restarts[key] = min(restarts[key], needed)
        await self._logs.trim(restarts)

    async def _leave(self) -> None:
        await self._write()
        await self._note_progress(list(self._holdings))
        await self._holdings.hand_over_all()
