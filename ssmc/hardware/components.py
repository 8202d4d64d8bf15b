"""The components of crossbar hardware: one frozen dataclass per table of the hardware file.

Every field carries the rule its key obeys, so that the dataclasses, the loader and docs/hardware.md cannot
disagree. Energies are per event, areas per instance; the unit ends the key. Structural facts (rows, bits) are
plain numbers, physical ones are `Quantity`: a nominal value with the interval in which published figures lie.
"""

# ruff: noqa: RUF009  (the calls in dataclass bodies only make immutable field metadata)

from __future__ import annotations

from dataclasses import MISSING, dataclass, field
from typing import Any

HUGE = 1e9
IDEAL_BITS = 24
NOT_GIVEN = "not given in the file: the device does without"


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
    """What a key of the hardware file may hold: its type, its range or its choices, and what it means.

    ``default`` is the value of a key that a file may leave out; None where it must be there.
    """

    kind: type
    lo: float
    hi: float
    choices: tuple[str, ...]
    meaning: str
    default: Any = None

    def allowed(self) -> str:
        """The rule in words, for error messages and documentation."""
        if self.kind is bool:
            return "true or false"
        if self.kind is str:
            return " or ".join(self.choices)
        return f"{'an integer' if self.kind is int else 'a number'} from {self.lo:g} to {self.hi:g}"


def whole(lo: int, hi: int, meaning: str, default: int | None = None) -> Any:
    """An integer key."""
    return _key(Rule(int, lo, hi, (), meaning, default))


def real(meaning: str, lo: float = 0.0, hi: float = HUGE, default: float | None = None) -> Any:
    """A physical key."""
    return _key(Rule(float, lo, hi, (), meaning, default))


def flag(meaning: str) -> Any:
    """A true-or-false key."""
    return _key(Rule(bool, 0, 1, (), meaning))


def choice(*choices: str, meaning: str, default: str | None = None) -> Any:
    """A key with named choices."""
    return _key(Rule(str, 0, 0, choices, meaning, default))


def _key(rule: Rule) -> Any:
    """A field; physical defaults are 0 of their own unit, so that a device without the effect pays nothing."""
    absent = MISSING if rule.default is None else _nothing(rule) if rule.kind is float else rule.default
    return field(default=absent, metadata={"rule": rule})


def _nothing(rule: Rule) -> Quantity:
    return Quantity(rule.default, rule.default, rule.default, "", f"assumed: {NOT_GIVEN}")


@dataclass(frozen=True)
class Technology:
    """The process the figures are for."""

    node_nm: Quantity = real("CMOS node of the periphery", 1, 1000)
    supply_v: Quantity = real("supply of the digital logic, for entries given at another node", 0, 5, default=0)
    temperature_k: Quantity = real("temperature that the figures are for; scales nothing", 100, 600, default=300)


@dataclass(frozen=True)
class Array:
    """One crossbar array."""

    rows: int = whole(1, 65536, "rows (inputs) of one array")
    columns: int = whole(2, 65536, "physical columns of one array")
    count: int = whole(0, 10**9, "arrays on the chip; 0: as many as the model needs")
    read_latency_ns: Quantity = real("settling and integration of the column currents, one product")
    read_energy_fj_per_cell: Quantity = real("energy of one cell during one product")
    area_um2: Quantity = real("one array without its periphery")
    phases: int = whole(1, 16, "times a product is repeated (signs of input and weight apart): time and energy", 1)
    read_energy_fj_per_cell_bit: Quantity = real("energy of one cell per magnitude bit of the drive, added", default=0)
    read_activity: Quantity = real("mean activity of the drives that the read energy is for; 0: unknown", 0, 1, 0)
    read_g_us: Quantity = real("mean conductance of the cells that the read energy is for; 0: unknown", default=0)
    leakage_uw: Quantity = real("leakage of one array with its periphery", default=0)
    active_rows: int = whole(0, 65536, "rows of an array that are driven at once; 0: all", 0)


@dataclass(frozen=True)
class Cell:
    """One memory cell and how a signed code is made of cells."""

    levels: int = whole(2, 65536, "conductance levels a cell is written to; level 0 is g_min")
    g_min_us: Quantity = real("conductance of level 0")
    g_max_us: Quantity = real("conductance of the highest level", 1e-9)
    scheme: str = choice(
        "differential_columns", "offset_column", "twos_complement", meaning="how a signed code is made of cells"
    )
    write_energy_pj: Quantity = real("writing one cell, verification included", default=0)
    write_ns: Quantity = real("writing one cell, or all that are written at once", default=0)
    write_parallel: int = whole(1, 65536, "cells of an array written at once", 1)
    quadrants: int = whole(
        2, 4, "4: drivers are unipolar, an input has a row for each sign (QS4D figure); 2: bipolar drivers", 2
    )
    kind: str = choice(
        "analog", "digital",
        meaning="digital: bits and an adder tree a column, exact, which [adc] prices; no converter", default="analog",
    )  # fmt: skip

    @property
    def largest_digit(self) -> int:
        """Largest magnitude one slice of a signed code can have."""
        top = self.levels - 1
        return top // 2 if self.scheme == "offset_column" else top

    @property
    def level_us(self) -> float:
        """Conductance between neighbouring levels, microsiemens: one code unit."""
        return (self.g_max_us.value - self.g_min_us.value) / (self.levels - 1)


@dataclass(frozen=True)
class Dac:
    """Row drivers, one per row."""

    bits: int = whole(1, 16, "width of the codes one drive puts on a row")
    bit_serial: bool = flag("drive one bit of the code after the other (then bits = 1)")
    latency_ns: Quantity = real("set-up of one drive")
    energy_pj: Quantity = real("one drive of one row")
    area_um2: Quantity = real("one driver")
    pulses: str = choice(
        "none", "width", "count", "bits",
        meaning="how time carries a code: not at all, pulse width, pulse trains, a pulse a bit added up in analog",
        default="none",
    )  # fmt: skip
    pulse_ns: Quantity = real("one pulse, or one step of the pulse width", default=0)
    phase_ns: Quantity = real("sampling after each train of pulses (count) or each bit (bits)", default=0)
    energy_pj_per_bit: Quantity = real("one row per magnitude bit of the drive, added", default=0)
    activity: Quantity = real("mean activity of the drives that the driver's energy is for; 0: unknown", 0, 1, 0)
    read_v: Quantity = real("voltage of a row at the largest driver code; 0: unknown", 0, 10, 0)


@dataclass(frozen=True)
class Adc:
    """Column converters, each shared by physical columns of one array, which they interleave."""

    bits: int = whole(0, IDEAL_BITS, "width of the converted codes; 0: an ideal converter, of as many as any sum needs")
    columns_per_adc: int = whole(1, 65536, "physical columns that share one converter")
    rate_msps: Quantity = real("conversions per microsecond of one converter", 1e-6)
    energy_pj: Quantity = real("one conversion at these bits")
    area_um2: Quantity = real("one converter at these bits")
    step: str = choice("per_column", "per_adc", "per_array", meaning="what has a step size of its own")
    offset: bool = flag("the code at zero current is programmable")
    model: str = choice(
        "measured", "isaac", "murmann", "walden",
        meaning="where energy_pj and area_um2 are from: the file, or a published law", default="measured",
    )  # fmt: skip
    step_ns: Quantity = real("one step of a converter that works bit by bit, added to 1 / rate_msps", default=0)
    energy_pj_per_step: Quantity = real("one step of such a conversion, added", default=0)
    input_v: Quantity = real("input voltage of a converter over its full range; 0: unknown", 0, 10, 0)
    ramp: str = choice(
        "none", "activation",
        meaning="activation: a ramp takes the shape of the monotone function behind it, no table", default="none",
    )  # fmt: skip
    ramp_energy_pj: Quantity = real("one conversion on such a ramp, in place of energy_pj; 0: the same", default=0)
    ramp_area_um2: Quantity = real("what makes such a ramp, one an array that has one", default=0)

    def __post_init__(self) -> None:
        """An ideal converter has `IDEAL_BITS`: float32, in which chips are simulated, holds no wider sums."""
        if self.bits == 0:
            object.__setattr__(self, "bits", IDEAL_BITS)


@dataclass(frozen=True)
class SampleHold:
    """Sample and hold (or transimpedance amplifier), one per physical column."""

    energy_pj: Quantity = real("holding one column once")
    area_um2: Quantity = real("one sample and hold")
    energy_pj_per_bit: Quantity = real("one column per magnitude bit of the drive, added", default=0)
    energy_pj_per_pulse: Quantity = real("one column per pulse of the drive, added", default=0)


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
    leakage_uw: Quantity = real("leakage of the unit with its buffers", default=0)
    mac_bits: int = whole(0, 64, "width of weights and inputs that mac_energy_pj is for; 0: of any", 0)


@dataclass(frozen=True)
class Memory:
    """Where codes wait: registers at the arrays, a buffer for vectors, weights and tables."""

    register_energy_pj_per_bit: Quantity = real("reading or writing one register bit")
    register_area_um2_per_bit: Quantity = real("one register bit")
    buffer_energy_pj_per_bit: Quantity = real("reading or writing one buffer bit")
    buffer_area_um2_per_bit: Quantity = real("one buffer bit")
    buffer_bytes: int = whole(0, 1 << 40, "size that buffer_energy_pj_per_bit is for; 0: any", 0)
    bus_energy_pj_per_bit: Quantity = real("interconnect: moving one bit to or from the buffer, added", default=0)


@dataclass(frozen=True)
class NoiseFigures:
    """Device noise, relative to g_max where not said otherwise (docs/noise.md has the equations)."""

    programming_sigma_relative: Quantity = real("spread of a written cell / g_max", 0, 1)
    programming_sigma_off_relative: Quantity = real("spread of a cell at level 0 / g_max", 0, 1)
    read_sigma_relative: Quantity = real("fresh spread per product / conductance of the cell", 0, 1)
    programming_sigma_proportional: Quantity = real("spread of a written cell / its conductance, added", 0, 1, 0)
    device: str = choice(
        "gaussian", "hermes1", "hermes2", "pcm", "pcm_joshi", "reram_milo", "reram_wan",
        meaning="the spreads above, or a published cell with its programming, drift and 1/f noise", default="gaussian",
    )  # fmt: skip
    writable_levels: int = whole(0, 65536, "levels a cell can be written to where fewer than cell.levels; 0: all", 0)
    stuck_low_fraction: Quantity = real("cells that stay at g_min", 0, 1, 0)
    stuck_high_fraction: Quantity = real("cells that stay at g_max", 0, 1, 0)
    stuck_mapping: str = choice(
        "none", "closest_value",
        meaning="what mends a pair with a stuck cell: nothing, or its other cell, written to the closest difference",
        default="none",
    )  # fmt: skip
    drift_compensation: str = choice(
        "tile", "column", "none",
        meaning="what makes good drift: a factor for every tile, one for every column, or nothing", default="tile",
    )  # fmt: skip
    wire_ohm: Quantity = real("resistance of row and column wires per cell pitch", 0, 1e6, 0)
    adc_offset_lsb: Quantity = real("spread of the converters' offsets, codes", 0, 1e6, 0)
    adc_gain_relative: Quantity = real("spread of the converters' gains", 0, 1, 0)
    adc_inl_lsb: Quantity = real("spread of the converters' largest integral nonlinearity, codes", 0, 1e6, 0)
    adc_dnl_lsb: Quantity = real("spread of the widths of the converters' codes, codes", 0, 1, 0)
    adc_noise_lsb: Quantity = real("fresh spread of every conversion, codes", 0, 1e6, 0)
    adc_enob: Quantity = real("effective bits of a converter, in place of adc_noise_lsb; 0: not given", 0, 24, 0)
