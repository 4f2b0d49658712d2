"""Finals as text, JSON, SRT and WebVTT."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from stenoflow.base.positions import SAMPLE_RATE
from stenoflow.protocol.messages import Final

MAX_CUE_S = 6.0
"""A cue that stays longer than this is cut at a word: readers lose their place otherwise."""

MAX_CUE_CHARACTERS = 84
"""Two lines of 42 characters, the usual measure of subtitles."""


@dataclass(frozen=True, slots=True)
class Cue:
    """Some words on the screen for some time, seconds."""

    begin: float
    end: float
    speaker: str
    text: str


def as_text(names: Sequence[str], finals: Sequence[Final]) -> str:
    """One line an utterance, in the order in which they were said; the speaker in front where there are several."""
    ordered = sorted(finals, key=lambda final: (final.begin, final.track))
    return "".join(
        f"{names[final.track]}: {final.text}\n" if len(names) > 1 else f"{final.text}\n" for final in ordered
    )


def as_json(names: Sequence[str], finals: Sequence[Final], seconds: float) -> str:
    """All that is known of each utterance; times in seconds."""
    utterances = [
        {
            "track": names[final.track],
            "begin": final.begin / SAMPLE_RATE,
            "end": final.end / SAMPLE_RATE,
            "text": final.text,
            "pass": final.pass_,
            "confidence": final.confidence,
            "words": [
                {**word.model_dump(), "begin": word.begin / SAMPLE_RATE, "end": word.end / SAMPLE_RATE}
                for word in final.words
            ],
        }
        for final in sorted(finals, key=lambda final: (final.begin, final.track))
    ]
    return json.dumps({"seconds": seconds, "tracks": list(names), "utterances": utterances}, indent=1) + "\n"


def cues(names: Sequence[str], finals: Sequence[Final]) -> list[Cue]:
    """Utterances cut into pieces that fit on a screen."""
    found: list[Cue] = []
    for final in sorted(finals, key=lambda final: (final.begin, final.track)):
        speaker = names[final.track] if len(names) > 1 else ""
        line: list[str] = []
        begin = end = 0.0
        for token, word_begin, word_end in timed_tokens(final):
            length = sum(len(part) + 1 for part in line) + len(token)
            if line and (word_end - begin > MAX_CUE_S or length > MAX_CUE_CHARACTERS):
                found.append(Cue(begin, end, speaker, " ".join(line)))
                line = []
            if not line:
                begin = word_begin
            line.append(token)
            end = word_end
        if line:
            found.append(Cue(begin, end, speaker, " ".join(line)))
    return found


def timed_tokens(final: Final) -> list[tuple[str, float, float]]:
    """The text as it is written, token by token, with begin and end in seconds.

    The second pass writes ``$20,`` where its words are ``twenty dollars``: where they are not as many, tokens share the
    time of all words by their letters.
    """
    tokens = final.text.split()
    if len(tokens) == len(final.words):
        edges = [(word.begin, word.end) for word in final.words]
    elif tokens:
        begin, end = (final.words[0].begin, final.words[-1].end) if final.words else (final.begin, final.end)
        letters = [0, *accumulate(len(token) for token in tokens)]
        at = [begin + (end - begin) * each // letters[-1] for each in letters]
        edges = list(pairwise(at))
    else:
        edges = []
    return [(token, begin / SAMPLE_RATE, end / SAMPLE_RATE) for token, (begin, end) in zip(tokens, edges, strict=True)]


def as_srt(names: Sequence[str], finals: Sequence[Final]) -> str:
    """SubRip."""
    return "\n".join(
        f"{number}\n{_time(cue.begin, ',')} --> {_time(cue.end, ',')}\n"
        f"{f'{cue.speaker}: ' if cue.speaker else ''}{cue.text}\n"
        for number, cue in enumerate(cues(names, finals), 1)
    )


def as_vtt(names: Sequence[str], finals: Sequence[Final]) -> str:
    """WebVTT (W3C), the speaker as a voice span."""
    return "WEBVTT\n\n" + "\n".join(
        f"{_time(cue.begin, '.')} --> {_time(cue.end, '.')}\n{f'<v {cue.speaker}>' if cue.speaker else ''}{cue.text}\n"
        for cue in cues(names, finals)
    )


def _time(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"
