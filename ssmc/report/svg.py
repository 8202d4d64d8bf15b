"""Small inline SVG drawings: horizontal bars, and the poles of a kernel in the unit circle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from ssmc.report.units import quantity

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
