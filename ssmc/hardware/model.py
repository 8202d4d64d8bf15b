"""A crossbar chip: the tables of its hardware file and the structure that follows from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from typing import get_type_hints

from ssmc.hardware.components import (
    Adc,
    Array,
    Cell,
    Dac,
    Digital,
    Memory,
    NoiseFigures,
    Quantity,
    Rule,
    SampleHold,
    ShiftAdd,
    Technology,
)
from ssmc.hardware.custom import TABLE, Custom, On


@dataclass(frozen=True)
class Hardware:
    """A crossbar chip.

    Attributes:
        origins: says for every ``table.key`` where its value comes from.
        customs: components that the tables do not name.
    """

    name: str
    description: str
    technology: Technology
    array: Array
    cell: Cell
    dac: Dac
    adc: Adc
    sample_hold: SampleHold
    shift_add: ShiftAdd
    digital: Digital
    memory: Memory
    noise: NoiseFigures
    origins: dict[str, str]
    customs: tuple[Custom, ...] = ()

    @property
    def cells_per_code(self) -> int:
        """Physical columns of one slice of one output."""
        return 2 if self.cell.scheme == "differential_columns" else 1

    @property
    def rows_per_input(self) -> int:
        """Physical rows of one input: one, or one for each sign of it."""
        return 2 if self.cell.quadrants == 4 else 1

    @property
    def inputs_per_array(self) -> int:
        """Inputs that one array takes at once."""
        return self.active_rows // self.rows_per_input

    @property
    def active_rows(self) -> int:
        """Rows of an array that may be driven at once; what has more inputs is cut, and its cuts take turns."""
        return min(self.array.active_rows or self.array.rows, self.array.rows)

    @property
    def reference_columns(self) -> int:
        """Physical columns of one array that hold the offset of the others."""
        return 1 if self.cell.scheme == "offset_column" else 0

    @property
    def zero_level(self) -> int:
        """Level of a cell at code 0."""
        return (self.cell.levels - 1) // 2 if self.cell.scheme == "offset_column" else 0

    @property
    def exact_cells(self) -> bool:
        """Whether an array is a digital macro: its sums are exact, and nothing converts them."""
        return self.cell.kind == "digital"

    @property
    def largest_digit(self) -> int:
        """Largest magnitude one slice of a signed code can have."""
        return self.cell.largest_digit

    @property
    def adcs_per_array(self) -> int:
        """Converters of one array."""
        return -(-self.array.columns // self.adc.columns_per_adc)

    def per_array(self, on: On) -> int:
        """How many of a component with this rule an array has; none of what the chip has one of."""
        counts = {"array": 1, "row": self.array.rows, "column": self.array.columns, "converter": self.adcs_per_array}
        return counts.get(on, 0)

    @property
    def level_us(self) -> float:
        """Conductance between neighbouring levels, microsiemens: one code unit."""
        return self.cell.level_us

    def quantities(self) -> Iterator[Quantity]:
        """Every physical number."""
        for section in sections():
            table = getattr(self, section)
            yield from (value for f in fields(table) if isinstance(value := getattr(table, f.name), Quantity))

    def quantity(self, key: str) -> Quantity:
        """The physical number at ``table.key``, or at ``component.NAME.key``."""
        table, _, name = key.rpartition(".")
        custom = next((one for one in self.customs if table == f"{TABLE}.{one.name}"), None)
        found = getattr(custom or getattr(self, table), name)
        assert isinstance(found, Quantity), key
        return found


@cache
def sections() -> dict[str, type]:
    """Table name to dataclass, in the order of the file."""
    hints = get_type_hints(Hardware)
    return {name: kind for name, kind in hints.items() if name not in ("name", "description", "origins", "customs")}


@cache
def rules(section: str) -> dict[str, Rule]:
    """Key to rule of one table."""
    return {f.name: f.metadata["rule"] for f in fields(sections()[section])}
