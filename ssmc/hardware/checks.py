"""Consistency of the keys of a hardware file."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from ssmc.errors import UsageError
from ssmc.hardware.components import IDEAL_BITS
from ssmc.hardware.plausibility import implausible, too_short

if TYPE_CHECKING:
    from ssmc.hardware.model import Hardware

MENDING = frozenset({"drift_compensation", "stuck_mapping"})  # keys of how noise is made good


def check_together(file: str, hardware: Hardware) -> None:
    """Refuse keys that contradict each other (SSMC-H08), and figures that only a wrong unit explains (SSMC-H09)."""
    cell, dac = hardware.cell, hardware.dac
    if cell.g_min_us.value >= cell.g_max_us.value:
        fact = f"is {cell.g_min_us.value:g}, cell.g_max_us is {cell.g_max_us.value:g}"
        refuse("SSMC-H08", f"{file}: cell.g_min_us", fact, "g_min must be below g_max")
    if dac.bit_serial and dac.bits != 1:
        refuse(
            "SSMC-H08", f"{file}: dac.bits", f"is {dac.bits} with dac.bit_serial", "a bit-serial driver has bits = 1"
        )
    if hardware.inputs_per_array < 1:
        refuse("SSMC-H08", f"{file}: array.rows", "is 1 with cell.quadrants = 4", "an input needs a row for each sign")
    if dac.bit_serial and dac.pulses != "none":
        refuse("SSMC-H08", f"{file}: dac.pulses", f"is {dac.pulses} with dac.bit_serial", "codes go one way only")
    if hardware.largest_digit < 1:
        fact = f"is {cell.levels}, too few for scheme {cell.scheme}"
        refuse("SSMC-H08", f"{file}: cell.levels", fact, "use at least 3 levels, or differential_columns")
    if cell.quadrants == 3:
        refuse("SSMC-H08", f"{file}: cell.quadrants", "is 3", "write 2 or 4")
    _check_effective_bits(file, hardware)
    _check_digital(file, hardware)
    if hardware.noise.stuck_mapping != "none" and cell.scheme == "offset_column":
        fact = f"is {hardware.noise.stuck_mapping} with scheme offset_column, whose cells have no partner"
        refuse("SSMC-H08", f"{file}: noise.stuck_mapping", fact, "write none, or use differential_columns")
    _check_units(file, hardware)


def _check_effective_bits(file: str, hardware: Hardware) -> None:
    """Noise of a converter is given once, and makes it no better than ideal rounding."""
    bits, given = hardware.adc.bits, hardware.noise.adc_enob
    effective = given.high
    if not effective:
        return
    where = f"{file}: noise.adc_enob"
    if not given.low:
        fact = f"is {effective:g} at most and 0, not given, at least"
        refuse("SSMC-H08", where, fact, "write a low above 0, or adc_enob = 0")
    if hardware.noise.adc_noise_lsb.high:
        refuse("SSMC-H08", where, "is given beside noise.adc_noise_lsb", "remove one of them")
    if bits == IDEAL_BITS:
        refuse("SSMC-H08", where, f"is {effective:g} of an ideal converter", "remove it, or give adc.bits")
    if effective > bits:
        fact = f"is {effective:g}, adc.bits is {bits}"
        refuse("SSMC-H08", where, fact, f"write at most {bits}, or adc_enob = 0 and adc_noise_lsb")


def _check_digital(file: str, hardware: Hardware) -> None:
    """A digital macro has bits, no converter and no noise; currents of analog columns add up with one sign."""
    cell, adc = hardware.cell, hardware.adc
    if not hardware.exact_cells:
        if cell.scheme == "twos_complement":
            fact = "is twos_complement of analog cells"
            refuse("SSMC-H08", f"{file}: cell.scheme", fact, 'use differential_columns, or cell.kind = "digital"')
        return
    if adc.bits != IDEAL_BITS:
        refuse("SSMC-H08", f"{file}: adc.bits", f"is {adc.bits} of digital cells", "nothing is converted: write 0")
    if cell.scheme == "offset_column" or cell.quadrants == 4:
        refuse("SSMC-H08", f"{file}: cell.scheme", "is that of analog cells", "use twos_complement and quadrants = 2")
    if cell.scheme == "twos_complement" and cell.levels != 2:
        refuse(
            "SSMC-H08", f"{file}: cell.levels", f"is {cell.levels} with twos_complement", "a cell holds a bit: write 2"
        )
    for name, value in vars(hardware.noise).items():
        if name not in MENDING and getattr(value, "high", value) not in (0, "gaussian"):
            fact = f"is {getattr(value, 'value', value)} of digital cells"
            refuse("SSMC-H08", f"{file}: noise.{name}", fact, "they have no noise: write 0, or device = gaussian")


def _check_units(file: str, hardware: Hardware) -> None:
    for quantity in too_short(hardware.quantities()):
        fact = f"is {quantity.low:g} ns, shorter than a picosecond"
        refuse("SSMC-H09", f"{file}: {quantity.key}", fact, "write nanoseconds, or 0")
    for found in implausible(hardware):
        remedy = f"check the unit ({found.check.why})"
        refuse("SSMC-H09", f"{file}: {found.check.key}", found.fact, remedy)


def refuse(code: str, node: str, fact: str, remedy: str) -> NoReturn:
    """Raise the one line that names file and key, the fact, and the way out."""
    raise UsageError(code, fact, remedy, node)
