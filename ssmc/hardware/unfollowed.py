"""Keys of a hardware file that depend on others and do not follow them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from ssmc.hardware.components import IDEAL_BITS

if TYPE_CHECKING:
    from ssmc.hardware.model import Hardware


def unfollowed_keys(hardware: Hardware) -> tuple[str, ...]:
    """One line for every figure that is of something else: a preset's converter with other bits, analog periphery."""
    return (*_converter(hardware), *_held(hardware))


def _held(hardware: Hardware) -> tuple[str, ...]:
    """Columns of a digital macro are not held."""
    hold = hardware.sample_hold
    charged = [key for key, value in vars(hold).items() if value.high]
    if not hardware.exact_cells or not charged:
        return ()
    keys = " and ".join(f"sample_hold.{key}" for key in charged)
    return (f"{keys} are charged, and a digital macro holds no currents; set them to 0",)


def _converter(hardware: Hardware) -> tuple[str, ...]:
    """A converter that was measured with other bits, or stands for adder trees.

    With ``adc.model = "measured"`` energy and area are for the file's own bits. A file that has the figures of a
    preset and not its bits was made by changing one and not the other.
    """
    adc = hardware.adc
    if adc.model != "measured" or not adc.energy_pj.value:  # charged by energy_pj_per_step, which follows
        return ()
    for name, bits, energy, area in _measured(hardware.name):
        if bits != adc.bits and (energy, area) == (adc.energy_pj.value, adc.area_um2.value):
            if hardware.exact_cells:
                fact = f"adc.energy_pj and adc.area_um2 are those of the {bits}-bit converter of '{name}'"
                return (f"{fact}, which a digital macro does not have; set them to figures of its adder trees",)
            if adc.bits == IDEAL_BITS:
                return (f"an ideal converter is no circuit: it is charged as the {bits}-bit converter of '{name}'",)
            return (
                f"adc.energy_pj and adc.area_um2 are those of the {bits}-bit converter of '{name}' and do not follow "
                f'adc.bits = {adc.bits}; set adc.model to "isaac", "murmann" or "walden", or give figures of your own',
            )
    return ()


@cache
def _measured(name: str) -> tuple[tuple[str, int, float, float], ...]:
    """Name, bits, energy and area of the converter of the shipped file of that name, else of all of them."""
    from ssmc.hardware.file import load_hardware, preset_names

    found = [load_hardware(preset) for preset in preset_names() if name == preset or name not in preset_names()]
    return tuple((hw.name, hw.adc.bits, hw.adc.energy_pj.value, hw.adc.area_um2.value) for hw in found)
