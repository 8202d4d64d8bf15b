"""Small inline SVG drawings: horizontal bars, and the poles of a kernel in the unit circle."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from ssmc.report.markup import escape
from ssmc.report.units import quantity

SMALLEST = 1e-4
DECADES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
BAR, GAP, LABEL, LENGTH, VALUE, LETTER = 16, 7, 190, 190, 130, 6.8


def bars(values: Mapping[str, float], unit_key: str, title: str, *, share: bool = True) -> str:
    """One bar per entry, largest first, with its value and, where they add up to a whole, its share."""
    shown = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    top = max((value for _, value in shown), default=0.0) or 1.0
    total = sum(value for _, value in shown) or 1.0
    start = _start(values)
    rows = [
        _bar(
            (start, GAP + (BAR + GAP) * i),
            name,
            value / top,
            quantity(unit_key, value) + (f" · {value / total:.0%}" if share else ""),
        )
        for i, (name, value) in enumerate(shown)
    ]
    return _bars(rows, (start, (BAR + GAP) * len(shown) + GAP), title)


def paired_bars(values: Sequence[tuple[str, float, float]], unit_key: str, title: str) -> str:
    """Two bars an entry (name, before, after), on one scale and in the order given, each with its value."""
    top = max((max(before, after) for _, before, after in values), default=0.0) or 1.0
    pitch, start, rows = 2 * BAR + GAP, _start([name for name, *_ in values]), []
    for i, (name, before, after) in enumerate(values):
        y = GAP + pitch * i
        old = _bar((start, y), name, before / top, quantity(unit_key, before))
        rows.append(f'<g class="before">{old}</g>{_bar((start, y + BAR), "", after / top, quantity(unit_key, after))}')
    return _bars(rows, (start, pitch * len(values) + GAP), title)


def _start(names: Iterable[str]) -> int:
    """Where bars begin, behind the longest name."""
    return max(LABEL, 10 + round(LETTER * max(map(len, names), default=0)))


def _bars(rows: Sequence[str], corner: tuple[int, int], title: str) -> str:
    """The drawing; ``corner``: where the bars begin, and its height."""
    width, height = corner[0] + LENGTH + VALUE, corner[1]
    return (
        f'<svg class="bars" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(title)}">{"".join(rows)}</svg>'
    )


def _bar(corner: tuple[int, int], label: str, share: float, text: str) -> str:
    (x, y), length = corner, max(share * LENGTH, 1.0)
    middle = y + BAR * 0.72
    return (
        f'<text class="label" x="{x - 10}" y="{middle:.1f}" text-anchor="end">{escape(label)}</text>'
        f'<rect x="{x}" y="{y}" width="{length:.1f}" height="{BAR}" rx="3"/>'
        f'<text class="value" x="{x + length + 8:.1f}" y="{middle:.1f}">{escape(text)}</text>'
    )


def pole_plot(poles: Sequence[tuple[float, float]], title: str) -> str:
    """Upper half of the complex plane: the unit circle and one dot per distinct pole."""
    size, margin = 150, 12
    centre, ground = size + margin, size + margin
    dots = "".join(
        f'<circle class="{"pole" if re * re + im * im < 1 else "pole unstable"}" '
        f'cx="{centre + re * size:.1f}" cy="{ground - im * size:.1f}" r="2.4"/>'
        for re, im in poles
    )
    width, height = 2 * (size + margin), size + 2 * margin + 8
    marks = "".join(
        f'<text class="small" x="{centre + k * size}" y="{ground + 14}" text-anchor="middle">{mark}</text>'
        for k, mark in ((-1, "−1"), (0, "0"), (1, "1"))
    )
    return (
        f'<svg class="poles" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(title)}">'
        f'<path class="axis" d="M {margin} {ground} H {width - margin} M {centre} {margin} V {ground}"/>'
        f'<path class="circle" d="M {centre - size} {ground} A {size} {size} 0 0 1 {centre + size} {ground}"/>'
        f"{dots}{marks}</svg>"
    )


def pole_zoom(poles: Sequence[tuple[float, float]], title: str) -> str:
    """The neighbourhood of 1 where slow modes live: distance to the unit circle over the angle, both logarithmic."""
    width, height, margin = 324, 174, 42
    points = [(max(math.atan2(im, re), SMALLEST), 1 - math.hypot(re, im)) for re, im in poles]
    decades = math.log10(math.pi / SMALLEST)

    def at(value: float) -> float:
        return math.log10(value / SMALLEST) / decades

    x0, y0, span_x, span_y = margin, height - margin, width - margin - 10, height - margin - 10
    dots = "".join(
        f'<circle class="{"pole" if gap > 0 else "pole unstable"}" cx="{x0 + at(angle) * span_x:.1f}" '
        f'cy="{y0 - at(max(gap, SMALLEST)) * span_y:.1f}" r="2"/>'
        for angle, gap in points
    )
    ticks = "".join(
        f'<path class="tick" d="M {x0 + at(value) * span_x:.1f} {y0} v 4 M {x0} {y0 - at(value) * span_y:.1f} h -4"/>'
        f'<text class="small" x="{x0 + at(value) * span_x:.1f}" y="{y0 + 15}" text-anchor="middle">{value:g}</text>'
        f'<text class="small" x="{x0 - 7}" y="{y0 - at(value) * span_y + 3:.1f}" text-anchor="end">{value:g}</text>'
        for value in DECADES
    )
    return (
        f'<svg class="poles" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(title)}">'
        f'<path class="axis" d="M {x0} {y0 - span_y} V {y0} H {x0 + span_x}"/>{ticks}{dots}'
        f'<text class="label" x="{x0 + span_x}" y="{y0 + 32}" text-anchor="end">angle, rad; real poles left</text>'
        f'<text class="label" x="{x0 + 6}" y="{y0 - span_y + 10}">1 − |λ|</text></svg>'
    )
