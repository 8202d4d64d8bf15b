"""Look-ups that the converter in front of them can do: its ramp takes the shape of the function (arXiv 2411.18271).

A ramp converter counts the steps of a ramp until it passes the column's sum. Code k of the quantizer begins at t_k;
with f monotone, ``f(k)`` changes at some of the t_k alone, and a ramp whose steps are those gives ``f(code)`` itself:
the same codes as quantizer and table, for every sum. That takes a converter which is the quantizer, a table that rises
or falls, and nobody else who reads the code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from ssmc.hardware.model import Hardware
from ssmc.ir.connectivity import Mask
from ssmc.targets.aimc.lowering.mapping import Bank
from ssmc.targets.aimc.tiles import instructions as isa
from ssmc.targets.aimc.tiles.instructions import TileProgram


class Ramp(NamedTuple):
    """A look-up, and the conversions that give its codes.

    Attributes:
        look_up, read, conversion: what the look-up writes, and reads, and the conversion writes.
        columns: which columns of the conversion, (groups, outputs).
    """

    look_up: str
    read: str
    conversion: str
    columns: Mask


def ramps_in(tiles: TileProgram, hw: Hardware) -> tuple[Ramp, ...]:
    """Look-ups that the converters of this hardware do."""
    return every_ramp(tiles) if hw.adc.ramp == "activation" else ()


def every_ramp(tiles: TileProgram) -> tuple[Ramp, ...]:
    """Look-ups that converters can do."""
    if "every" not in tiles.ramps:
        found = (ramps_of(code, tiles.banks) for code in (tiles.per_step, tiles.per_sequence))
        tiles.ramps["every"] = sum(found, ())
    return tiles.ramps["every"]


def ramps_of(code: tuple[isa.Instruction, ...], banks: Mapping[str, Bank]) -> tuple[Ramp, ...]:
    """Every look-up of a list of instructions that its converter can do."""
    return tuple(_ramps(code, banks))


def _ramps(code: tuple[isa.Instruction, ...], banks: Mapping[str, Bank]) -> Iterator[Ramp]:
    makers = {i.writes: i for i in code if i.writes}
    readers = Counter(name for i in code for name in i.reads)
    for i in code:
        if not isinstance(i, isa.LookUp) or readers[i.reads[0]] > 1 or not _monotone(i):
            continue
        maker = makers.get(i.reads[0])
        part = maker if isinstance(maker, isa.Select) else None
        converter = makers.get(part.reads[0]) if part else maker
        if not isinstance(converter, isa.ConvertQuantize):
            continue
        columns = _columns(banks[converter.bank], part)
        if part is None or not any(_also(other, part, columns) for other in code if other is not part):
            yield Ramp(i.writes, i.reads[0], converter.writes, columns)


def _monotone(i: isa.LookUp) -> bool:
    steps = np.diff(i.table, axis=1)
    return bool(((steps >= 0).all(1) | (steps <= 0).all(1)).all())


def _columns(bank: Bank, part: isa.Select | None) -> Mask:
    """Columns that hold a code and that the look-up reads."""
    found = np.ones((bank.groups, bank.outputs), np.bool_) if part is None else _selected(part, bank)
    return np.asarray(found & bank.columns.any(1))


def _selected(part: isa.Select, bank: Bank) -> Mask:
    mask = np.zeros((part.groups, bank.groups * bank.outputs // part.groups), np.bool_)
    mask[:, part.start : part.stop] = True
    return mask.reshape(bank.groups, bank.outputs)


def _also(other: isa.Instruction, part: isa.Select, columns: Mask) -> bool:
    """Whether another instruction reads some of these columns."""
    if part.reads[0] not in other.reads:
        return False
    if isinstance(other, isa.Select) and other.groups == part.groups:
        return other.start < part.stop and part.start < other.stop
    if isinstance(other, isa.Update):
        return bool(columns[:, : other.keep.shape[1]].any())
    return True
