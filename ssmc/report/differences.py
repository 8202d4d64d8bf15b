"""What differs between two compiled models, as data, as text and as Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ssmc.ir.serialize import Json
from ssmc.printable import printable
from ssmc.report.markup import cards, page, section, table
from ssmc.report.svg import paired_bars
from ssmc.report.text import columns
from ssmc.report.units import quantity, unit_of, words

#: what the facts begin with that somebody set; the others follow from them
CAUSES = ("ssmc", "steps", "model", "target", "hardware")
#: figures that a page shows first, where they moved
CARDS = (
    "accuracy", "energy_pj.per_sequence.nominal", "latency_ns.per_step.nominal", "initiation_interval_ns.nominal",
    "area_um2.nominal", "adc_conversions.per_step", "arrays", "cycles.per_step",
)  # fmt: skip
BARS = 12
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
        notes: sentences on what to know before reading the figures.
    """

    names: tuple[str, str]
    figures: tuple[Change, ...]
    parts: tuple[Change, ...]
    facts: tuple[tuple[str, str, str], ...]
    weights: dict[str, Json | None]
    notes: tuple[str, ...] = ()

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


def as_html(found: Difference, most: int) -> str:
    """The same as a page, with the energies that moved most as bars."""
    old, new = found.names
    if found.empty:
        return page(f"{old} and {new}", "No difference.")
    energies = [(c.key, c.old or 0.0, c.new or 0.0) for c in found.parts[:BARS]]
    drawn = (paired_bars(energies, "energy_pj", "energies before and after"),) if energies else ()
    return page(
        f"{old} and {new}",
        " · ".join(found.notes),
        cards(_card_figures(found)),
        section("Energies that moved most", f"Of a sequence: {old} above, {new} below.", *drawn),
        *(
            section(title, _left(len(rows), most), table(head, rows[:most], numeric=numeric))
            for title, head, rows, numeric in tables(found)
            if rows
        ),
    )


def _card_figures(found: Difference) -> Iterator[tuple[str, str, str]]:
    moved = {change.key: change for change in found.figures}
    for change in (moved[key] for key in CARDS if key in moved):
        _, old, new, absolute, relative = _row(change)
        yield new, words(_unit_key(change.key)), f"{old} before, {relative or absolute}"


def _written(found: Difference, most: int, table: Table, title: str) -> str:
    old, new = (printable(name) for name in found.names)
    if found.empty:
        return f"{old} and {new}: no difference"
    blocks = ["\n".join([f"{old} -> {new}", *found.notes])]
    for heading, head, rows, _ in tables(found):
        if rows:
            shown = "\n".join(filter(None, (table(head, rows[:most]), _left(len(rows), most))))
            blocks.append(f"{title.format(heading)}\n\n{shown}")
    return "\n\n".join(blocks)


def _left(count: int, most: int) -> str:
    return f"... and {count - most} more" if count > most else ""


def tables(found: Difference) -> Iterator[tuple[str, tuple[str, ...], Rows, Sequence[int]]]:
    """Title, head and rows of each table, and which of its columns are numbers."""
    causes = [row for row in _fact_rows(found) if row[0].startswith(CAUSES)]
    yield "Set", ("what", "old", "new"), causes, ()
    yield "Weights", ("operation", "codes that differ", "largest", "first at"), _weight_rows(found), ()
    changes = ("old", "new", "change", "relative")
    yield "Figures", ("figure", *changes), [_row(change) for change in _shown(found.figures)], range(1, 5)
    parts = [(*_row(c, unit="_pj"), "-" if c.share is None else f"{100 * c.share:.1f} %") for c in found.parts]
    yield "Energy", ("energy of", *changes, "share of the change"), parts, range(1, 6)
    rest = [row for row in _fact_rows(found) if row not in causes]
    yield "Kernels, operations, mapping", ("what", "old", "new"), rest, ()


def _shown(figures: Sequence[Change]) -> list[Change]:
    """Accuracy first, and ends of an interval only where its nominal value stayed."""
    moved = {change.key for change in figures}
    kept = [c for c in figures if c.key.rpartition(".")[0] + ".nominal" not in moved - {c.key}]
    return sorted(kept, key=lambda change: change.key != "accuracy")


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
    if change.key == "accuracy":
        old, new = ("-" if value is None else f"{100 * value:.2f} %" for value in (change.old, change.new))
        return change.key, old, new, f"{100 * change.absolute:+.2f} points", ""
    key = f"{_unit_key(change.key)}{unit}"
    old, new = ("-" if value is None else quantity(key, value) for value in (change.old, change.new))
    sign = "+" if change.absolute > 0 else ""
    return change.key, old, new, f"{sign}{quantity(key, change.absolute)}", _percent(change)


def _percent(change: Change) -> str:
    if not math.isinf(change.relative):
        return f"{100 * change.relative:+.3g} %"
    return "new" if change.old is None else "gone" if change.new is None else "from 0"


def _unit_key(key: str) -> str:
    """The part of a dotted key that ends in the unit: of ``energy_pj.per_step.low`` the first; a share has none."""
    if key.startswith("assumed_share."):
        return key.partition(".")[0]
    return next((part for part in key.split(".") if unit_of(part)), key)


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return printable(text).replace("\\", "\\\\").replace("|", "\\|")
