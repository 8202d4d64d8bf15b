"""Energy events of one execution of an instruction, by component; one key of the hardware file prices each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from ssmc.hardware.model import Hardware, rules
from ssmc.hardware.pulses import conversion_steps, magnitude_bits, pulse_steps
from ssmc.ir.quant import bits_for
from ssmc.ir.requant import Requant
from ssmc.targets.aimc.lowering.mapping import Bank
from ssmc.targets.aimc.tiles import instructions as isa
from ssmc.targets.aimc.tiles.instructions import TileProgram

PJ_PER_FJ = 1e-3
LANE_WORK = ("adder", "multiplier", "mac", "requantize", "table", "divider")


@dataclass(frozen=True)
class Charge:
    """``count`` events of a component.

    Attributes:
        component: such as ``adc``.
        unit: what is counted, such as ``conversion``.
        count: events of one execution, all arrays and channels together.
        key: ``table.key`` of the hardware file with the energy of one event.
        scale: picojoule per unit of that key.
    """

    component: str
    unit: str
    count: int
    key: str
    scale: float = 1.0


@dataclass(frozen=True)
class Factors:
    """Data-dependent energy of one bank over the file's figures: its cells and its drivers (`.activity`)."""

    cells: float = 1.0
    drivers: float = 1.0


Measured = Mapping[str, Factors]
AS_GIVEN = Factors()


def charges(i: isa.Instruction, tiles: TileProgram, hw: Hardware, measured: Measured | None = None) -> list[Charge]:
    """All events of one execution of an instruction, without counts of 0; ``measured``: factors from data, by bank."""
    found = [*_analog(i, tiles, hw), *_digital(i, tiles), *_registers(i, tiles), *_buffer(i, tiles)]
    used = [charge for charge in found if charge.count and not _unused(charge, hw)]
    if not measured or not isinstance(i, isa.Drive | isa.Integrate):
        return used
    factors = measured.get(i.bank, AS_GIVEN)
    return [replace(charge, scale=charge.scale * _factor(charge, factors)) for charge in used]


def _factor(charge: Charge, factors: Factors) -> float:
    return {"array": factors.cells, "dac": factors.drivers}.get(charge.component.removesuffix("_bit"), 1.0)


def _unused(charge: Charge, hw: Hardware) -> bool:
    """Whether the hardware has no such part: a key that its file leaves out costs nothing and is not listed."""
    section, name = charge.key.split(".")
    return rules(section)[name].default is not None and hw.quantity(charge.key).high == 0


def _analog(i: isa.Instruction, tiles: TileProgram, hw: Hardware) -> Iterator[Charge]:
    match i:
        case isa.Drive():
            bank = tiles.banks[i.bank]
            rows = bank.row_count * bank.drives()
            yield Charge("dac", "drive", rows, "dac.energy_pj", hw.array.phases)
            bits = rows * magnitude_bits(i.width) * hw.array.phases
            yield Charge("dac_bit", "driven bit", bits, "dac.energy_pj_per_bit")
        case isa.Integrate():
            yield from _columns(tiles.banks[i.bank], tiles.drive_widths[i.bank], hw)
        case isa.Convert() | isa.ConvertQuantize():
            bank, width = tiles.banks[i.bank], tiles.drive_widths[i.bank]
            conversions = bank.groups * bank.outputs
            yield Charge("adc", "conversion", conversions, "adc.energy_pj", hw.array.phases)
            steps = conversions * conversion_steps(converted_bits(i), width, hw) * hw.array.phases
            yield Charge("adc_step", "step", steps, "adc.energy_pj_per_step")
        case isa.Accumulate():
            size = tiles.values[i.writes].size
            yield Charge("shift_add", "addition", size * len(i.reads), "shift_add.energy_pj")


def _columns(bank: Bank, width: int, hw: Hardware) -> Iterator[Charge]:
    """One product: cells and what holds the columns."""
    cells, columns = bank.conducting(hw)
    bits, phases = magnitude_bits(width), hw.array.phases
    yield Charge("array", "cell read", cells, "array.read_energy_fj_per_cell", PJ_PER_FJ * phases)
    yield Charge("array_bit", "cell bit", cells * bits * phases, "array.read_energy_fj_per_cell_bit", PJ_PER_FJ)
    yield Charge("sample_hold", "column", columns, "sample_hold.energy_pj", phases)
    yield Charge("hold_bit", "column bit", columns * bits * phases, "sample_hold.energy_pj_per_bit")
    pulses = columns * pulse_steps(width, hw) * phases
    yield Charge("hold_pulse", "column pulse", pulses, "sample_hold.energy_pj_per_pulse")


def converted_bits(i: isa.Convert | isa.ConvertQuantize) -> int:
    """Width of the codes a conversion yields."""
    lo, hi = (i.lo, i.hi) if isinstance(i, isa.Convert) else (i.requant.lo, i.requant.hi)
    return bits_for(0, int((hi - lo).max()))


def _digital(i: isa.Instruction, tiles: TileProgram) -> Iterator[Charge]:
    size = tiles.values[i.writes].size if i.writes else 0
    match i:
        case isa.MatVec():
            macs = int(np.count_nonzero(i.codes))
            yield Charge("mac", "multiply-accumulate", macs, "digital.mac_energy_pj")
            width = max(int(np.abs(i.codes).max(initial=0)).bit_length() + 1, 1)
            yield Charge("weights", "bit read", macs * width, "memory.buffer_energy_pj_per_bit")
        case isa.Requantize():
            yield Charge("requantize", "requantization", size - wired(i.requant), "digital.requantize_energy_pj")
        case isa.LookUp():
            yield Charge("table", "look-up", size, "digital.table_energy_pj")
        case isa.Multiply():
            yield Charge("multiplier", "product", size, "digital.multiply_energy_pj")
            yield Charge("requantize", "requantization", size, "digital.requantize_energy_pj")
        case isa.Add():
            yield Charge("mac", "multiply-accumulate", size * len(i.reads), "digital.mac_energy_pj")
        case isa.Normalize():
            sums = 2 if i.centred else 1  # of x^2, and of x
            yield Charge("mac", "multiply-accumulate", (sums + 2) * size, "digital.mac_energy_pj")
            yield Charge("divider", "division", 2, "digital.divide_energy_pj")
        case isa.Reduce() if i.kind == "sum":
            yield Charge("adder", "addition", tiles.accumulators[i.accumulator].size, "digital.add_energy_pj")
        case isa.Average():
            yield Charge("divider", "division", size, "digital.divide_energy_pj")


def wired(requant: Requant) -> int:
    """Outputs whose code is shifted to the left and nothing else: wires, no arithmetic."""
    pairs = zip(requant.ratio, requant.bias, strict=True)
    return sum(r.denominator == 1 and r.numerator.bit_count() == 1 and r > 0 and not b for r, b in pairs)


def _registers(i: isa.Instruction, tiles: TileProgram) -> Iterator[Charge]:
    key = "memory.register_energy_pj_per_bit"
    match i:
        case isa.ReadOut():
            register = tiles.registers[i.register]
            yield Charge("register", "bit", register.initial.size * register.bits, key)
            yield Charge("adder", "addition", int(np.count_nonzero(i.shift)), "digital.add_energy_pj")
        case isa.Update():
            kept, bits = int(np.count_nonzero(i.keep)), tiles.registers[i.register].bits
            yield Charge("register", "bit", (i.keep.size + kept) * bits, key)
            yield Charge("adder", "addition", kept, "digital.add_energy_pj")
        case isa.Reduce():
            accumulator = tiles.accumulators[i.accumulator]
            accesses = 2 if i.kind == "sum" else 1
            yield Charge("register", "bit", accesses * accumulator.size * accumulator.bits, key)
        case isa.Average() | isa.Recall():
            accumulator = tiles.accumulators[i.accumulator]
            yield Charge("register", "bit", accumulator.size * accumulator.bits, key)


def _buffer(i: isa.Instruction, tiles: TileProgram) -> Iterator[Charge]:
    bits = _moved_bits(i, tiles)
    yield Charge("buffer", "bit", bits, "memory.buffer_energy_pj_per_bit")
    yield Charge("bus", "bit moved", bits, "memory.bus_energy_pj_per_bit")


def _moved_bits(i: isa.Instruction, tiles: TileProgram) -> int:
    """Bits that go to or come from the buffer."""
    if isinstance(i, isa.Drive):
        return buffered_rows(i, tiles.banks[i.bank], tiles) * i.width
    if isinstance(i, isa.Select | isa.Join) and all(tiles.values[name].buffered for name in (*i.reads, i.writes)):
        return 0
    touched = [tiles.values[name] for name in (*i.reads, i.writes) if name]
    return sum(value.size * value.bits for value in touched if value.buffered)


def buffered_rows(i: isa.Drive, bank: Bank, tiles: TileProgram) -> int:
    """Rows of a drive that are fetched from the buffer; the others come from registers."""
    start, rows = 0, 0
    for name in i.reads:
        value = tiles.values[name]
        width = value.size // bank.groups
        inside = min(start + width, bank.rows[1]) - max(start, bank.rows[0])
        rows += max(inside, 0) if value.buffered else 0
        start += width
    return rows * bank.groups
