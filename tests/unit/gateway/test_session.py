"""What the gateway's machine does, one claim each."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from tests.unit.gateway.test_states import AT, SESSION, START, TOKEN, Rig, streaming
from tests.unit.gateway.world import RATE, sound

from stenoflow.bus.entry import END_ID, Entry, EntryId, Kind, Mark, MarkKind
from stenoflow.bus.logs import Appended, Full, Gone, LogKey, LogName, Refused
from stenoflow.bus.records import SessionState
from stenoflow.protocol import messages as wire
from stenoflow.protocol.frames import AudioFrame, encode_frame
from stenoflow_gateway.session import events as on
from stenoflow_gateway.session.machine import MAX_JUMPS, PROGRESS_S, REWIND_S
from stenoflow_gateway.session.states import State


def say(rig: Rig, begin: int, end: int) -> list[on.Effect]:
    return rig.tell(on.Binary(encode_frame(AudioFrame(0, begin, sound(begin, end)))))


def appends(effects: list[on.Effect]) -> list[on.Append]:
    return [effect for effect in effects if isinstance(effect, on.Append)]


def sent(effects: list[on.Effect]) -> list[Any]:
    return [effect.message for effect in effects if isinstance(effect, on.Send)]


def append(rig: Rig, effect: on.Append) -> list[on.Effect]:
    """Carries an append out."""
    key = LogKey(effect.track, LogName.AUDIO)
    return rig.tell(on.AppendDone(effect.track, rig.world.server.append(key, effect.id, effect.entry)))


def final(rig: Rig, begin: int, end: int, text: str = "hello there", **fields: Any) -> tuple[EntryId, Entry]:
    words = [{"word": word} for word in text.split()]
    data = json.dumps({"type": "final", "text": text, "words": words}).encode()
    return EntryId(end, 1), Entry(rig.machine.tracks[0].key, Kind.FINAL, begin, end, data=data, **fields)


# ---------------------------------------------------------------- sound


def test_one_append_is_in_flight_and_what_came_meanwhile_goes_in_one_entry() -> None:
    rig = streaming()
    first = appends(say(rig, 0, 100))
    assert [(effect.id, effect.entry.begin, effect.entry.end) for effect in first] == [(EntryId(100, 1), 0, 100)]
    assert appends(say(rig, 100, 200)) == appends(say(rig, 200, 300)) == []
    effects = append(rig, first[0])
    assert [(effect.entry.begin, effect.entry.end) for effect in appends(effects)] == [(100, 300)]
    assert appends(effects)[0].entry.data == sound(100, 300)
    assert sent(effects)[0].tracks[0].received == 100, "every append is acknowledged"


def test_an_entry_holds_640_ms_at_most() -> None:
    rig = streaming()
    say(rig, 0, 100)
    say(rig, 100, RATE)
    [effect] = appends(rig.tell(on.AppendDone(rig.machine.tracks[0].key, Appended(EntryId(100, 1)))))
    assert effect.entry.end - effect.entry.begin == RATE * 640 // 1000


def test_an_audio_entry_is_what_the_design_says() -> None:
    rig = streaming()
    [effect] = appends(say(rig, 0, 100))
    entry = effect.entry
    assert (entry.kind, entry.hop, entry.frame_bytes) == (Kind.AUDIO, 1, 2)
    assert entry.stamps == {"received": AT.wall_ms}
    assert [(span.begin, span.end) for span in entry.spans] == [(0, 100)]


def test_samples_that_are_known_are_dropped() -> None:
    rig = streaming()
    say(rig, 0, 100)
    say(rig, 50, 150)
    say(rig, 20, 80)
    effects = rig.tell(on.AppendDone(rig.machine.tracks[0].key, Appended(EntryId(100, 1))))
    assert appends(effects)[0].entry.data == sound(100, 150)


def test_a_jump_is_told_and_rewound_and_in_the_end_closes_the_socket() -> None:
    rig = streaming()
    say(rig, 0, 100)
    for _ in range(MAX_JUMPS):
        messages = sent(say(rig, 200, 300))
        assert [message.type for message in messages] == ["warning", "status"]
        assert messages[0].code == "position_jump"
        assert (messages[1].status, messages[1].next) == ("rewind", 100)
        assert say(rig, 300, 400) == [], "dropped until next comes"
        say(rig, 100, 100)
    assert sent(say(rig, 200, 300))[0].code == "position_jump"
    assert rig.machine.state is State.CLOSED


def test_sound_beyond_the_window_ends_this_session() -> None:
    rig = streaming()
    window_end = rig.machine.tracks[0].window_told
    assert window_end == 12 * RATE
    for begin in range(0, window_end, RATE):
        assert not any(message.type == "error" for message in sent(say(rig, begin, begin + RATE)))
    [error] = sent(say(rig, window_end, window_end + 1))
    assert error.code == "window_exceeded"
    assert str(window_end) in error.message


def test_the_window_moves_with_the_decoder() -> None:
    rig = streaming()
    key = rig.machine.tracks[0].key
    rig.tell(on.LiveRead(key, [Entry(key, Kind.LIVE, RATE, RATE)]))
    say(rig, 0, 100)
    effects = rig.tell(on.AppendDone(key, Appended(EntryId(100, 1))))
    assert sent(effects)[0].tracks[0].window_end == 13 * RATE


# ---------------------------------------------------------------- marks


def test_marks_travel_with_the_sound_and_stop_has_the_largest_id() -> None:
    rig = streaming()
    [first] = appends(say(rig, 0, 100))
    say(rig, 100, 200)
    rig.text(wire.Finalize())
    say(rig, 200, 300)
    rig.text(wire.Stop())
    assert rig.machine.state is State.STOPPING
    [second] = appends(append(rig, first))
    assert second.id == END_ID
    marks = [(mark.kind, mark.at, mark.who, mark.number) for mark in second.entry.marks]
    assert marks == [(MarkKind.FINALIZE, 200, "client", 0), (MarkKind.END, 300, "client", 1)]
    assert second.entry.marks_before == 0


def test_a_mark_at_the_logs_end_counts_on() -> None:
    rig = streaming()
    append(rig, appends(say(rig, 0, 100))[0])
    [effect] = appends(rig.text(wire.Finalize()))
    assert effect.id == EntryId(100, 2)
    append(rig, effect)
    [effect] = appends(rig.text(wire.Finalize(track=0)))
    assert (effect.id, effect.entry.marks_before, effect.entry.marks[0].number) == (EntryId(100, 3), 1, 1)


def test_more_than_twenty_marks_a_second_are_left_out() -> None:
    rig = streaming()
    for _ in range(20):
        assert not any(message.type == "warning" for message in sent(rig.text(wire.Finalize())))
    assert [message.code for message in sent(rig.text(wire.Finalize()))] == ["too_many_marks"]
    assert rig.machine.state is State.STREAMING


def test_stop_said_twice_is_stop() -> None:
    rig = streaming()
    assert appends(rig.text(wire.Stop()))[0].id == END_ID
    assert sent(rig.text(wire.Stop())) == []


def test_a_mark_between_a_rewind_and_next_is_settled_by_a_new_connection() -> None:
    rig = streaming()
    say(rig, 10, 20)
    rig.text(wire.Stop())
    effects = rig.machine.receive(on.Timer(), on.Moment(AT.monotonic + REWIND_S, AT.wall_ms))
    assert sent(list(effects))[-1] == wire.Reconnect()
    assert rig.machine.state is State.CLOSED


# ---------------------------------------------------------------- the logs' word


def test_a_refused_append_adopts_the_tail_and_appends_the_rest() -> None:
    rig = streaming()
    key = LogKey(rig.machine.tracks[0].key, LogName.AUDIO)
    [mine] = appends(say(rig, 0, 300))
    other = Entry(key.track, Kind.AUDIO, 0, 200, data=sound(0, 200))
    rig.world.server.append(key, EntryId(200, 1), other)
    rig.world.server.append(key, EntryId(400, 1), Entry(key.track, Kind.AUDIO, 200, 400, data=sound(200, 400)))
    say(rig, 300, 500)
    effects = append(rig, mine)
    assert effects == [on.ReadTail(key.track)]
    [rest] = appends(rig.tell(on.TailRead(key.track, rig.world.server.tail(key))))
    assert (rest.id, rest.entry.begin, rest.entry.data) == (EntryId(500, 1), 400, sound(400, 500))


def test_marks_that_stand_at_the_tail_are_not_written_again() -> None:
    rig = streaming()
    key = LogKey(rig.machine.tracks[0].key, LogName.AUDIO)
    append(rig, appends(say(rig, 0, 100))[0])
    [mark] = appends(rig.text(wire.Finalize()))
    rig.world.server.append(key, mark.id, mark.entry)
    rig.text(wire.Finalize())
    rig.tell(on.AppendDone(key.track, Refused("the reply was lost and it was sent again")))
    [rest] = appends(rig.tell(on.TailRead(key.track, rig.world.server.tail(key))))
    assert [each.number for each in rest.entry.marks] == [1]
    assert rest.id == EntryId(100, 3)


def test_an_append_without_reply_looks_at_the_tail_first() -> None:
    rig = streaming()
    key = LogKey(rig.machine.tracks[0].key, LogName.AUDIO)
    [mine] = appends(say(rig, 0, 100))
    rig.world.server.append(key, mine.id, mine.entry)  # it arrived, the reply did not
    assert rig.tell(on.AppendDone(key.track, None)) == [on.ReadTail(key.track)]
    assert appends(say(rig, 100, 200)) == [], "nothing is appended before the tail is known"
    [rest] = appends(rig.tell(on.TailRead(key.track, rig.world.server.tail(key))))
    assert (rest.entry.begin, rest.entry.end) == (100, 200)


def test_a_log_that_lost_its_end_rewinds_the_client() -> None:
    rig = streaming()
    key = LogKey(rig.machine.tracks[0].key, LogName.AUDIO)
    append(rig, appends(say(rig, 0, 100))[0])
    append(rig, appends(say(rig, 100, 200))[0])
    rig.world.server.logs[key].pop()
    assert rig.tell(on.ServerChanged()) == [on.ReadTail(key.track)]
    messages = sent(rig.tell(on.TailRead(key.track, rig.world.server.tail(key))))
    assert [message.type for message in messages] == ["ack", "status"]
    assert (messages[1].status, messages[1].next) == ("rewind", 100)


def test_an_end_that_was_lost_is_asked_for_again() -> None:
    rig = streaming()
    key = LogKey(rig.machine.tracks[0].key, LogName.AUDIO)
    append(rig, appends(say(rig, 0, 100))[0])
    append(rig, appends(rig.text(wire.Stop()))[0])
    rig.world.server.logs[key].pop()  # the end stood at the same position as the sound before it
    rig.tell(on.ServerChanged())
    messages = sent(rig.tell(on.TailRead(key.track, rig.world.server.tail(key))))
    assert messages[-1].status == "rewind"
    assert rig.machine.state is State.STREAMING
    say(rig, 100, 100)
    assert appends(rig.text(wire.Stop()))[0].id == END_ID


def test_a_log_that_lost_what_is_final_is_opened_anew_at_what_the_client_has() -> None:
    rig = streaming()
    key = LogKey(rig.machine.tracks[0].key, LogName.AUDIO)
    append(rig, appends(say(rig, 0, 3200))[0])
    rig.tell(on.FinalsRead(key.track, [final(rig, 0, 1600)]))
    rig.world.server.logs[key] = rig.world.server.logs[key][:1]
    rig.tell(on.ServerChanged())
    effects = rig.tell(on.TailRead(key.track, rig.world.server.tail(key)))
    [open_] = [effect for effect in effects if isinstance(effect, on.Open)]
    assert open_.record.tracks[0].base == 1600
    assert not open_.admit, "a session that goes on is not refused for want of places"


def test_a_missing_log_asks_the_record_whose_turn_it_is() -> None:
    rig = streaming()
    key = rig.machine.tracks[0].key
    say(rig, 0, 100)
    assert rig.tell(on.AppendDone(key, Gone())) == [on.ReadRecord(SESSION)]
    effects = rig.tell(on.RecordRead(None))
    assert any(isinstance(effect, on.Open) for effect in effects)
    assert rig.machine.state is State.REOPENING


def test_a_newer_connection_wins() -> None:
    rig = streaming()
    record = rig.world.server.connect(SESSION, TOKEN)
    effects = rig.tell(on.RecordRead(record))
    assert sent(effects)[0].code == "superseded"
    assert effects[-1] == on.Close(on.Code.SUPERSEDED)


def test_an_older_socket_that_was_faster_after_an_empty_redis_does_not_win() -> None:
    rig = streaming()
    assert rig.machine.record is not None
    older = msgspec.structs.replace(rig.machine.record, connection=1, epoch="other")
    effects = rig.tell(on.RecordRead(older))
    assert any(isinstance(effect, on.Open) for effect in effects)


@pytest.mark.parametrize(
    ("error", "state"),
    [(("log_gap", "lost"), State.REOPENING), (("poisoned_track", "it kills workers"), State.CLOSED)],
)
def test_a_broken_session_is_mended_or_ended(error: tuple[str, str], state: State) -> None:
    rig = streaming()
    assert rig.machine.record is not None
    effects = rig.tell(
        on.RecordRead(msgspec.structs.replace(rig.machine.record, state=SessionState.BROKEN, error=error))
    )
    assert rig.machine.state is state
    if state is State.CLOSED:
        assert sent(effects)[0].code == error[0]


def test_a_full_redis_holds_sound_and_says_so() -> None:
    rig = streaming()
    key = rig.machine.tracks[0].key
    [effect] = appends(say(rig, 0, 100))
    assert [message.status for message in sent(rig.tell(on.AppendDone(key, Full("memory"))))] == ["behind"]
    assert appends(say(rig, 100, 200)) == []
    again = rig.machine.receive(on.Timer(), on.Moment(AT.monotonic + 0.2, AT.wall_ms))
    assert appends(list(again)) == [effect], "the same entry under the same id"
    messages = sent(rig.tell(on.AppendDone(key, Appended(effect.id))))
    assert messages[0] == wire.Status(status="normal")


# ---------------------------------------------------------------- captions


def test_finals_go_through_as_they_came_and_before_the_ack_that_counts_them() -> None:
    rig = streaming()
    append(rig, appends(say(rig, 0, 3200))[0])
    news = final(rig, 0, 1600)
    effects = rig.tell(on.FinalsRead(rig.machine.tracks[0].key, [news]))
    assert effects[0] == on.Forward(0, news[1].data, superseded=False)
    assert sent(effects)[-1].tracks[0].committed == 1600


def test_a_final_without_words_moves_committed_and_is_not_sent() -> None:
    rig = streaming()
    effects = rig.tell(on.FinalsRead(rig.machine.tracks[0].key, [final(rig, 0, 1600, "")]))
    assert not any(isinstance(effect, on.Forward) for effect in effects)
    assert sent(effects)[0].tracks[0].committed == 1600


def test_finals_with_a_gap_are_read_again_once_and_then_the_session_is_opened_anew() -> None:
    rig = streaming()
    key = rig.machine.tracks[0].key
    effects = rig.tell(on.FinalsRead(key, [final(rig, 0, 1600), final(rig, 3200, 4800)]))
    assert sum(isinstance(effect, on.Forward) for effect in effects) == 1, "what came before the gap is not lost"
    assert effects[-1] == on.Follow(rig.machine.record)
    effects = rig.tell(on.FinalsRead(key, [final(rig, 3200, 4800)]))
    [open_] = [effect for effect in effects if isinstance(effect, on.Open)]
    assert open_.record.tracks[0].base == 1600


def with_second_pass() -> Rig:
    rig = Rig()
    opened = rig.opened(rig.text(START))
    started = sent(rig.tell(on.Opened(msgspec.structs.replace(opened.record, second_pass="whisper-tiny.en"))))[0]
    assert started.second_pass == "whisper-tiny.en"
    return rig


def draft(rig: Rig, begin: int, end: int, text: str = "hello there", utterance: int = 0) -> Entry:
    said = {"type": "final", "track": 0, "utterance": utterance, "begin": begin, "end": end, "text": text, "words": []}
    return Entry(rig.machine.tracks[0].key, Kind.FINAL, begin, end, data=json.dumps(said).encode())


def partials(effects: list[on.Effect]) -> list[Any]:
    return [wire.parse_server(effect.data) for effect in effects if isinstance(effect, on.Forward)]


def test_a_draft_is_a_partial_that_is_stable_to_its_end_and_comes_once() -> None:
    rig = with_second_pass()
    key = rig.machine.tracks[0].key
    news = on.DraftsRead(key, [draft(rig, 0, 1600), draft(rig, 1600, 3200, ""), draft(rig, 3200, 4800, "yes", 1)])
    effects = rig.tell(news)
    assert [(each.type, each.text, each.stable, each.utterance) for each in partials(effects)] == [
        ("partial", "hello there", 11, 0),
        ("partial", "yes", 3, 1),
    ]
    assert not any(effect.superseded for effect in effects if isinstance(effect, on.Forward))
    assert partials(rig.tell(news)) == []
    assert rig.machine.tracks[0].committed == 0, "a draft is not final"


def test_a_draft_of_what_is_final_and_a_partial_of_what_is_drafted_are_dropped() -> None:
    rig = with_second_pass()
    key = rig.machine.tracks[0].key
    rig.tell(on.FinalsRead(key, [final(rig, 0, 1600)]))
    assert partials(rig.tell(on.DraftsRead(key, [draft(rig, 0, 1600), draft(rig, 1600, 3200)])))[0].end == 3200
    old, new = (Entry(key, Kind.LIVE, at, at, data=b"{}") for at in (3200, 3300))
    assert not any(isinstance(effect, on.Forward) for effect in rig.tell(on.LiveRead(key, [old])))
    assert on.Forward(0, b"{}", superseded=True) in rig.tell(on.LiveRead(key, [new]))


def test_the_client_hears_when_the_second_pass_falls_behind_and_when_it_is_back() -> None:
    rig = with_second_pass()
    key = rig.machine.tracks[0].key
    said = []
    for number, carry in enumerate([{}, {"unheard": True}, {"unheard": True}, {}, {}]):
        effects = rig.tell(on.FinalsRead(key, [final(rig, 1600 * number, 1600 * (number + 1), carry=carry)]))
        said += [each.status for each in sent(effects) if isinstance(each, wire.Status)]
    assert said == ["reduced", "normal"]


def test_a_partial_of_an_utterance_that_is_final_is_dropped() -> None:
    rig = streaming()
    key = rig.machine.tracks[0].key
    rig.tell(on.FinalsRead(key, [final(rig, 0, 1600)]))
    old, new = (Entry(key, Kind.LIVE, at, at, data=b"{}") for at in (1600, 1700))
    assert not any(isinstance(effect, on.Forward) for effect in rig.tell(on.LiveRead(key, [old])))
    assert on.Forward(0, b"{}", superseded=True) in rig.tell(on.LiveRead(key, [new]))


def test_quality_marks_become_messages() -> None:
    rig = streaming()
    key = rig.machine.tracks[0].key
    hint = {"code": "clipping", "message": "turn it down"}
    fields = {"level_db": -3.0, "clipping": 0.1, "snr_db": None, "bandwidth_hz": 4000, "hint": hint}
    live = Entry(key, Kind.LIVE, 100, 100, marks=(Mark(MarkKind.QUALITY, 100, "features", 1, fields),))
    [quality] = sent(rig.tell(on.LiveRead(key, [live])))
    assert quality.hint.code == "clipping"


def test_latency_adds_up() -> None:
    rig = streaming()
    key = rig.machine.tracks[0].key
    names = ("received", "features.begin", "features.end", "acoustic.begin", "acoustic.end", "decoder.begin")
    stamps = {name: AT.wall_ms - back for name, back in zip(names, (100, 90, 80, 75, 45, 40), strict=True)}
    stamps["decoder.end"] = AT.wall_ms - 20
    effects = rig.tell(on.LiveRead(key, [Entry(key, Kind.LIVE, 100, 100, data=b"{}", stamps=stamps)]))
    [latency] = sent(effects)
    steps = latency.steps
    assert (steps.queue, steps.features, steps.acoustic, steps.decoder, steps.back) == (20, 10, 30, 20, 20)
    assert latency.total_ms == 100 == sum(steps.model_dump().values())
    assert on.Measured("chunk", 0.1) in effects
    assert sent(rig.tell(on.LiveRead(key, [Entry(key, Kind.LIVE, 200, 200, stamps=stamps)]))) == [], "not at every step"


def test_acks_and_progress_come_at_least_every_half_second() -> None:
    rig = streaming()
    effects = rig.machine.receive(on.Timer(), on.Moment(AT.monotonic + PROGRESS_S, AT.wall_ms))
    assert {message.type for message in sent(list(effects))} == {"ack", "progress"}
    [timer] = [effect for effect in effects if isinstance(effect, on.SetTimer)]
    assert timer.at == AT.monotonic + 2 * PROGRESS_S


def test_progress_says_how_far_and_how_much_of_a_file() -> None:
    rig = Rig()
    request = wire.TrackRequest(name="a", sample_rate=8000, duration_s=4.0)
    rig.tell(rig.opened(rig.text(wire.Start(kind="file", tracks=(request,)))))
    [effect] = appends(rig.tell(on.Binary(encode_frame(AudioFrame(0, 0, bytes(2 * 4800))))))
    assert rig.machine.tracks[0].window_told == 60 * 8000
    append(rig, effect)
    key = rig.machine.tracks[0].key
    rig.tell(on.LiveRead(key, [Entry(key, Kind.LIVE, 3200, 3200)]))
    effects = rig.machine.receive(on.Timer(), on.Moment(AT.monotonic + 1, AT.wall_ms))
    [progress] = [message for message in sent(list(effects)) if message.type == "progress"]
    line = progress.tracks[0]
    assert (line.received, line.decoder, line.behind_s, line.fraction) == (9600, 3200, 0.4, 0.05)


def test_lag_is_the_age_of_the_oldest_sample_that_is_not_decoded() -> None:
    rig = streaming()
    key = rig.machine.tracks[0].key
    append(rig, appends(say(rig, 0, 100))[0])
    assert rig.machine.lag_s(AT.wall_ms + 300) == 0.3
    rig.tell(on.LiveRead(key, [Entry(key, Kind.LIVE, 160, 160)]))
    assert rig.machine.lag_s(AT.wall_ms + 300) == 0.0


def test_ended_is_the_last_message_and_carries_totals() -> None:
    rig = streaming()
    key = rig.machine.tracks[0].key
    append(rig, appends(say(rig, 0, 1700))[0])
    append(rig, appends(rig.text(wire.Stop()))[0])
    end = Entry(key, Kind.FINAL, 1600, 1600, marks=(Mark(MarkKind.END, 1600, "client", 0),))
    effects = rig.tell(on.FinalsRead(key, [final(rig, 0, 1600), (END_ID, end)]))
    ended = sent(effects)[-1]
    assert (ended.type, ended.tracks[0].utterances, ended.tracks[0].words) == ("ended", 1, 2)
    assert ended.tracks[0].committed == ended.tracks[0].received == 1700
    assert effects[-2:] == [on.Follow(None), on.Close(on.Code.NORMAL)]
    assert any(isinstance(effect, on.Finish) for effect in effects)


def test_a_track_that_was_ended_from_elsewhere_takes_no_more_sound_and_says_so_once() -> None:
    rig = streaming()
    key = LogKey(rig.machine.tracks[0].key, LogName.AUDIO)
    end = Entry(key.track, Kind.AUDIO, 0, 0, marks=(Mark(MarkKind.END, 0, "gateway", 0),))
    [mine] = appends(say(rig, 0, 100))
    rig.world.server.append(key, END_ID, end)
    append(rig, mine)
    messages = sent(rig.tell(on.TailRead(key.track, rig.world.server.tail(key))))
    assert messages[0].code == "track_ended"
    assert rig.machine.state is State.STOPPING


def test_other_tracks_than_before_are_refused_at_a_resume() -> None:
    first = streaming()
    record = first.world.server.connect(SESSION, TOKEN)
    rig = Rig()
    tracks = (wire.TrackRequest(name="a", sample_rate=8000),)
    rig.text(START.model_copy(update={"resume": wire.Resume(token=TOKEN), "tracks": tracks}))
    [error] = sent(rig.tell(on.Connected(record, [(None, None)])))
    assert error.code == "tracks_changed"


def test_a_token_of_elsewhere_is_refused() -> None:
    rig = Rig()
    resume = wire.Resume(token="nobody-knows-this-token")
    [error] = sent(rig.text(START.model_copy(update={"resume": resume})))
    assert error.code == "malformed_token"
    assert "nobody" not in error.message
