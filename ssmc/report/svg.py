"""Small inline SVG drawings: horizontal bars, and the poles of a kernel in the unit circle."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from ssmc.report.units import quantity

SMALLEST = 1e-4
BAR, GAP, LABEL, LENGTH, VALUE = 16, 7, 190, 190, 130


def bars(values: Mapping[str, float], unit_key: str, title: str, *, share: bool = True) -> str:
    """One bar per entry, largest first, with its value and, where they add up to a whole, its share."""
    shown = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    top = max((value for _, value in shown), default=0.0) or 1.0
    total = sum(value for _, value in shown) or 1.0
    height = (BAR + GAP) * len(shown) + GAP
    rows = [
        _bar(
            GAP + (BAR + GAP) * i,
            name,
            value / top,
            quantity(unit_key, value) + (f" · {value / total:.0%}" if share else ""),
        )
        for i, (name, value) in enumerate(shown)
    ]
    width = LABEL + LENGTH + VALUE
    return (
        f'<svg class="bars" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(title)}">{"".join(rows)}</svg>'
    )


def _bar(y: int, label: str, share: float, text: str) -> str:
    length = max(share * LENGTH, 1.0)
    middle = y + BAR * 0.72
    return (
        f'<text class="label" x="{LABEL - 10}" y="{middle:.1f}" text-anchor="end">{escape(label)}</text>'
        f'<rect x="{LABEL}" y="{y}" width="{length:.1f}" height="{BAR}" rx="3"/>'
        f'<text class="value" x="{LABEL + length + 8:.1f}" y="{middle:.1f}">{escape(text)}</text>'
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
    width, height = 2 * (size + margin), size + 2 * margin
    return (
        f'<svg class="poles" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(title)}">'
        f'<path class="axis" d="M {margin} {ground} H {width - margin} M {centre} {margin} V {ground}"/>'
        f'<path class="circle" d="M {centre - size} {ground} A {size} {size} 0 0 1 {centre + size} {ground}"/>'
        f"{dots}</svg>"
    )


def pole_zoom(poles: Sequence[tuple[float, float]], title: str) -> str:
    """The neighbourhood of 1 where slow modes live: distance to the unit circle over the angle, both logarithmic."""
    width, height, margin = 324, 150, 30
    points = [(max(math.atan2(im, re), SMALLEST), max(1 - math.hypot(re, im), SMALLEST)) for re, im in poles]
    decades = math.log10(math.pi / SMALLEST)

    def at(value: float) -> float:
        return math.log10(value / SMALLEST) / decades

    x0, y0, span_x, span_y = margin, height - margin, width - margin - 10, height - margin - 10
    dots = "".join(
        f'<circle class="pole" cx="{x0 + at(angle) * span_x:.1f}" cy="{y0 - at(gap) * span_y:.1f}" r="2"/>'
        for angle, gap in points
    )
    return (
        f'<svg class="poles" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(title)}">'
        f'<path class="axis" d="M {x0} {y0 - span_y} V {y0} H {x0 + span_x}"/>{dots}'
        f'<text class="label" x="{x0 + span_x}" y="{y0 + 20}" text-anchor="end">angle, 10⁻⁴ to π</text>'
        f'<text class="label" x="{x0 + 6}" y="{y0 - span_y + 10}">1 − |λ|, 10⁻⁴ to π</text></svg>'
    )
