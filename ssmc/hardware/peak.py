"""Peak figures of one array: every row driven, every output converted, products one after the other.

Peak figures are what papers publish; they follow from the same keys and laws as a program's cost, and the tests
compare the presets with the published ones (docs/fidelity.md). An operation is a multiplication or an addition: 2 per
MAC.
"""

from __future__ import annotations

from dataclasses import dataclass

from ssmc.hardware.model import Hardware
from ssmc.hardware.pulses import conversion_ns, conversion_steps, drive_ns, magnitude_bits, pulse_steps

OPS_PER_MAC = 2


@dataclass(frozen=True)
class Peak:
    """One full product of one array with cells that hold a whole code (one slice).

    Attributes:
        ops: operations of the product.
        ns: its duration: drive, integrate, convert; for overlapped conversion see `product_ns`.
        pj: energy by component.
        um2: area of the array with its drivers, hold circuits and converters.
    """

    ops: int
    ns: float
    pj: dict[str, float]
    um2: float

    @property
    def energy_pj(self) -> float:
        """Energy of the product."""
        return sum(self.pj.values())

    @property
    def tops(self) -> float:
        """Operations per picosecond: 1e12 operations a second."""
        return self.ops / self.ns * 1e-3

    @property
    def tops_per_w(self) -> float:
        """Operations per picojoule."""
        return self.ops / self.energy_pj

    @property
    def milliwatts(self) -> float:
        """Power at this rate: picojoule per nanosecond."""
        return self.energy_pj / self.ns


def peak(hw: Hardware, in_bits: int, out_bits: int, *, overlap: bool = False) -> Peak:
    """One array of the hardware, its nominal keys, for codes of ``in_bits`` and conversions to ``out_bits``.

    ``overlap``: while a product is converted the next one is driven (sample and hold), so the longer of both counts.
    """
    rows = hw.inputs_per_array
    outputs = (hw.array.columns - hw.reference_columns) // hw.cells_per_code
    ns = product_ns(hw, in_bits, out_bits, overlap=overlap)
    area = hw.array.area_um2.value + hw.array.rows * hw.dac.area_um2.value
    area += hw.array.columns * hw.sample_hold.area_um2.value + hw.adcs_per_array * hw.adc.area_um2.value
    area += sum(hw.per_array(one.on) * one.area_um2.value for one in hw.customs if one.on and one.area_um2)
    return Peak(OPS_PER_MAC * rows * outputs, ns, product_pj(hw, rows, outputs, in_bits, out_bits), area)


def product_ns(hw: Hardware, in_bits: int, out_bits: int, *, overlap: bool) -> float:
    """Duration of one product."""
    drive = drive_ns(in_bits, hw) + hw.array.read_latency_ns.value
    shared = -(-hw.adc.columns_per_adc // hw.cells_per_code)
    convert = shared * conversion_ns(out_bits, in_bits, hw)
    return hw.array.phases * (max(drive, convert) if overlap else drive + convert)


def product_pj(hw: Hardware, rows: int, outputs: int, in_bits: int, out_bits: int) -> dict[str, float]:
    """Energy of one product by component."""
    bits, pulses, phases = magnitude_bits(in_bits), pulse_steps(in_bits, hw), hw.array.phases
    columns = hw.array.columns
    cell = hw.array.read_energy_fj_per_cell.value + bits * hw.array.read_energy_fj_per_cell_bit.value
    hold = hw.sample_hold.energy_pj.value + bits * hw.sample_hold.energy_pj_per_bit.value
    steps = conversion_steps(out_bits, in_bits, hw)
    events = {"drive": rows, "cell": rows * columns, "column": columns, "conversion": outputs}
    own = {
        one.name: phases * events[one.per] * one.energy_pj.value
        for one in hw.customs
        if one.energy_pj and one.per in events
    }
    return {
        **own,
        "dac": phases * rows * (hw.dac.energy_pj.value + bits * hw.dac.energy_pj_per_bit.value),
        "array": phases * rows * columns * cell * 1e-3,
        "sample_hold": phases * columns * (hold + pulses * hw.sample_hold.energy_pj_per_pulse.value),
        "adc": phases * outputs * (hw.adc.energy_pj.value + steps * hw.adc.energy_pj_per_step.value),
    }
