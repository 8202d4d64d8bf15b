"""What a hardware file says nothing about: effects and costs that are left out of every figure, not found to be 0."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ssmc.hardware.components import Quantity
from ssmc.hardware.devices import DEVICES
from ssmc.hardware.model import Hardware

NOISE = {
    "read noise": ("noise.read_sigma_relative",),
    "stuck cells": ("noise.stuck_low_fraction", "noise.stuck_high_fraction"),
    "resistance of wires (IR drop)": ("noise.wire_ohm",),
    "offsets of converters": ("noise.adc_offset_lsb",),
    "gain errors of converters": ("noise.adc_gain_relative",),
    "nonlinearity of converters": ("noise.adc_inl_lsb",),
    "uneven codes of converters": ("noise.adc_dnl_lsb",),
    "noise of converters": ("noise.adc_noise_lsb", "noise.adc_enob"),
}
COSTS = {
    "leakage of arrays": ("array.leakage_uw",),
    "leakage of the digital unit": ("digital.leakage_uw",),
    "energy of writing cells": ("cell.write_energy_pj",),
    "time of writing cells": ("cell.write_ns",),
    "interconnect": ("memory.bus_energy_pj_per_bit",),
    "widths of digital products": ("digital.mac_bits",),
    "sizes of weight memories": ("memory.buffer_bytes",),
}
#: what no key of a file models
DIGITAL = "control and clock of the digital unit, banking of its memories, wires to its lanes"


def effects_not_modelled(hw: Hardware) -> tuple[str, ...]:
    """Device effects that the noise of the file leaves out, each with the keys that would model it."""
    if hw.exact_cells:
        return ()
    return (*_drift(hw), *_absent(NOISE, hw))


def costs_not_modelled(hw: Hardware) -> tuple[str, ...]:
    """The same for energies, powers and times."""
    return (*_absent(COSTS, hw), DIGITAL)


def _drift(hw: Hardware) -> Iterator[str]:
    device = DEVICES.get(hw.noise.device)
    if device is None or (device.nu is None and len(device.sigma_p) < 2):
        yield "drift since programming (noise.device)"
    if device is None or device.flicker is None:
        yield "1/f noise (noise.device)"


def _absent(table: Mapping[str, tuple[str, ...]], hw: Hardware) -> Iterator[str]:
    for what, keys in table.items():
        if not any(_given(key, hw) for key in keys):
            yield f"{what} ({', '.join(keys)})"


def _given(key: str, hw: Hardware) -> bool:
    table, name = key.split(".")
    found = getattr(getattr(hw, table), name)
    return bool(found.high if isinstance(found, Quantity) else found)
