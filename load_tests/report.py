"""A load test as ``report.html``, one file without script or network, and as ``report.json``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path

import msgspec

from load_tests import pictures
from load_tests.results import Result, Rung
from load_tests.rungs import WORD_PROMISE_S

MOST_LAGS = 6
"""Rungs whose lag is drawn."""
MEASURES = {
    "word": "Words: from a word's end to the caption that shows it for good",
    "first_partial": "First partial: from the start of an utterance's first word to its first caption",
    "final": "Finals: from the end of an utterance's last word to its final",
    "chunk": "Chunks: from a chunk's due time to the caption that covers it",
}
STYLE = """
:root { color-scheme: light dark; --ground: #fcfcfb; --text: #1d1d1b; --quiet: #62625e; --grid: #e3e2de;
  --s1: #2a78d6; --s2: #d9541e; --s3: #138a5e; --s4: #b47a00; --s5: #7a4fc0; --s6: #7d7c77;
  --bad: #b3261e; --good: #1d7a3d }
@media (prefers-color-scheme: dark) { :root { --ground: #161615; --text: #ecebe6; --quiet: #a5a49d; --grid: #363633;
  --s1: #5b9ff0; --s2: #f0824f; --s3: #3cb98a; --s4: #d9a32f; --s5: #a98be8; --s6: #97968f;
  --bad: #ff8a80; --good: #6fcf8f } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 92rem; margin: 2rem auto; padding: 0 1rem;
  background: var(--ground); color: var(--text) }
h1 { font-size: 1.5rem; margin-bottom: .25rem } h2 { font-size: 1.15rem; margin-top: 2.25rem }
.quiet, figcaption { color: var(--quiet) } .big { font-size: 1.25rem }
.bad { color: var(--bad) } .good { color: var(--good) }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--grid) }
th { font-weight: 600; vertical-align: bottom; white-space: normal; max-width: 8rem }
td.why { text-align: left; white-space: normal; min-width: 14rem }
th:last-child { text-align: left } figure { margin: 0; max-width: 28rem } figcaption { font-size: .85rem }
section { display: flex; flex-wrap: wrap; gap: .75rem 1.5rem; align-items: flex-start }
svg { font: 12px system-ui, sans-serif; max-width: 100%; height: auto } svg text { fill: var(--text) }
svg text.quiet { fill: var(--quiet) } svg .grid { stroke: var(--grid); fill: none }
svg .limit { stroke: var(--quiet); stroke-dasharray: 4 3; fill: none }
"""

COLOURS = {
    "gateway": 1,
    "back": 1,
    "sherpa": 1,
    "features": 2,
    "acoustic": 3,
    "decoder": 4,
    "redis": 5,
    "queue": 6,
    "second_pass": 6,
}
"""What is the same in two pictures has the same colour."""

Column = tuple[str, Callable[[Rung], str]]


def write_report(folder: Path, results: Sequence[Result]) -> None:
    """Writes report.html and report.json; makes the folder.

    Args:
        folder: for both.
        results: what was asked for first, then peers on the same calls.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    (folder / "report.html").write_text(as_html(results), "utf-8")


def read_results(path: Path) -> list[Result]:
    """What a ``report.json`` holds."""
    return msgspec.json.decode(path.read_bytes(), type=list[Result])


def as_html(results: Sequence[Result]) -> str:
    """The page."""
    title = results[0].title
    parts = [_system(result) for result in results]
    if len(results) > 1:
        parts.insert(0, _side_by_side(results))
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title><style>{STYLE}</style>
<h1>{escape(title)}</h1>
<p class="quiet">{escape(results[0].machine)}. Rungs of {results[0].seconds:g} s, of which the first
{results[0].warm_up_s:g} s are not measured. Latencies count on the sender's clock from when a sample was due;
load_tests/README.md says how to read them.</p>
{"".join(parts)}</html>
"""


def _side_by_side(results: Sequence[Result]) -> str:
    drawn = pictures.lines(
        "Word, 95th percentile",
        "tracks",
        "ms",
        {
            result.system.split(",")[0]: [(rung.tracks, rung.measures["word"].p95) for rung in result.rungs]
            for result in results
        },
    )
    return f"<h2>Side by side</h2>\n<section>{drawn}</section>\n"


def _system(result: Result) -> str:
    more = "" if result.ended else " or more (the ladder ended before the system did)"
    return f"""<h2>{escape(result.system)}</h2>
<p class="big">Capacity: <strong>{result.capacity} tracks</strong>{more}</p>
<div class="scroll">{_table(result.rungs, _figures(result))}</div>
<h2>Latency over load</h2>
<section>{"".join(_latencies(result))}</section>
<h2>Where the milliseconds go</h2>
<section>{_waterfall(result)}{_costs(result)}</section>
<h2>Lag over time</h2>
<p class="quiet">The age of the oldest sample that the decoder has not covered.
A line that climbs is a system that does not keep up.</p>
<section>{"".join(_lags(result))}</section>
<h2>Costs and losses</h2>
<div class="scroll">{_table(result.rungs, _more_figures())}</div>
"""


def _figures(result: Result) -> list[Column]:
    def of(name: str) -> Column:
        def cell(rung: Rung) -> str:
            found = rung.measures.get(name)
            return "" if found is None or not found.count else f"{found.p50:.0f} / {found.p95:.0f} / {found.p99:.0f}"

        return f"{name} p50 / p95 / p99 ms".replace("_", " "), cell

    return [
        ("tracks", lambda rung: str(rung.tracks)),
        ("calls", lambda rung: str(rung.calls)),
        *(of(name) for name in ("word", "first_partial", "final", "chunk")),
        ("largest word ms", lambda rung: f"{rung.measures['word'].largest:.0f}"),
        ("words measured", lambda rung: str(rung.measures["word"].count)),
        ("WER % (95 %)", _wer),
        ("held", lambda rung: "; ".join(rung.broken) or "yes"),
    ]


def _wer(rung: Rung) -> str:
    words = rung.words
    return "" if words is None else f"{words.wer:.1f} ({words.low:.1f} to {words.high:.1f})"


def _more_figures() -> list[Column]:
    return [
        ("tracks", lambda rung: str(rung.tracks)),
        ("processor ms a track-second", lambda rung: f"{sum(_served(rung).values()):.1f}"),
        ("of the generator", lambda rung: f"{rung.cost.cpu_ms.get('load', 0):.1f}"),
        ("sent late, p99 ms", lambda rung: f"{rung.late.p99:.0f}"),
        ("Redis operations a track-second", lambda rung: f"{rung.cost.redis_commands:.0f}"),
        ("kB a track-second", lambda rung: f"{rung.cost.redis_bytes / 1000:.0f}"),
        ("Redis data MB", lambda rung: f"{rung.cost.memory_mb.get('redis data', 0):.1f}"),
        ("longest pause s", lambda rung: f"{rung.pause_s:.1f}"),
        ("resumes", lambda rung: str(rung.resumes)),
        ("lost / doubled / other of words", _loss),
        ("do not tile", lambda rung: str(len(rung.loss.untiled))),
        ("load average", lambda rung: f"{rung.load[0]:.1f} to {rung.load[1]:.1f}"),
    ]


def _loss(rung: Rung) -> str:
    loss = rung.loss
    return f"{loss.lost} / {loss.doubled} / {loss.other} of {loss.words}" if loss.compared else "not compared"


def _table(rungs: Iterable[Rung], columns: Sequence[Column]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name, _ in columns)
    rows = "\n".join("<tr>" + "".join(_cell(name, cell(rung)) for name, cell in columns) + "</tr>" for rung in rungs)
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{rows}</tbody></table>"


def _cell(name: str, text: str) -> str:
    if name != "held":
        return f"<td>{escape(text)}</td>"
    return f'<td class="why {"good" if text == "yes" else "bad"}">{escape(text)}</td>'


def _latencies(result: Result) -> list[str]:
    drawn = []
    for name, title in MEASURES.items():
        series: dict[str, list[tuple[float, float]]] = {"p50": [], "p95": [], "p99": []}
        for rung in result.rungs:
            found = rung.measures.get(name)
            if found is not None and found.count:
                for share in series:
                    series[share].append((rung.tracks, getattr(found, share)))
        limit = None
        if name == "word" and series["p95"] and not result.disturbed:
            limit = (series["p95"][0][1] + 1000 * WORD_PROMISE_S, "promise for p95: floor + 300 ms")
        if any(series.values()):
            short, rest = title.split(": ")
            picture = pictures.lines(short, "tracks", "ms", series, limit=limit)
            drawn.append(f"<figure>{picture}<figcaption>{escape(rest)}</figcaption></figure>")
    return drawn


def _waterfall(result: Result) -> str:
    rows = {
        f"{rung.tracks}": {name: found.p50 for name, found in rung.steps.items()} for rung in result.rungs if rung.steps
    }
    if not rows:
        return ""
    picture = pictures.stacked("A caption's way, by tracks", "ms, medians, from the chunk's arrival on", rows, COLOURS)
    note = "queue: waiting between the stages; back: from the decoder to the socket"
    return f"<figure>{picture}<figcaption>{note}</figcaption></figure>"


def _served(rung: Rung) -> dict[str, float]:
    return {name: cost for name, cost in rung.cost.cpu_ms.items() if name not in ("load", "other")}


def _costs(result: Result) -> str:
    order = ("gateway", "features", "acoustic", "decoder", "second_pass", "sherpa", "redis")
    rows = {
        f"{rung.tracks}": {name: _served(rung)[name] for name in order if name in _served(rung)}
        for rung in result.rungs
        if not rung.cost.killed
    }
    if not any(rows.values()):
        return ""
    picture = pictures.stacked("What a track-second costs, by tracks", "processor ms a track-second", rows, COLOURS)
    return f"<figure>{picture}<figcaption>without the load generator</figcaption></figure>"


def _lags(result: Result) -> list[str]:
    rungs = [rung for rung in result.rungs if rung.lag]
    stride = max(1, -(-len(rungs) // MOST_LAGS))
    chosen = rungs[::-1][::stride][::-1]  # the last one, which broke, is always among them
    most = max((largest for rung in chosen for _, _, largest in rung.lag), default=0.0)
    return [
        pictures.lines(
            f"{rung.tracks} tracks",
            "second of the rung",
            "s",
            {
                "median": [(second, median) for second, median, _ in rung.lag],
                "largest": [(second, largest) for second, _, largest in rung.lag],
            },
            events=result.events,
            most=most,
        )
        for rung in chosen
    ]
