"""Pictures of figures as SVG, to be put into a page: in the colour of its text, and one more for what counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from stenoflow_trainer.calibration import BINS, Bin
from stenoflow_trainer.word_delay import HISTOGRAM_MS

COLOUR = "#2a7f9e"
WIDTH, HEIGHT = 400, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 380, 34, 216  # edges of the plot
TICKS = 5


def error_rates(title: str, rows: Sequence[dict[str, Any]]) -> str:
    """WER of each condition as a bar, its interval as a whisker."""
    top = max(100.0, *(row["wer_interval"][1] for row in rows)) if rows else 100.0
    gap, left = 30, 236

    def x(value: float) -> float:
        return left + value / top * (RIGHT - left - 34)

    shapes = []
    for number, row in enumerate(rows):
        y, (low, high) = TOP + gap * number, row["wer_interval"]
        shapes += [
            _text(left - 8, y + 14, row["condition"], "end"),
            f'<rect x="{left}" y="{y + 2}" width="{x(row["wer"]) - left:.1f}" height="17" fill="{COLOUR}"/>',
            f'<path d="M{x(low):.1f} {y + 10.5}H{x(high):.1f}" stroke="currentColor" stroke-width="1.5"/>',
            _text(x(high) + 6, y + 14, f"{row['wer']:.1f}", "start"),
        ]
    return _picture(title, shapes, TOP + gap * len(rows) + 8)


def delays(title: str, bins: Sequence[tuple[int, int]], median: float, p95: float) -> str:
    """Histogram of delays: bins (begin in ms, words); median and 95th percentile as lines.

    The last twentieth may be scattered far: bins beyond twice the 95th percentile are not drawn, and said so.
    """
    edge = max(2 * p95, median + HISTOGRAM_MS)
    drawn = [(begin, words) for begin, words in bins if begin < edge]
    beyond = sum(words for _, words in bins) - sum(words for _, words in drawn)
    first = min(0, drawn[0][0])
    last = _rounded_up(drawn[-1][0] + HISTOGRAM_MS - first, TICKS * HISTOGRAM_MS) + first
    most = _rounded_up(max(words for _, words in drawn), TICKS)

    def x(value: float) -> float:
        return LEFT + (value - first) / (last - first) * (RIGHT - LEFT)

    label = f"ms after the word's end: median {median:.0f}, 95 % below {p95:.0f}"
    shapes = _axes((first, last), (0, most), label + (f"; {beyond} words beyond" if beyond else ""))
    for begin, words in drawn:
        height = words / most * (BOTTOM - TOP)
        shapes.append(
            f'<rect x="{x(begin) + 0.5:.1f}" y="{BOTTOM - height:.1f}" '
            f'width="{x(begin + HISTOGRAM_MS) - x(begin) - 1:.1f}" height="{height:.1f}" fill="{COLOUR}"/>'
        )
    for value in (median, p95):
        shapes.append(f'<path d="M{x(value):.1f} {BOTTOM}V{TOP}" stroke="currentColor" stroke-dasharray="4 3"/>')
    return _picture(title, shapes)


def curves(title: str, points: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    """Figures over steps, one plot below the other, by label; what has no point yet is left out."""
    shapes, height = [], HEIGHT - TOP
    known = {label: series for label, series in points.items() if series}
    for number, (label, series) in enumerate(known.items()):
        last, most = max(series[-1][0], 1), 1.1 * max(value for _, value in series) or 1.0
        path = " ".join(
            f"{LEFT + step / last * (RIGHT - LEFT):.1f},{BOTTOM - value / most * (BOTTOM - TOP):.1f}"
            for step, value in series
        )
        plot = _axes((0, last), (0, most), f"{label} over steps: {series[-1][1]:.4g} at last")
        plot.append(f'<polyline points="{path}" fill="none" stroke="{COLOUR}" stroke-width="1.5"/>')
        shapes.append(f'<g transform="translate(0 {number * height})">{"".join(plot)}</g>')
    return _picture(title, shapes, TOP + height * len(known))


def reliability(title: str, curve: Sequence[Bin], error: float) -> str:
    """Share of right words over confidence; the area of a dot is the words in its bin, the diagonal is truth."""

    def x(value: float) -> float:
        return LEFT + value * (RIGHT - LEFT)

    def y(value: float) -> float:
        return BOTTOM - value * (BOTTOM - TOP)

    words = sum(one.words for one in curve)
    points = " ".join(f"{x(one.confidence):.1f},{y(one.right):.1f}" for one in curve)
    shapes = _axes((0, 100), (0, 100), f"confidence, % ({BINS} bins); up: right words, %")
    shapes.append(f'<path d="M{x(0)} {y(0)}L{x(1)} {y(1)}" stroke="currentColor" stroke-dasharray="4 3"/>')
    shapes.append(f'<polyline points="{points}" fill="none" stroke="{COLOUR}" stroke-width="1.5"/>')
    shapes.extend(
        f'<circle cx="{x(one.confidence):.1f}" cy="{y(one.right):.1f}" r="{2 + 10 * (one.words / words) ** 0.5:.1f}" '
        f'fill="{COLOUR}" fill-opacity="0.6"/>'
        for one in curve
    )
    return _picture(f"{title}: ECE {error:.3f}", shapes)


def _rounded_up(value: int, step: int) -> int:
    return -(-value // step) * step


def _axes(across: tuple[float, float], up: tuple[float, float], label: str) -> list[str]:
    shapes = [f'<path d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}" fill="none" stroke="currentColor"/>']
    for tick in range(TICKS + 1):
        share = tick / TICKS
        x, y = LEFT + share * (RIGHT - LEFT), BOTTOM - share * (BOTTOM - TOP)
        shapes.append(_text(x, BOTTOM + 16, f"{across[0] + share * (across[1] - across[0]):.0f}", "middle"))
        shapes.append(_text(LEFT - 6, y + 4, f"{up[0] + share * (up[1] - up[0]):.{0 if up[1] > TICKS else 2}f}", "end"))
    return [*shapes, _text((LEFT + RIGHT) / 2, BOTTOM + 36, label, "middle")]


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _picture(title: str, shapes: Sequence[str], height: int = HEIGHT) -> str:
    head = f'<text x="8" y="18" font-weight="bold">{escape(title)}</text>'
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">{head}{"".join(shapes)}</svg>'
