"""Energy events of one execution of an instruction, by component; one key of the hardware file prices each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from ssmc.hardware.custom import key_of
from ssmc.hardware.digital_models import mac_scale, memory_scale
from ssmc.hardware.model import Hardware, rules
from ssmc.hardware.pulses import conversion_steps, magnitude_bits, pulse_steps
from ssmc.ir.matrix import weight_bits
from ssmc.ir.quant import bits_for
from ssmc.targets.aimc.cost.activation_ramps import Ramp, ramps_in
from ssmc.targets.aimc.cost.activity import ONCE, Factors, Span
from ssmc.targets.aimc.lowering.mapping import Bank
from ssmc.targets.aimc.tiles import instructions as isa
from ssmc.targets.aimc.tiles.instructions import TileProgram

PJ_PER_FJ = 1e-3
AS_GIVEN: Mapping[str, Factors] = {}
#: the component whose events a rule of a file's own component counts
COUNTED_AS = {"drive": "dac", "cell": "array", "column": "sample_hold", "conversion": "adc", "mac": "mac"}
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
        spread: low, nominal and high factor on the key's low, value and high: what data decide.
    """

    component: str
    unit: str
    count: int
    key: str
    scale: float = 1.0
    spread: Span = ONCE


def charges(
    i: isa.Instruction, tiles: TileProgram, hw: Hardware, factors: Mapping[str, Factors] = AS_GIVEN
) -> list[Charge]:
    """All events of one execution of an instruction, without counts of 0; ``factors``: what data decide, by bank."""
    ramps = ramps_in(tiles, hw)
    arithmetic = [*_analog(i, tiles, hw), *_products(i, tiles, hw)]
    if not any(ramp.look_up == i.writes for ramp in ramps):
        arithmetic += _digital(i, tiles)
    found = [*arithmetic, *_registers(i, tiles), *_buffer(i, tiles, ramps)]
    used = [charge for charge in found if charge.count and not _unused(charge, hw)]
    used += _customs(found, hw)
    if not isinstance(i, isa.Drive | isa.Integrate) or i.bank not in factors:
        return used
    given = factors[i.bank]
    spreads = {"array": given.cells, "dac": given.drivers}
    named = [(charge, charge.component.removesuffix("_bit")) for charge in used]
    return [replace(charge, spread=spreads[name]) if name in spreads else charge for charge, name in named]


def _customs(found: list[Charge], hw: Hardware) -> Iterator[Charge]:
    """The components of the file's own that count the events of another one."""
    for one in hw.customs:
        for charge in found:
            if one.energy_pj and charge.count and charge.component == COUNTED_AS.get(str(one.per)):
                phases = 1 if one.per == "mac" else hw.array.phases
                yield Charge(one.name, charge.unit, charge.count, key_of(one.name, "energy_pj"), phases)


def step_charges(hw: Hardware) -> list[Charge]:
    """Events of a step that belong to no instruction."""
    return [
        Charge(one.name, "step", 1, key_of(one.name, "energy_pj"))
        for one in hw.customs
        if one.energy_pj and one.per == "step"
    ]


def _unused(charge: Charge, hw: Hardware) -> bool:
    """Whether the hardware has no such part: a key that its file leaves out costs nothing and is not listed."""
    section, name = charge.key.split(".")
    return rules(section)[name].default is not None and hw.quantity(charge.key).high == 0


def _analog(i: isa.Instruction, tiles: TileProgram, hw: Hardware) -> Iterator[Charge]:
    match i:
        case isa.Drive():
            bank = tiles.banks[i.bank]
            rows = bank.driven_rows()
            yield Charge("dac", "drive", rows, "dac.energy_pj", hw.array.phases)
            bits = rows * magnitude_bits(i.width) * hw.array.phases
            yield Charge("dac_bit", "driven bit", bits, "dac.energy_pj_per_bit")
        case isa.Integrate():
            yield from _columns(tiles.banks[i.bank], tiles.drive_widths[i.bank], hw)
        case isa.Convert() | isa.ConvertQuantize():
            bank, width = tiles.banks[i.bank], tiles.drive_widths[i.bank]
            columns = bank.columns[:, i.slice] if isinstance(i, isa.Convert) else bank.columns.any(1)
            conversions = int(np.count_nonzero(columns))
            shaped = sum(int(ramp.columns.sum()) for ramp in ramps_in(tiles, hw) if ramp.conversion == i.writes)
            shaped = shaped if hw.adc.ramp_energy_pj.high else 0
            yield Charge("adc", "conversion", conversions - shaped, "adc.energy_pj", hw.array.phases)
            yield Charge("adc", "conversion", shaped, "adc.ramp_energy_pj", hw.array.phases)
            steps = conversions * conversion_steps(converted_bits(i), width, hw) * hw.array.phases
            yield Charge("adc_step", "step", steps, "adc.energy_pj_per_step")
            if isinstance(i, isa.Convert):  # the adder is behind the converter
                yield Charge("shift_add", "addition", conversions, "shift_add.energy_pj")


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


def _products(i: isa.Instruction, tiles: TileProgram, hw: Hardware) -> Iterator[Charge]:
    """Multiply-accumulates of a digital matrix, by the widths of its operands, and its weights from their memory.

    Where every weight is 1 it is wired, not stored: partial sums that are added to a digital one.
    """
    if not isinstance(i, isa.MatVec):
        return
    values, groups = [tiles.values[name] for name in i.reads], len(i.codes)
    parts = np.split(i.codes, np.cumsum([value.size // groups for value in values])[:-1], -1)
    tops = np.repeat([1 << value.bits for value in values], [part.shape[-1] for part in parts])
    summed = int((np.abs(i.codes) * tops).sum(-1).max(initial=0)).bit_length()
    stored = [0 if (part[part != 0] == 1).all() else weight_bits(part) for part in parts]
    memory = sum(int(np.count_nonzero(part)) * bits for part, bits in zip(parts, stored, strict=True))
    for value, part, bits in zip(values, parts, stored, strict=True):
        macs = int(np.count_nonzero(part))
        scale = mac_scale(bits, value.bits, summed, hw)
        yield Charge("mac", "multiply-accumulate", macs, "digital.mac_energy_pj", scale)
        yield Charge("weights", "bit read", macs * bits, "memory.buffer_energy_pj_per_bit", memory_scale(memory, hw))


def _digital(i: isa.Instruction, tiles: TileProgram) -> Iterator[Charge]:
    size = tiles.values[i.writes].size if i.writes else 0
    match i:
        case isa.Requantize():
            yield Charge("requantize", "requantization", size - i.requant.wires, "digital.requantize_energy_pj")
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
        case isa.Reduce() if i.kind != "last":  # a comparison is a subtraction
            yield Charge("adder", "addition", tiles.accumulators[i.accumulator].size, "digital.add_energy_pj")
        case isa.Average():
            yield Charge("divider", "division", size, "digital.divide_energy_pj")
        case isa.Slide():
            yield Charge("adder", "addition", 2 * size, "digital.add_energy_pj")
            yield Charge("requantize", "requantization", size, "digital.requantize_energy_pj")
        case isa.Smooth():  # what comes and goes, and the roundings of the old register and of the new
            yield Charge("adder", "addition", 4 * size, "digital.add_energy_pj")
        case isa.Group() if i.how == "mean":
            yield Charge("adder", "addition", size, "digital.add_energy_pj")
            yield Charge("requantize", "requantization", -(-size // i.k), "digital.requantize_energy_pj")


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
        case isa.Slide():
            yield Charge("register", "bit", 2 * len(i.ratio) * tiles.registers[i.register].bits, key)
        case isa.Smooth():
            yield Charge("register", "bit", 2 * i.size * tiles.registers[i.register].bits, key)
        case isa.Reduce() | isa.Group():
            accumulator = tiles.accumulators[i.accumulator]
            accesses = 2 if (i.kind != "last" if isinstance(i, isa.Reduce) else i.how == "mean") else 1
            yield Charge("register", "bit", accesses * accumulator.size * accumulator.bits, key)
        case isa.Average() | isa.Recall():
            accumulator = tiles.accumulators[i.accumulator]
            yield Charge("register", "bit", accumulator.size * accumulator.bits, key)


def _buffer(i: isa.Instruction, tiles: TileProgram, ramps: tuple[Ramp, ...]) -> Iterator[Charge]:
    bits = _moved_bits(i, tiles, ramps)
    yield Charge("buffer", "bit", bits, "memory.buffer_energy_pj_per_bit")
    yield Charge("bus", "bit moved", bits, "memory.bus_energy_pj_per_bit")


def _moved_bits(i: isa.Instruction, tiles: TileProgram, ramps: tuple[Ramp, ...]) -> int:
    """Bits that go to or come from the buffer; what a ramp turns into the function's code never leaves a converter."""
    if isinstance(i, isa.Drive):
        return buffered_rows(i, tiles.banks[i.bank], tiles) * i.width
    if isinstance(i, isa.Select | isa.Join) and all(tiles.values[name].buffered for name in (*i.reads, i.writes)):
        return 0
    unseen = {ramp.read for ramp in ramps}
    touched = [tiles.values[name] for name in (*i.reads, i.writes) if name and name not in unseen]
    bits = sum(value.size * value.bits for value in touched if value.buffered)
    shaped = [ramp.columns for ramp in ramps if ramp.conversion == i.writes != ramp.read]
    made = tiles.values[i.writes] if shaped else None
    return bits - sum(int(columns.sum()) * made.bits for columns in shaped if made and made.buffered)


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
