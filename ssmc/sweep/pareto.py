"""What is best at equal cost: the Pareto front of a cost and a quality, and its drawing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from ssmc.report.markup import escape
from ssmc.report.noise_plots import ticks

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 470, 300, 64, 18, 14, 48


@dataclass(frozen=True)
class Axis:
    """What an axis shows, how a value of it is written, and the most that there can be."""

    name: str
    written: Callable[[float], str]
    most: float = inf


def front(points: Sequence[tuple[float | None, float | None]]) -> list[int]:
    """Positions of the points (cost, quality) that no other is better than, cheapest first.

    A point is left out where another costs as much or less and is as good or better, and differs; of equal points the
    first stays. Points without a cost or a quality are none.
    """
    known = [
        (cost, -quality, k) for k, (cost, quality) in enumerate(points) if cost is not None and quality is not None
    ]
    found: list[int] = []
    best = float("inf")
    for _, minus, k in sorted(known):
        if minus < best:
            found.append(k)
            best = minus
    return found


def pareto_plot(points: Sequence[tuple[float, float, str]], across: Axis, up: Axis) -> str:
    """Points (cost, quality, what they are) with the front as a line, as SVG; empty without points."""
    if not points:
        return ""
    costs, qualities, _ = zip(*points, strict=True)
    x, y = _scale(costs, across.most), _scale(qualities, up.most)
    marks = [*_marks_across(x, across), *_marks_up(y, up)]
    on = front([(cost, quality) for cost, quality, _ in points])
    line = " ".join(
        f"{'M' if k == 0 else 'L'} {_x(x, points[i][0]):.1f} {_y(y, points[i][1]):.1f}" for k, i in enumerate(on)
    )
    dots = "".join(
        f'<circle class="{"pole" if k in on else "pole faint"}" cx="{_x(x, cost):.1f}" cy="{_y(y, quality):.1f}" r="4">'
        f"<title>{escape(f'{name}: {up.written(quality)}, {across.written(cost)}')}</title></circle>"
        for k, (cost, quality, name) in enumerate(points)
    )
    title = f"{up.name} over {across.name}"
    return (
        f'<figure><h3>{escape(title)}</h3><svg class="pareto" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(marks)}'
        f'<path class="front" d="{line}"/>{dots}</svg></figure>'
    )


def _scale(values: Sequence[float], most: float) -> list[float]:
    """Round marks around the values; some room where all are equal."""
    low, high = min(values), max(values)
    room = (high - low) or abs(high) / 10 or 1.0
    below = low - 0.05 * room
    return ticks(max(below, 0.0) if low >= 0 else below, min(high + 0.05 * room, most), 4)


def _x(marks: Sequence[float], value: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * (value - marks[0]) / (marks[-1] - marks[0])


def _y(marks: Sequence[float], value: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (marks[-1] - value) / (marks[-1] - marks[0])


def _marks_across(marks: Sequence[float], axis: Axis) -> list[str]:
    rows = [
        f'<path class="axis" d="M {_x(marks, m):.1f} {TOP} V {HEIGHT - BOTTOM}"/><text class="small" '
        f'x="{_x(marks, m):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{escape(axis.written(m))}</text>'
        for m in marks
    ]
    middle = (LEFT + WIDTH - RIGHT) / 2
    return [*rows, f'<text class="small" x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(axis.name)}</text>']


def _marks_up(marks: Sequence[float], axis: Axis) -> list[str]:
    return [
        f'<path class="axis" d="M {LEFT} {_y(marks, m):.1f} H {WIDTH - RIGHT}"/><text class="small" '
        f'x="{LEFT - 6}" y="{_y(marks, m) + 4:.1f}" text-anchor="end">{escape(axis.written(m))}</text>'
        for m in marks
    ]
