"""What crossbar hardware is made of: one frozen dataclass per table of the hardware file.

Every field carries the rule its key obeys, so that the dataclasses, the loader and docs/hardware.md cannot
disagree. Energies are per event, areas per instance; the unit ends the key. Structural facts (rows, bits) are
plain numbers, physical ones are `Quantity`: a nominal value with the interval in which published figures lie.
"""

# ruff: noqa: RUF009  (the calls in dataclass bodies only make immutable field metadata)

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

HUGE = 1e9


@dataclass(frozen=True)
class Quantity:
    """A physical number, in the unit that ends its key.

    Attributes:
        value, low, high: nominal value and the interval of plausible values, ``low <= value <= high``.
        key: ``table.key`` of the hardware file.
        origin: ``source: ...`` or ``assumed: ...``.
    """

    value: float
    low: float
    high: float
    key: str
    origin: str


@dataclass(frozen=True)
class Rule:
    """What a key of the hardware file may hold: its type, its range or its choices, and what it means."""

    kind: type
    lo: float
    hi: float
    choices: tuple[str, ...]
    meaning: str

    def allowed(self) -> str:
        """The rule in words, for error messages and documentation."""
        if self.kind is bool:
            return "true or false"
        if self.kind is str:
            return " or ".join(self.choices)
        return f"{'an integer' if self.kind is int else 'a number'} from {self.lo:g} to {self.hi:g}"


def whole(lo: int, hi: int, meaning: str) -> Any:
    """An integer key."""
    return field(metadata={"rule": Rule(int, lo, hi, (), meaning)})


def real(meaning: str, lo: float = 0.0, hi: float = HUGE) -> Any:
    """A physical key."""
    return field(metadata={"rule": Rule(float, lo, hi, (), meaning)})


def flag(meaning: str) -> Any:
    """A true-or-false key."""
    return field(metadata={"rule": Rule(bool, 0, 1, (), meaning)})


def choice(*choices: str, meaning: str) -> Any:
    """A key with named choices."""
    return field(metadata={"rule": Rule(str, 0, 0, choices, meaning)})


@dataclass(frozen=True)
class Technology:
    """The process the figures are for."""

    node_nm: Quantity = real("CMOS node of the periphery", 1, 1000)


@dataclass(frozen=True)
class Array:
    """One crossbar array."""

    rows: int = whole(1, 65536, "rows (inputs) of one array")
    columns: int = whole(2, 65536, "physical columns of one array")
    count: int = whole(0, 10**9, "arrays on the chip; 0: as many as the model needs")
    read_latency_ns: Quantity = real("settling and integration of the column currents, one product")
    read_energy_fj_per_cell: Quantity = real("energy of one cell during one product")
    area_um2: Quantity = real("one array without its periphery")


@dataclass(frozen=True)
class Cell:
    """One memory cell and how a signed code is made of cells."""

    levels: int = whole(2, 65536, "conductance levels a cell is written to; level 0 is g_min")
    g_min_us: Quantity = real("conductance of level 0")
    g_max_us: Quantity = real("conductance of the highest level", 1e-9)
    scheme: str = choice("differential_columns", "offset_column", meaning="how a signed code is made of cells")


@dataclass(frozen=True)
class Dac:
    """Row drivers, one per row."""

    bits: int = whole(1, 16, "width of the codes one drive puts on a row")
    bit_serial: bool = flag("drive one bit of the code after the other (then bits = 1)")
    latency_ns: Quantity = real("set-up of one drive")
    energy_pj: Quantity = real("one drive of one row")
    area_um2: Quantity = real("one driver")


@dataclass(frozen=True)
class Adc:
    """Column converters, each shared by neighbouring physical columns of one array."""

    bits: int = whole(1, 16, "width of the converted codes")
    columns_per_adc: int = whole(1, 65536, "physical columns that share one converter")
    rate_msps: Quantity = real("conversions per microsecond of one converter", 1e-6)
    energy_pj: Quantity = real("one conversion at these bits")
    area_um2: Quantity = real("one converter at these bits")
    step: str = choice("per_column", "per_adc", "per_array", meaning="what has a step size of its own")
    offset: bool = flag("the code at zero current is programmable")


@dataclass(frozen=True)
class SampleHold:
    """Sample and hold (or transimpedance amplifier), one per physical column."""

    energy_pj: Quantity = real("holding one column once")
    area_um2: Quantity = real("one sample and hold")


@dataclass(frozen=True)
class ShiftAdd:
    """Adder behind each converter that combines partial conversions."""

    energy_pj: Quantity = real("one shift and add")
    latency_ns: Quantity = real("one shift and add, pipelined behind the converter")
    area_um2: Quantity = real("one shift-add unit")


@dataclass(frozen=True)
class Digital:
    """The digital unit: element-wise work and matrices that are placed digital."""

    lanes: int = whole(1, 10**6, "operations that start together in one clock cycle")
    clock_mhz: Quantity = real("clock", 1e-3)
    add_energy_pj: Quantity = real("one addition, register width")
    multiply_energy_pj: Quantity = real("one product of two codes")
    mac_energy_pj: Quantity = real("one multiply-accumulate of a digital matrix")
    requantize_energy_pj: Quantity = real("one requantization: multiply, add, shift, clip")
    table_energy_pj: Quantity = real("one table look-up")
    divide_energy_pj: Quantity = real("one division")
    area_um2: Quantity = real("the whole unit, all lanes")


@dataclass(frozen=True)
class Memory:
    """Where codes wait: registers at the arrays, a buffer for vectors, weights and tables."""

    register_energy_pj_per_bit: Quantity = real("reading or writing one register bit")
    register_area_um2_per_bit: Quantity = real("one register bit")
    buffer_energy_pj_per_bit: Quantity = real("reading or writing one buffer bit")
    buffer_area_um2_per_bit: Quantity = real("one buffer bit")


@dataclass(frozen=True)
class NoiseFigures:
    """Gaussian device noise, relative to g_max (docs/hardware.md has the equations)."""

    programming_sigma_relative: Quantity = real("spread of a written cell / g_max", 0, 1)
    programming_sigma_off_relative: Quantity = real("spread of a cell at level 0 / g_max", 0, 1)
    read_sigma_relative: Quantity = real("fresh spread per product / conductance of the cell", 0, 1)
