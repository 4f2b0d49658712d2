"""Pictures of figures as SVG, for a page that gives the colours ``--s1`` to ``--s6``, ``--grid`` and ``--quiet``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise

WIDTH, HEIGHT = 450, 262
LEFT, RIGHT, TOP, BOTTOM = 52, 372, 36, 208
"""Edges of the plot; right of it stand the names of the lines, some twelve letters long."""
TICKS = 4
ROW = 26
LINE_HEIGHT = 14

Points = Sequence[tuple[float, float]]


def lines(
    title: str,
    across: str,
    up: str,
    series: Mapping[str, Points],
    *,
    limit: tuple[float, str] | None = None,
    events: Sequence[tuple[float, str]] = (),
    most: float = 0.0,
) -> str:
    """Lines over one axis, each named at its end.

    Args:
        title: over the picture.
        across: what the points' first numbers are, with the unit.
        up: what their second ones are, with the unit.
        series: points by name, ascending.
        limit: a level that is promised, and its name.
        events: numbers across at which something happened, and what.
        most: the axis up goes at least so far.
    """
    known = {name: points for name, points in series.items() if points}
    everything = [point for points in known.values() for point in points]
    if not everything:
        return _picture(title, [_text(LEFT, TOP + 20, "nothing was measured", "start", "quiet")], TOP + 40)
    first, last = min(x for x, _ in everything), max(x for x, _ in everything)
    last = last if last > first else first + 1
    top = rounded_up(max([most, *(y for _, y in everything), limit[0] if limit else 0.0]) or 1.0)

    def x(value: float) -> float:
        return LEFT + (value - first) / (last - first) * (RIGHT - LEFT)

    def y(value: float) -> float:
        return BOTTOM - value / top * (BOTTOM - TOP)

    shapes = _axes((first, last), top, across, up)
    for at, what in events:
        shapes.append(f'<path class="limit" d="M{x(at):.1f} {BOTTOM}V{TOP}"><title>{escape(what)}</title></path>')
        shapes.append(_text(x(at) + 3, TOP + 9, what, "start", "quiet"))
    if limit is not None:
        shapes.append(f'<path class="limit" d="M{LEFT} {y(limit[0]):.1f}H{RIGHT}"/>')
        shapes.append(_text(LEFT + 4, y(limit[0]) - 5, limit[1], "start", "quiet"))
    ends = _apart([y(points[-1][1]) for points in known.values()])
    for number, (name, points) in enumerate(known.items()):
        colour = f"var(--s{number + 1})"
        path = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in points)
        shapes.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if len(points) <= 20:
            shapes += [
                f'<circle cx="{x(at):.1f}" cy="{y(value):.1f}" r="3.5" fill="{colour}">'
                f"<title>{escape(name)}: {value:g} at {at:g}</title></circle>"
                for at, value in points
            ]
        end = x(points[-1][0])
        shapes.append(_text(end + 13, ends[number] + 4, name, "start"))
        shapes.append(f'<path d="M{end + 6:.1f} {ends[number]:.1f}h5" stroke="{colour}" stroke-width="3"/>')
    return _picture(title, shapes)


def stacked(title: str, across: str, rows: Mapping[str, Mapping[str, float]], colours: Mapping[str, int]) -> str:
    """A bar for each row whose parts follow each other; the parts' names above.

    Args:
        title: over the picture.
        across: what is added up, with the unit.
        rows: parts by name, in order, by row.
        colours: of the page, by part.
    """
    names = list(dict.fromkeys(name for parts in rows.values() for name in parts))
    top = rounded_up(max((sum(parts.values()) for parts in rows.values()), default=0.0) or 1.0)
    right, begin = RIGHT - 10, TOP + 24

    def x(value: float) -> float:
        return LEFT + value / top * (right - LEFT)

    shapes, at = [], float(LEFT)
    for name in names:
        shapes.append(
            f'<rect x="{at:.1f}" y="{TOP - 4}" width="10" height="10" rx="2" fill="var(--s{colours[name]})"/>'
        )
        shapes.append(_text(at + 14, TOP + 5, name, "start"))
        at += 24 + 6.6 * len(name)
    end = begin + ROW * len(rows)
    for tick in range(TICKS + 1):
        value = top * tick / TICKS
        shapes.append(f'<path class="grid" d="M{x(value):.1f} {begin - 4}V{end}"/>')
        shapes.append(_text(x(value), end + 16, f"{value:g}", "middle", "quiet"))
    for number, (name, parts) in enumerate(rows.items()):
        y, done = begin + ROW * number, 0.0
        shapes.append(_text(LEFT - 8, y + 14, name, "end"))
        for part, value in parts.items():
            width = max(0.0, x(done + value) - x(done) - 1)  # one pixel of ground between parts
            shapes.append(
                f'<rect x="{x(done):.1f}" y="{y}" width="{width:.1f}" height="18" '
                f'fill="var(--s{colours[part]})"><title>{escape(part)}: {value:.1f}</title></rect>'
            )
            done += value
        shapes.append(_text(x(done) + 5, y + 14, f"{done:.0f}" if done >= 10 else f"{done:.1f}", "start"))
    shapes.append(_text((LEFT + right) / 2, end + 36, across, "middle", "quiet"))
    return _picture(title, shapes, end + 48)


def rounded_up(value: float) -> float:
    """The next 1, 2, 2.5, 4, 5 or 8 times a power of ten: quarters of it are short numbers."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 5, 8, 10) if step * power >= value * (1 - 1e-9))


def _apart(heights: Sequence[float]) -> list[float]:
    """The same heights moved so that names at them do not lie on each other; none above the plot's top."""
    order = sorted(range(len(heights)), key=heights.__getitem__)
    found = list(heights)
    for above, below in pairwise(order):
        found[below] = max(found[below], found[above] + LINE_HEIGHT)
    beyond = max(0.0, max(found) - BOTTOM)
    return [height - beyond for height in found]


def _axes(across: tuple[float, float], top: float, label: str, up: str) -> list[str]:
    shapes = []
    for tick in range(TICKS + 1):
        y = BOTTOM - tick / TICKS * (BOTTOM - TOP)
        shapes.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{RIGHT}"/>')
        shapes.append(_text(LEFT - 6, y + 4, f"{top * tick / TICKS:g}", "end", "quiet"))
    first, last = across
    step = rounded_up((last - first) / TICKS / 1.25)
    for number in range(math.ceil(first / step), math.floor(last / step) + 1):
        x = LEFT + (number * step - first) / (last - first) * (RIGHT - LEFT)
        shapes.append(_text(x, BOTTOM + 17, f"{number * step:g}", "middle", "quiet"))
    shapes.append(_text(LEFT, BOTTOM + 38, f"up: {up}; across: {label}", "start", "quiet"))
    return shapes


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{named}>{escape(text)}</text>'


def _picture(title: str, shapes: Sequence[str], height: float = HEIGHT) -> str:
    head = f'<text x="8" y="18" font-weight="600">{escape(title)}</text>'
    size = f'viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" height="{height:g}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">{head}{"".join(shapes)}</svg>'
