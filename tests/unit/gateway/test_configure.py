"""Settings that change and phrases that are spotted, in the gateway's machine: nothing doubled, nothing lost."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.gateway.test_pause import Muting
from tests.unit.gateway.test_states import Rig, connecting, streaming
from tests.unit.gateway.world import RATE, sound

from stenoflow.base.errors import LogGap
from stenoflow.base.ids import SessionId
from stenoflow.bus.entry import Cursor, Entry, EntryId, Kind, Mark, MarkKind
from stenoflow.bus.logs import Appended, LogKey, LogName
from stenoflow.bus.records import SessionState
from stenoflow.protocol import client_events as ce
from stenoflow.protocol import messages as wire
from stenoflow.protocol.frames import AudioFrame, encode_frame
from stenoflow.runtime.drafts import CONFIGURED
from stenoflow.runtime.spotted import Occurrence, spotted_mark
from stenoflow_gateway.session import events as on
from stenoflow_gateway.session.states import State

BOOST = (wire.Boost(phrase="Ada", weight=2.0),)


def appended(effects: list[on.Effect]) -> list[Entry]:
    return [effect.entry for effect in effects if isinstance(effect, on.Append)]


def messages(effects: list[on.Effect]) -> list[Any]:
    return [effect.message for effect in effects if isinstance(effect, on.Send)]


def test_configure_is_a_mark_at_the_next_sample() -> None:
    rig = streaming()
    rig.tell(on.Binary(encode_frame(AudioFrame(0, 0, sound(0, 500)))))  # its append is in flight
    rig.text(wire.Configure(boost=BOOST, partials=False))
    [entry] = appended(rig.tell(on.AppendDone(rig.machine.tracks[0].key, Appended(EntryId(500, 1)))))
    [mark] = entry.marks
    assert (mark.kind, mark.at) == (MarkKind.CONFIGURE, 500)
    assert mark.fields == {"boost": [{"phrase": "Ada", "weight": 2.0}], "partials": False}, "and nothing left out"


def test_too_many_settings_are_left_out_and_the_client_hears_of_it() -> None:
    rig = streaming()
    said = [messages(rig.text(wire.Configure(partials=bool(n % 2)))) for n in range(4)]
    assert [[message.code for message in each if message.type == "warning"] for each in said] == [
        [],  # the first one says what is in force
        [],
        [],
        ["too_many_marks"],
    ]


def test_a_new_epoch_begins_with_the_settings_in_force_at_what_is_final() -> None:
    """The logs are gone, and the marks in them; those from there on the client sends again."""
    rig = streaming()
    rig.text(wire.Configure(boost=BOOST, spot=(wire.Spot(phrase="refund"),)))
    rig.tell(on.Binary(encode_frame(AudioFrame(0, 0, sound(0, 500)))))
    rig.text(wire.Configure(boost=()))
    [opened] = [effect for effect in rig.tell(on.RecordRead(None)) if isinstance(effect, on.Open)]
    assert opened.record.settings["boost"] == [{"phrase": "Ada", "weight": 2.0}]
    assert opened.record.settings["spot"] == [{"phrase": "refund", "threshold": wire.SPOT_THRESHOLD}]


def test_a_resume_whose_logs_are_damaged_begins_with_the_clients_settings() -> None:
    first = streaming()
    record = first.machine.record
    assert record is not None
    rig = Rig()
    start = connecting().machine._start
    assert start is not None
    rig.text(start.model_copy(update={"boost": BOOST}))
    effects = rig.tell(on.Connected(record, [(None, None)]))
    [opened] = [effect for effect in effects if isinstance(effect, on.Open)]
    assert opened.record.settings["boost"] == [{"phrase": "Ada", "weight": 2.0}]


def test_settings_while_a_new_epoch_opens_are_asked_for_again() -> None:
    rig = streaming()
    effects = rig.tell(on.RecordRead(None))
    rig.text(wire.Configure(partials=False))
    assert rig.machine.state is State.REOPENING
    said = messages(rig.tell(rig.opened(effects)))
    assert [message.status for message in said if message.type == "status"] == ["rewind"]
    assert appended(rig.tell(on.Binary(encode_frame(AudioFrame(0, 0, b""))))) == [], "its place is not known any more"


def final(rig: Rig, begin: int, end: int, text: str, *marks: Mark) -> on.FinalsRead:
    key = rig.machine.tracks[0].key
    data = wire.Final(track=0, utterance=0, begin=begin, end=end, text=text, words=(), confidence=1.0)
    entry = Entry(key, Kind.FINAL, begin, end, data=data.model_dump_json().encode(), marks=marks)
    return on.FinalsRead(key, [(EntryId(end, 1), entry)])


def live(rig: Rig, at: int, *marks: Mark) -> on.LiveRead:
    key = rig.machine.tracks[0].key
    return on.LiveRead(key, [Entry(key, Kind.LIVE, at, at, marks=marks)])


def spotted(effects: list[on.Effect]) -> list[tuple[str, int]]:
    return [(message.phrase, message.end) for message in messages(effects) if message.type == "spotted"]


ADA = spotted_mark(700, "decoder", [Occurrence("ada", 100, 600, 0.9)])
BOB = spotted_mark(900, "decoder", [Occurrence("bob", 700, 800, 0.8), Occurrence("bobby", 700, 850, 0.7)])
BOB_AGAIN = [Occurrence("bob", 1000, 1400, 0.8)]
CLOSING = spotted_mark(900, "decoder", [Occurrence("eve", 860, 900, 0.6)], closing=True)


def test_an_occurrence_is_told_at_once_and_not_again_with_its_final() -> None:
    rig = streaming()
    assert spotted(rig.tell(live(rig, 700, ADA))) == [("ada", 600)]
    assert spotted(rig.tell(live(rig, 700, ADA))) == [], "a worker that took over redoes the stretch"
    assert spotted(rig.tell(final(rig, 0, 900, "x", ADA))) == []
    assert spotted(rig.tell(live(rig, 700, ADA))) == [], "late"


def test_an_occurrence_that_a_slow_reader_missed_comes_before_its_final() -> None:
    rig = streaming()
    assert spotted(rig.tell(live(rig, 900, BOB))) == [("bob", 800), ("bobby", 850)]
    effects = rig.tell(final(rig, 0, 900, "x", ADA, BOB, CLOSING))
    assert spotted(effects) == [("ada", 600), ("eve", 900)]
    kinds = [type(effect) for effect in effects]
    assert kinds.index(on.Send) < kinds.index(on.Forward)


def test_an_occurrence_in_a_stretch_without_words_comes_without_a_caption() -> None:
    rig = streaming()
    effects = rig.tell(final(rig, 0, 900, "", ADA))
    assert spotted(effects) == [("ada", 600)]
    assert not any(isinstance(effect, on.Forward) for effect in effects)


def test_a_client_that_resumes_gets_occurrences_of_the_finals_that_it_lacks() -> None:
    first = streaming()
    server, key = first.world.server, first.machine.tracks[0].key
    first.tell(on.Binary(encode_frame(AudioFrame(0, 0, sound(0, 2000)))))
    record = first.machine.record
    assert record is not None
    audio = Entry(key, Kind.AUDIO, 0, 2000, data=b"")
    server.logs[LogKey(key, LogName.AUDIO)].append((EntryId(2000, 1), audio))
    reads = [final(first, 0, 960, "x", ADA), final(first, 960, 1760, "y", spotted_mark(1500, "decoder", BOB_AGAIN))]
    for read in reads:
        server.logs[LogKey(key, LogName.FINALS)] += read.entries
    rig = Rig()
    start = connecting().machine._start
    assert start is not None and start.resume is not None
    resume = start.resume.model_copy(update={"tracks": (wire.ResumeTrack(track=0, committed=960),)})
    rig.text(start.model_copy(update={"resume": resume}))
    tails = [(server.tail(LogKey(key, LogName.AUDIO)), server.tail(LogKey(key, LogName.FINALS)))]
    rig.tell(on.Connected(record, tails))
    assert rig.machine.state is State.STREAMING
    told = [pair for read in reads for pair in spotted(rig.tell(read))]
    assert told == [("bob", 1400)]


def test_a_draft_is_shown_where_partials_are_wanted_at_its_end() -> None:
    for start, configured, shown in (
        (True, {}, True),
        (True, {"partials": False}, False),
        (False, {"partials": True}, True),
    ):
        rig = streaming()
        assert rig.machine._start is not None
        rig.machine._start = rig.machine._start.model_copy(update={"partials": start})
        [(_, entry)] = final(rig, 0, 900, "x").entries
        entry.carry[CONFIGURED] = configured
        effects = rig.tell(on.DraftsRead(entry.track, [entry]))
        assert any(isinstance(effect, on.Forward) for effect in effects) is shown


class Changing(Muting):
    """A client that also changes its settings, no more often than it may; connections break and Redis forgets.

    What comes of it is looked at in the logs, before the echo makes finals of them. Where several breaks fall on each
    other a change may hold somewhat before or after its place (decision 0004), but the last one holds for all that
    comes after it.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.samples = 5 * RATE
        self.changes = [(0, 1.0)]
        self.wrong: list[tuple[int, float, float]] = []
        echo = self.server.echo

        def look(session: SessionId) -> None:
            self._look(session)
            echo(session)

        self.server.echo = look  # type: ignore[method-assign]

    def _push(self) -> None:
        at = self.pushed[0]
        if self.changes[-1][0] + RATE <= at < self.samples and self.random.random() < 0.3:
            weight = 1 + len(self.changes) / 64
            self.changes.append((at, weight))
            self._tell_client(ce.ConfigureAsked(wire.Configure(lm_weight=weight)))
        super()._push()

    def _look(self, session: SessionId) -> None:
        """As a stage does: whether each stretch of sound has the settings that were asked for it."""
        record = self.server.records.get(session)
        if record is None:
            return
        [key], [info] = record.track_keys(), record.tracks
        cursor, marks = Cursor(key, info.base), []
        try:
            for entry_id, entry in self.server.logs.get(LogKey(key, LogName.AUDIO), ()):
                news = cursor.take(entry_id, entry)
                marks += [mark for mark in news.marks if mark.kind is MarkKind.CONFIGURE] if news else []
        except LogGap as gap:  # a new epoch mends it
            self.server.records[session] = replace(record, state=SessionState.BROKEN, error=(gap.code, gap.message))
            return
        self.wrong = []
        for at in {info.base, *(mark.at for mark in marks), *(at for at, _ in self.changes)}:
            if max(info.base, self.changes[-1][0]) <= at < cursor.position:
                changed = [mark.fields["lm_weight"] for mark in marks if mark.at <= at]
                in_force = changed[-1] if changed else record.settings["lm_weight"]
                asked = [weight for begin, weight in self.changes if begin <= at][-1]
                if in_force != asked:
                    self.wrong.append((at, in_force, asked))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_whatever_breaks_the_last_settings_hold_and_every_sample_is_muted_or_not_as_it_was_said(seed: int) -> None:
    world = Changing(seed)
    heard: dict[tuple[int, int], bytes] = {}
    append = world.server.append

    def note(key: LogKey, entry_id: EntryId, entry: Entry) -> Any:
        heard.update({(span.begin, span.end): bytes(entry.frames(span)) for span in entry.spans})
        return append(key, entry_id, entry)

    world.server.append = note  # type: ignore[method-assign]
    world.run(40_000)
    assert world.error is None
    assert world.wrong == []
    muted = [*world.muted, *([(world.since, world.samples)] if world.since is not None else [])]
    for (begin, end), samples in heard.items():
        assert samples == sound(begin, end)
        assert not any(begin < until and at < end for at, until in muted)
    assert world.client.finals[-1].end == world.samples
