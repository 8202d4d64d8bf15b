"""What differs between two compiled models, as data, as text and as Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ssmc.ir.serialize import Json
from ssmc.printable import printable
from ssmc.report.text import columns
from ssmc.report.units import quantity, unit_of

#: what the facts begin with that somebody set; the others follow from them
CAUSES = ("ssmc", "steps", "model", "target", "hardware")
Rows = list[tuple[str, ...]]
Table = Callable[[Sequence[str], Sequence[Sequence[str]]], str]


@dataclass(frozen=True)
class Change:
    """A number on both sides; None where a side has it not.

    Attributes:
        key: of the figure or part.
        old, new: values, in the unit that ends the key.
        share: of a part in the change of the sum of all parts; None for a figure.
    """

    key: str
    old: float | None
    new: float | None
    share: float | None = None

    @property
    def absolute(self) -> float:
        """New less old; a side without the number counts as 0."""
        return (self.new or 0.0) - (self.old or 0.0)

    @property
    def relative(self) -> float:
        """Change over the old value; infinite where that is 0 or missing, or where the new one is missing."""
        if self.old is None or self.new is None:
            return math.inf
        return self.absolute / abs(self.old) if self.old else math.copysign(math.inf, self.absolute)


@dataclass(frozen=True)
class Difference:
    """Everything that differs.

    Attributes:
        names: of both sides.
        figures: totals, largest relative change first.
        parts: energies by part, largest absolute change first.
        facts: key, old and new; empty where a side has it not.
        weights: by operation, how many codes differ and of how many, the largest difference and the first place; None
            where the shapes differ.
    """

    names: tuple[str, str]
    figures: tuple[Change, ...]
    parts: tuple[Change, ...]
    facts: tuple[tuple[str, str, str], ...]
    weights: dict[str, Json | None]

    @property
    def empty(self) -> bool:
        """Whether nothing differs."""
        return not (self.figures or self.parts or self.facts or self.weights)

    def over(self, percent: float) -> tuple[Change, ...]:
        """Figures that moved by more than so many percent."""
        return tuple(change for change in self.figures if abs(change.relative) * 100 > percent)


def as_text(found: Difference, most: int) -> str:
    """Aligned tables of at most so many rows each."""
    return _written(found, most, columns, "{}")


def as_markdown(found: Difference, most: int) -> str:
    """The same for a pull request."""
    return _written(found, most, _markdown, "### {}")


def _written(found: Difference, most: int, table: Table, title: str) -> str:
    old, new = (printable(name) for name in found.names)
    if found.empty:
        return f"{old} and {new}: no difference"
    blocks = [f"{old} -> {new}"]
    for heading, head, rows in _tables(found):
        if rows:
            left = f"\n... and {len(rows) - most} more" if len(rows) > most else ""
            blocks.append(f"{title.format(heading)}\n\n{table(head, rows[:most])}{left}")
    return "\n\n".join(blocks)


def _tables(found: Difference) -> Iterator[tuple[str, tuple[str, ...], Rows]]:
    causes = [row for row in _fact_rows(found) if row[0].startswith(CAUSES)]
    yield "Set", ("what", "old", "new"), causes
    yield "Weights", ("operation", "codes that differ", "largest", "first at"), _weight_rows(found)
    yield "Figures", ("figure", "old", "new", "change", "relative"), [_row(c) for c in found.figures]
    head = ("energy of", "old", "new", "change", "relative", "share of the change")
    parts = [(*_row(c, unit="_pj"), "-" if c.share is None else f"{100 * c.share:.1f} %") for c in found.parts]
    yield "Energy", head, parts
    yield "Kernels, operations, mapping", ("what", "old", "new"), [r for r in _fact_rows(found) if r not in causes]


def _fact_rows(found: Difference) -> Rows:
    return [(key, old or "-", new or "-") for key, old, new in found.facts]


def _weight_rows(found: Difference) -> Rows:
    return [
        (name, "another shape", "", "")
        if d is None
        else (name, f"{d['differing']} of {d['of']}", str(d["largest"]), str(d["first"]))
        for name, d in found.weights.items()
    ]


def _row(change: Change, unit: str = "") -> tuple[str, ...]:
    key = f"{_unit_key(change.key)}{unit}"
    old, new = ("-" if value is None else quantity(key, value) for value in (change.old, change.new))
    sign = "+" if change.absolute > 0 else ""
    return change.key, old, new, f"{sign}{quantity(key, change.absolute)}", _percent(change)


def _percent(change: Change) -> str:
    if not math.isinf(change.relative):
        return f"{100 * change.relative:+.3g} %"
    return "new" if change.old is None else "gone" if change.new is None else "from 0"


def _unit_key(key: str) -> str:
    """The part of a dotted key that ends in the unit: of ``energy_pj.per_step.low`` the first."""
    return next((part for part in key.split(".") if unit_of(part)), key)


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return printable(text).replace("\\", "\\\\").replace("|", "\\|")
