"""What was measured, as a table on the screen, as `report.json` and as `report.html`: one file, no date, no script.

The same bundle over the same sets gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.table import Table

from stenoflow_trainer import pictures
from stenoflow_trainer.evaluate import Measured
from stenoflow_trainer.streaming import CHUNK_MS

COLUMNS = (
    "set",
    "condition",
    "words",
    "speakers",
    "WER %",
    "CER %",
    "shown after p50 / p95 ms",
    "emission delay p50 / p95 ms",
    "ECE",
)
STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 80rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse } th, td { padding: .25rem .75rem; text-align: right; white-space: nowrap }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left } th { border-bottom: 1px solid } code { font-size: .85em }
section { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start } svg { font: 12px system-ui, sans-serif }
"""


@dataclass(frozen=True, slots=True)
class Provenance:
    """What was measured, and how.

    Args:
        bundle: its name.
        version: its version.
        sha256: of its card without the figures that stand in it (the card holds the hash of every file).
        alignment: whose forced alignment says where words end; empty where nothing was streamed.
        limit: utterances a set at most; None for all.
    """

    bundle: str
    version: str
    sha256: str
    alignment: str
    limit: int | None


def provenance(card: dict[str, Any], alignment: str, limit: int | None) -> Provenance:
    """Of the bundle with this card."""
    lasting = {key: value for key, value in card.items() if key != "measured"}
    digest = sha256(json.dumps(lasting, sort_keys=True).encode()).hexdigest()
    return Provenance(card["name"], card["version"], digest, alignment, limit)


def cells(row: dict[str, Any]) -> list[str]:
    """A row of figures as text, one a column; empty where the condition has none."""
    delays = [row.get(name) for name in ("shown_ms", "emission_delay_ms")]
    return [
        row["set"],
        row["condition"],
        str(row["words"]),
        str(row["speakers"]),
        f"{row['wer']:.1f} ({row['wer_interval'][0]:.1f} to {row['wer_interval'][1]:.1f})",
        f"{row['cer']:.1f} ({row['cer_interval'][0]:.1f} to {row['cer_interval'][1]:.1f})",
        *(f"{delay['median']} / {delay['p95']}" if delay else "" for delay in delays),
        f"{row['ece']:.3f}" if "ece" in row else "",
    ]


def table(measured: Sequence[Measured]) -> Table:
    """For the screen."""
    made = Table()
    for name in COLUMNS:
        made.add_column(name, justify="left" if name in COLUMNS[:2] else "right")
    for one in measured:
        made.add_row(*cells(one.row()))
    return made


def write_report(folder: Path, source: Provenance, measured: Sequence[Measured]) -> None:
    """Writes report.html and report.json; makes the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(as_json(source, measured), "utf-8")
    (folder / "report.html").write_text(as_html(source, measured), "utf-8")


def as_json(source: Provenance, measured: Sequence[Measured]) -> str:
    """All figures, those that the pictures show too."""
    rows = []
    for one in measured:
        row = one.row()
        if one.delays_ms:
            row["delay_histogram_ms"] = one.histogram
        if one.judged:
            row["reliability"] = [asdict(each) for each in one.curve]
        rows.append(row)
    return json.dumps(asdict(source) | {"chunk_ms": CHUNK_MS, "rows": rows}, indent=1) + "\n"


def as_html(source: Provenance, measured: Sequence[Measured]) -> str:
    """The page."""
    head = "".join(f"<th>{escape(name)}</th>" for name in COLUMNS)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells(one.row())) + "</tr>\n" for one in measured
    )
    drawn = "".join(
        f"<h2>{escape(name)}</h2>\n<section>\n" + "\n".join(_pictures(list(of_set))) + "\n</section>\n"
        for name, of_set in groupby(measured, key=lambda one: one.name)
    )
    title = f"{source.bundle} {source.version}"
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>
<h1>{escape(title)}</h1>
<p>sha256 of the bundle's card without its figures: <code>{source.sha256}</code></p>
<table><thead><tr>{head}</tr></thead><tbody>
{body}</tbody></table>
{_notes(source)}
{drawn}</html>
"""


def _notes(source: Provenance) -> str:
    notes = [
        "In brackets: 95 % intervals, bootstrap over speakers.",
        f"Streaming: segmenter, model, search and endpoints as served, {CHUNK_MS} ms chunks; telephone: 8 kHz, mu-law.",
        "ECE: expected calibration error of the finals' words.",
    ]
    if source.alignment:
        notes.append(
            "Shown after: from a right word's end to the end of the chunk with which it was shown for good, in time of "
            "the sound. Emission delay: how much later words end in the captions than in the sound. "
            f"Word ends: forced alignment with {source.alignment}."
        )
    if source.limit is not None:
        notes.append(f"At most {source.limit} utterances a set, evenly spread.")
    return f"<p>{escape(' '.join(notes))}</p>"


def _pictures(measured: Sequence[Measured]) -> list[str]:
    drawn = [pictures.error_rates("WER %", [one.row() for one in measured])]
    for one in measured:
        row = one.row()
        if "shown_ms" in row:
            delay = row["shown_ms"]
            drawn.append(
                pictures.delays(f"Shown after, words: {one.condition}", one.histogram, delay["median"], delay["p95"])
            )
        if "ece" in row:
            drawn.append(pictures.reliability(f"Calibration: {one.condition}", one.curve, row["ece"]))
    return drawn
