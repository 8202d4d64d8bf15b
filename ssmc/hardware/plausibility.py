"""Units and plausibility of a hardware file: the errors that published cost tables contain are refused at load.

Every check is one derived physical quantity with bounds far outside everything that was ever published, so that what
falls outside is a wrong unit or a wrong exponent, not an unusual design.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ssmc.hardware.components import IDEAL_BITS
from ssmc.hardware.pulses import drive_ns

if TYPE_CHECKING:
    from ssmc.hardware.components import Quantity
    from ssmc.hardware.model import Hardware

SHORTEST_NS = 1e-3
Derived = Callable[["Hardware"], float]


@dataclass(frozen=True)
class Check:
    """A derived quantity and where it must lie.

    Attributes:
        key: the key that an error names.
        what: the quantity, with its unit.
        value: from the hardware; 0 passes (the part does not exist).
        lo, hi: bounds.
        why: what is published, and which mistake this catches.
        beside: further keys that are set to their low or high value together with ``key``.
    """

    key: str
    what: str
    value: Derived
    lo: float
    hi: float
    why: str
    beside: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """A check that failed: of the nominal value, or of ``low`` or ``high``."""

    check: Check
    value: float
    end: str = "value"

    @property
    def fact(self) -> str:
        """What is wrong, in words."""
        c = self.check
        whose = "" if self.end == "value" else f"{self.end} "
        return f"{whose}means {c.what} of {self.value:.3g}, plausible is {c.lo:g} to {c.hi:g}"


def _density(energy: Derived, per_ns: Derived, area: Derived) -> Derived:
    """Watt per square millimetre at full rate: pJ / ns = mW, mW / um2 = 1e3 W/mm2."""

    def value(hw: Hardware) -> float:
        return energy(hw) * per_ns(hw) / area(hw) * 1e3 if area(hw) else 0.0

    return value


def _cycle_ns(hw: Hardware) -> float:
    """Time of one drive of full width and its product."""
    return drive_ns(hw.dac.bits, hw) + hw.array.read_latency_ns.value or 1.0


def _adc_at_full_rate(hw: Hardware) -> float:
    """Conversions a nanosecond: the converter's own rate, or what an array can offer it."""
    if hw.adc.step_ns.value or hw.exact_cells:
        return 0.0
    return min(hw.adc.rate_msps.value * 1e-3, hw.adc.columns_per_adc / _cycle_ns(hw))


def _array_energy_pj(hw: Hardware) -> float:
    return hw.array.rows * hw.array.columns * hw.array.read_energy_fj_per_cell.value * 1e-3


def _read_voltage(hw: Hardware) -> float:
    """Voltage at which a cell at g_max would use this energy: sqrt(E / (G t))."""
    if hw.exact_cells:
        return 0.0
    charge = hw.cell.g_max_us.value * 1e-6 * hw.array.read_latency_ns.value * 1e-9
    return float((hw.array.read_energy_fj_per_cell.value * 1e-15 / charge) ** 0.5) if charge else 0.0


def _periphery_um2(hw: Hardware) -> float:
    return hw.array.area_um2.value + hw.array.rows * hw.dac.area_um2.value + hw.adcs_per_array * hw.adc.area_um2.value


def _walden_fj(hw: Hardware) -> float:
    """Of an ideal converter, which is no circuit, as of one of 8 bits."""
    if hw.exact_cells:
        return 0.0
    bits = 8 if hw.adc.bits == IDEAL_BITS else hw.adc.bits
    whole = hw.adc.energy_pj.value + bits * hw.adc.energy_pj_per_step.value
    return whole * 1e3 / 2.0**bits


CHECKS: tuple[Check, ...] = (
    Check("adc.energy_pj", "power density of a converter, W/mm2",
          _density(lambda h: h.adc.energy_pj.value, _adc_at_full_rate, lambda h: h.adc.area_um2.value), 0, 10,
          "ISAAC 1.7; MNSIM's conversion, 10x too high, 17"),
    Check("adc.energy_pj", "energy per conversion step, fJ (Walden)", _walden_fj, 0.3, 1e5,
          "best of the survey 0.35; a conversion that scales with 2^bits falls below at many bits"),
    Check("adc.area_um2", "area of a converter per squared node",
          lambda h: h.adc.area_um2.value / h.technology.node_nm.value**2,
          0.01, 1e4, "survey at 14 to 180 nm: 0.8 to 8; mm2 written as um2 is 1e6 off"),
    Check("dac.energy_pj", "power density of a row driver, W/mm2",
          _density(lambda h: h.dac.energy_pj.value, lambda h: 1 / _cycle_ns(h), lambda h: h.dac.area_um2.value),
          0, 1000, "ISAAC 23; MNSIM's 8-bit driver, watts for milliwatts, 3e6"),
    Check("dac.energy_pj", "energy of a row driver, pJ", lambda h: h.dac.energy_pj.value, 0, 100,
          "published: 0.004 to 4"),
    Check("array.read_energy_fj_per_cell", "power density of an array, W/mm2",
          _density(_array_energy_pj, lambda h: 1 / (h.array.read_latency_ns.value or 1),
                   lambda h: h.array.area_um2.value),
          0, 100, "ISAAC 12; picojoule written as femtojoule is 1000x off"),
    Check("array.read_energy_fj_per_cell", "read voltage of a cell at g_max, V", _read_voltage, 0, 3,
          "published: 0.15 to 0.5 V"),
    Check("digital.multiply_energy_pj", "energy of a product over an addition",
          lambda h: h.digital.multiply_energy_pj.value / (h.digital.add_energy_pj.value or 1), 1, 1000,
          "Horowitz 7 (8 bits); MNSIM's multiplier is its adder table pasted", ("digital.add_energy_pj",)),
    Check("digital.mac_energy_pj", "energy of a multiply-accumulate over a product",
          lambda h: h.digital.mac_energy_pj.value / (h.digital.multiply_energy_pj.value or 1), 1, 100,
          "a product and an addition", ("digital.multiply_energy_pj",)),
    Check("digital.mac_energy_pj", "energy of a multiply-accumulate per squared node, pJ/(45 nm)^2",
          lambda h: h.digital.mac_energy_pj.value * (45 / h.technology.node_nm.value) ** 2, 0.005, 50,
          "Horowitz 0.3 at 45 nm; watts for milliwatts is 1000x off"),
    Check("memory.buffer_energy_pj_per_bit", "energy of a buffer bit times 45 nm / node, pJ",
          lambda h: h.memory.buffer_energy_pj_per_bit.value * 45 / h.technology.node_nm.value, 0, 1,
          "Horowitz 0.16 at 45 nm; a word's figure times the word again is 1.8 (raaam_edram.csv)"),
    Check("memory.register_energy_pj_per_bit", "energy of a register bit times 45 nm / node, pJ",
          lambda h: h.memory.register_energy_pj_per_bit.value * 45 / h.technology.node_nm.value, 0, 0.5,
          "Aladdin 0.01 at 40 nm"),
    Check("digital.clock_mhz", "clock, MHz", lambda h: h.digital.clock_mhz.value, 0.01, 10_000,
          "hertz or gigahertz in a megahertz key"),
    Check("digital.lanes", "power density of the digital unit, W/mm2",
          _density(lambda h: h.digital.lanes * h.digital.mac_energy_pj.value,
                   lambda h: h.digital.clock_mhz.value * 1e-3, lambda h: h.digital.area_um2.value), 0, 50,
          "processors 0.1 to 1"),
    Check("memory.buffer_area_um2_per_bit", "area of a buffer bit, squared nodes",
          lambda h: h.memory.buffer_area_um2_per_bit.value / (h.technology.node_nm.value * 1e-3) ** 2, 5, 1e4,
          "eDRAM 154, SRAM 270; below 4 squared nodes there is no memory cell"),
    Check("memory.bus_energy_pj_per_bit", "energy of moving a bit times 45 nm / node, pJ",
          lambda h: h.memory.bus_energy_pj_per_bit.value * 45 / h.technology.node_nm.value, 0, 5,
          "ISAAC bus 0.08 and router 0.11 at 45 nm; a 256-bit flit's energy for a bit is 29"),
    Check("cell.write_energy_pj", "energy of writing a cell, pJ", lambda h: h.cell.write_energy_pj.value, 1e-3, 1e5,
          "PUMA 1.3, a NeuRRAM set pulse 104, PCM some 10; a whole array's figure is 1e4 times as much"),
    Check("array.leakage_uw", "leakage of an array, W/mm2 of the array, drivers and converters",
          lambda h: h.array.leakage_uw.value / _periphery_um2(h), 0, 10, "PUMA 0.1; milliwatts in a microwatt key"),
    Check("array.read_g_us", "mean conductance over g_max", lambda h: h.array.read_g_us.value / h.cell.g_max_us.value,
          1e-3, 1, "siemens in a microsiemens key"),
)  # fmt: skip


def implausible(hw: Hardware) -> Iterator[Finding]:
    """Every check that fails, at the nominal value, the low and the high one.

    A value without an interval has one end: beside the ends of others it would be a ratio of unlike things.
    """
    for check in CHECKS:
        for end in ("value", "low", "high") if _spread(hw, check.key) else ("value",):
            value = check.value(_at(hw, end, (check.key, *check.beside)))
            if value and not check.lo <= value <= check.hi:
                yield Finding(check, value, end)


def _spread(hw: Hardware, key: str) -> bool:
    section, name = key.split(".")
    given = getattr(getattr(hw, section), name)
    return hasattr(given, "low") and given.low < given.high


def _at(hw: Hardware, end: str, keys: tuple[str, ...]) -> Hardware:
    """The hardware with the low or the high values of some keys as the nominal ones."""
    for key in keys if end != "value" else ():
        section, name = key.split(".")
        table = getattr(hw, section)
        given = getattr(table, name)
        if hasattr(given, end):  # structural keys have no ends
            moved = replace(table, **{name: replace(given, value=getattr(given, end))})
            hw = replace(hw, **{section: moved})
    return hw


def too_short(quantities: Iterator[Quantity]) -> Iterator[Quantity]:
    """Times that are neither 0 nor at least a picosecond: seconds in a nanosecond key (1.06e-16 in one tool)."""
    for quantity in quantities:
        if quantity.key.endswith("_ns") and 0 < quantity.low < SHORTEST_NS:
            yield quantity
