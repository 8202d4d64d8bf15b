"""Silicon area of a tile program: what it allocates, instance by instance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from itertools import chain

import numpy as np

from ssmc.hardware.custom import key_of
from ssmc.hardware.model import Hardware
from ssmc.targets.aimc.cost.activation_ramps import ramps_in
from ssmc.targets.aimc.lowering.mapping import Bank
from ssmc.targets.aimc.tiles import instructions as isa
from ssmc.targets.aimc.tiles.instructions import TileProgram

CHIP = "(chip)"


@dataclass(frozen=True)
class Area:
    """``count`` instances of a component that serve ``op``, square micrometres in all."""

    op: str
    component: str
    count: int
    key: str
    low: float
    nominal: float
    high: float


def areas(tiles: TileProgram, hw: Hardware) -> list[Area]:
    """Area per op and component; what ops share stands under ``(chip)``. Arrays count whole, used or not."""
    added = adding(tiles)
    own = (array_areas(op, count, op in added, hw) for op, count in arrays_by_op(tiles.banks).items())
    return [*chain.from_iterable(own), *ramp_areas(tiles, hw), *digital_areas(tiles, hw)]


def adding(tiles: TileProgram) -> set[str]:
    """Ops whose arrays need a shift and add."""
    return {i.op for i in (*tiles.per_step, *tiles.per_sequence) if isinstance(i, isa.Accumulate)}


def array_areas(op: str, count: int, adds: bool, hw: Hardware) -> list[Area]:
    """What ``count`` arrays of an op need, with a shift and add each where it ``adds``."""
    found = [
        _area(op, "array", count, "array.area_um2", hw),
        _area(op, "dac", count * hw.array.rows, "dac.area_um2", hw),
        _area(op, "sample_hold", count * hw.array.columns, "sample_hold.area_um2", hw),
        _area(op, "adc", count * hw.adcs_per_array, "adc.area_um2", hw),
    ]
    found += [
        _area(op, one.name, count * hw.per_array(one.on), key_of(one.name, "area_um2"), hw)
        for one in hw.customs
        if one.area_um2 and one.on and one.on != "chip"
    ]
    if adds:
        found.append(_area(op, "shift_add", count * hw.adcs_per_array, "shift_add.area_um2", hw))
    return found


def ramp_areas(tiles: TileProgram, hw: Hardware) -> Iterator[Area]:
    """What makes the ramps of converters that do a look-up, one for every array."""
    shaped = {ramp.conversion for ramp in ramps_in(tiles, hw)}
    every = (i for i in (*tiles.per_step, *tiles.per_sequence) if isinstance(i, isa.ConvertQuantize))
    makers = {i.bank: i.op for i in every if i.writes in shaped}
    for op in dict.fromkeys(makers.values()) if hw.adc.ramp_area_um2.high else ():
        arrays = {array for bank, own in makers.items() if own == op for array in tiles.banks[bank].arrays}
        yield _area(op, "adc", len(arrays), "adc.ramp_area_um2", hw)


def digital_areas(tiles: TileProgram, hw: Hardware) -> Iterator[Area]:
    """Registers, memories, the digital unit and the chip's own components: the same for every packing."""
    held = {op: register.initial.size * register.bits for op, register in tiles.registers.items()}
    totals = {op: total.size * total.bits for op, total in tiles.accumulators.items()}
    for op, bits in chain(held.items(), totals.items()):
        yield _area(op, "register", bits, "memory.register_area_um2_per_bit", hw)
    ramps = ramps_in(tiles, hw)
    for op, bits in _memories(tiles, {ramp.look_up for ramp in ramps}).items():
        yield _area(op, "weights", bits, "memory.buffer_area_um2_per_bit", hw)
    unseen = {ramp.read for ramp in ramps}
    waiting = (value for name, value in tiles.values.items() if value.buffered and name not in unseen)
    buffered = sum(value.size * value.bits for value in waiting)
    yield _area(CHIP, "buffer", buffered, "memory.buffer_area_um2_per_bit", hw)
    yield _area(CHIP, "digital_unit", 1, "digital.area_um2", hw)
    for one in hw.customs:
        if one.area_um2 and one.on == "chip":
            yield _area(CHIP, one.name, 1, key_of(one.name, "area_um2"), hw)


def arrays_by_op(banks: Mapping[str, Bank]) -> dict[str, int]:
    """Arrays by op; one that several share counts once, for the first."""
    counts: dict[str, int] = {}
    seen: set[int] = set()
    for bank in banks.values():
        new = set(bank.arrays) - seen
        counts[bank.op] = counts.get(bank.op, 0) + len(new)
        seen |= new
    return counts


def _memories(tiles: TileProgram, done: Set[str]) -> dict[str, int]:
    """Bits of digital matrices (non-zero codes) and of tables that are not ``done`` by converters, by op."""
    bits: dict[str, int] = {}
    for i in (*tiles.per_step, *tiles.per_sequence):
        if isinstance(i, isa.MatVec):
            width = int(np.abs(i.codes).max(initial=0)).bit_length() + 1
            bits[i.op] = bits.get(i.op, 0) + int(np.count_nonzero(i.codes)) * width
        if isinstance(i, isa.LookUp) and i.writes not in done:
            bits[i.op] = bits.get(i.op, 0) + i.table.size * tiles.values[i.writes].bits
    return bits


def _area(op: str, component: str, count: int, key: str, hw: Hardware) -> Area:
    each = hw.quantity(key)
    return Area(op, component, count, key, count * each.low, count * each.value, count * each.high)
