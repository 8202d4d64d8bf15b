"""Drawings of a Monte Carlo result: accuracy and poles chip by chip over time, clipped conversions column by column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil, floor, log10

from ssmc.ir.serialize import Json
from ssmc.report.markup import escape

WIDTH, HEIGHT, LEFT, RIGHT, BOTTOM, TOP = 980, 300, 62, 12, 36, 16
MAP_WIDTH, MAP_HEIGHT = 460.0, 130.0
STEPS = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


def duration(seconds: float) -> str:
    """``at once``, ``90 s``, ``30 d``."""
    for size, unit in STEPS:
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s" if seconds else "at once"


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers that cover low to high: steps of 1, 2 or 5 times a power of ten."""
    raw = max(high - low, 1e-9) / about
    size = 10.0 ** floor(log10(raw))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= raw * (1 - 1e-9))
    first = floor(low / step + 1e-9)
    return [round(k * step, 12) for k in range(first, ceil(high / step - 1e-9) + 1)]


class Axis:
    """Values to heights, between the outer ticks."""

    def __init__(self, values: Sequence[float], text: str) -> None:
        self.marks, self.text = ticks(min(values), max(values)), text

    def y(self, value: float) -> float:
        """Where a value lies."""
        low, high = self.marks[0], self.marks[-1]
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / max(high - low, 1e-12)

    def rules(self) -> str:
        """A line and a number per mark."""
        return "".join(
            f'<path class="axis" d="M {LEFT} {self.y(m):.1f} H {WIDTH - RIGHT}"/>'
            f'<text class="value" x="{LEFT - 8}" y="{self.y(m) + 4:.1f}" text-anchor="end">{m:{self.text}}</text>'
            for m in self.marks
        )

    def level(self, value: float, kind: str, words: str) -> str:
        """A dashed line right across with its name."""
        y = self.y(value)
        return (
            f'<path class="level {kind}" d="M {LEFT} {y:.1f} H {WIDTH - RIGHT}"/>'
            f'<text class="value" x="{WIDTH - RIGHT}" y="{y - 5:.1f}" text-anchor="end">{escape(words)}</text>'
        )


def accuracy_plot(result: Json) -> str:
    """Every chip a dot, the mean with its interval, the ideal chip a line; times side by side."""
    at, ideal = result["at"], result["ideal_accuracy"]["value"]
    values = [ideal, *(chip["value"] for moment in at for chip in moment["chips"])]
    means = [moment["accuracy"] for moment in at]
    axis = Axis([*values, *(m["low"] for m in means), *(m["high"] for m in means)], ".0%")
    parts = [axis.rules(), axis.level(ideal, "", f"ideal {ideal:.1%}")]
    for index, moment in enumerate(at):
        left, right = _slot(index, len(at))
        parts.append(_dots([chip["value"] for chip in moment["chips"]], axis, left, right, lambda value: False))
        parts.append(_mean(moment["accuracy"], axis, (left + right) / 2))
        parts.append(_label((left + right) / 2, duration(moment["time_s"])))
    return _svg("".join(parts), "accuracy over time since programming")


def pole_plot(result: Json) -> str:
    """The largest |pole| of every kernel on every chip, against 1; empty where there are no kernels."""
    at = [moment for moment in result["at"] if moment["kernels"]]
    if not at:
        return ""
    names = list(at[0]["kernels"])
    values = [value for moment in at for kernel in moment["kernels"].values() for value in kernel["chips"]]
    ideal = [kernel["ideal"] for kernel in at[0]["kernels"].values()]
    axis = Axis([1.0, *values, *ideal], ".3g")
    parts = [axis.rules(), axis.level(1.0, "border", "1: border of stability")]
    slots = [(moment, name) for moment in at for name in names]
    for index, (moment, name) in enumerate(slots):
        left, right = _slot(index, len(slots))
        kernel, centre = moment["kernels"][name], (left + right) / 2
        parts.append(_dots(kernel["chips"], axis, left, right, lambda value: value >= 1))
        parts.append(f'<path class="ideal" d="M {left + 4:.1f} {axis.y(kernel["ideal"]):.1f} H {right - 4:.1f}"/>')
        parts.append(_label(centre, short(name, names), 22))
        parts.append(_label(centre, duration(moment["time_s"]), 8))
    return _svg("".join(parts), "largest pole of every kernel")


def short(name: str, names: Sequence[str]) -> str:
    """As much of a name, from its start, as tells it from the others."""
    words = [other.replace("/", ".").split(".") for other in names]
    mine = name.replace("/", ".").split(".")
    telling = [k for k, part in enumerate(mine) if any(k >= len(other) or other[k] != part for other in words)]
    return ".".join(mine[: telling[0] + 1]) if telling else name


def clip_maps(result: Json) -> Iterator[tuple[str, str]]:
    """(matrix, drawing) of the last time: a cell per column of the matrix, darker where more conversions clip."""
    for name, clips in result["at"][-1]["clips"].items():
        if clips["worst_share"]:
            yield name, _clip_map(name, clips)


def _clip_map(name: str, clips: Json) -> str:
    counts, worst = clips["counts"], clips["worst_share"]
    most = max(max(row) for row in counts)
    rows, columns = _folded(counts)
    w, h = MAP_WIDTH / columns, min(MAP_HEIGHT / rows, 18.0)
    flat = [(group, output, count) for group, row in enumerate(counts) for output, count in enumerate(row)]
    cells = [
        f'<rect x="{k % columns * w:.1f}" y="{k // columns * h:.1f}" width="{w:.1f}" height="{h:.1f}" '
        f'fill-opacity="{(count / most) ** 0.5:.2f}"><title>group {group}, output {output}: '
        f"{worst * count / most:.2%}</title></rect>"
        for k, (group, output, count) in enumerate(flat)
        if count
    ]
    height = rows * h
    return (
        f'<svg class="clips" viewBox="0 0 {MAP_WIDTH:.0f} {height:.0f}" width="{MAP_WIDTH:.0f}" '
        f'height="{height:.0f}" role="img" aria-label="{escape(f"clipped columns of {name}")}">'
        f'<rect class="ground" x="0" y="0" width="{MAP_WIDTH:.0f}" height="{height:.0f}"/>{"".join(cells)}</svg>'
    )


def _folded(counts: Sequence[Sequence[int]]) -> tuple[int, int]:
    """Rows and columns of the map: groups down and outputs across; one long row is folded."""
    groups, outputs = len(counts), len(counts[0])
    columns = min(outputs, 64) if groups == 1 else outputs
    return -(-groups * outputs // columns), columns


def _slot(index: int, of: int) -> tuple[float, float]:
    pitch = (WIDTH - LEFT - RIGHT) / of
    return LEFT + pitch * index, LEFT + pitch * (index + 1)


def _dots(values: Sequence[float], axis: Axis, left: float, right: float, bad: object) -> str:
    """Side by side in the order of the chips, the same every time (golden-ratio sequence)."""
    assert callable(bad)
    middle, span = (left + right) / 2, (right - left) * 0.6
    return "".join(
        f'<circle class="pole{" unstable" if bad(value) else ""}" '
        f'cx="{middle + span * ((0.5 + 0.6180339887 * k) % 1 - 0.5):.1f}" cy="{axis.y(value):.1f}" r="3.2">'
        f"<title>chip {k}: {value:.4g}</title></circle>"
        for k, value in enumerate(values)
    )


def _mean(mean: Json, axis: Axis, x: float) -> str:
    low, high, value = (axis.y(mean[key]) for key in ("low", "high", "value"))
    return (
        f'<path class="mean" d="M {x:.1f} {low:.1f} V {high:.1f} M {x - 6:.1f} {low:.1f} h 12 M {x - 6:.1f} {high:.1f} '
        f'h 12"/><circle class="mean" cx="{x:.1f}" cy="{value:.1f}" r="4.5"/>'
        f'<text class="strong" x="{x + 12:.1f}" y="{value + 4:.1f}">{mean["value"]:.1%}</text>'
    )


def _label(x: float, words: str, up: int = 10) -> str:
    return f'<text x="{x:.1f}" y="{HEIGHT - up}" text-anchor="middle">{escape(words)}</text>'


def _svg(inner: str, title: str) -> str:
    return (
        f'<svg class="poles" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">{inner}</svg>'
    )
