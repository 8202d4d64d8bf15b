"""Proven lossless conversions on ideal devices add up to one exact product: evaluate that instead.

This changes how fast an ideal chip is simulated, never what is counted or computed; the tests compare it with
the literal execution.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ssmc.hardware.conductances import Real
from ssmc.ir.matrix import Matrix
from ssmc.ir.operations import AnyOp, Linear, StateSpace
from ssmc.ir.program import Program
from ssmc.ir.rounding import IntArray
from ssmc.targets.aimc.lowering.mapping import Bank
from ssmc.targets.aimc.tiles.instructions import Accumulate, Convert, Drive, Instruction, Integrate


@dataclass(frozen=True)
class ExactProduct(Instruction):
    """``v @ weight`` with weight (groups, inputs, outputs) float64: never part of a tile program."""

    weight: Real


def shorten(code: tuple[Instruction, ...], banks: Mapping[str, Bank]) -> tuple[Instruction, ...]:
    """Replace every lossless group drive .. convert, accumulate by its product."""
    dropped: set[str] = set()
    out: list[Instruction] = []
    makers = {i.writes: i for i in code if isinstance(i, Convert)}
    planes = _planes(code)
    for i in code:
        if isinstance(i, Accumulate) and i.lossless:
            parts = [
                Summed(makers[name].bank, makers[name].slice, planes[name], makers[name].step, gain)
                for name, gain in zip(i.reads, i.gains, strict=True)
            ]
            names = dict.fromkeys(part.bank for part in parts)
            dropped.update(names)
            sources = next(d.reads for d in code if isinstance(d, Drive) and d.bank in names)
            weight = whole_codes(parts, banks).transpose(0, 2, 1).astype(np.float64)
            out.append(ExactProduct(i.op, sources, i.writes, np.ascontiguousarray(weight)))
        else:
            out.append(i)
    return tuple(i for i in out if not (isinstance(i, Drive | Integrate | Convert) and i.bank in dropped))


def exact_program(program: Program, lists: Iterable[tuple[Instruction, ...]]) -> Program | None:
    """The integer program whose codes an ideal chip gives, its matrices whole; None where a conversion may lose some.

    ``program`` is the lowered one, ``lists`` its shortened instruction lists: what is still converted there is lossy.
    """
    converted = any(matrix.converter is not None for _, matrix in program.matrices())
    sums = [op.input_sum for op in program.ops if isinstance(op, StateSpace) and op.input_sum is not None]
    if (
        converted
        or any(apart.lost.any() for apart in sums)
        or any(isinstance(i, Convert) for code in lists for i in code)
    ):
        return None
    return replace(program, ops=tuple(_whole(op) for op in program.ops))


def _whole(op: AnyOp) -> AnyOp:
    match op:
        case Linear():
            return replace(op, matrix=Matrix(op.matrix.codes))
        case StateSpace():
            second = op.output_matrix
            return replace(
                op,
                matrix=Matrix(op.matrix.codes),
                output_matrix=None if second is None else Matrix(second.codes),
                input_sum=None,
            )
    return op


class Summed(NamedTuple):
    """One conversion of a sum: its slice and bit (-1: whole codes), ``step`` and the ``gain`` of its code, (G, out)."""

    bank: str
    slice: int
    plane: int
    step: IntArray
    gain: IntArray


def _planes(code: Iterable[Instruction]) -> dict[str, int]:
    """The bit that was driven for every conversion, by what it writes."""
    driven: dict[str, int] = {}
    found: dict[str, int] = {}
    for i in code:
        if isinstance(i, Drive):
            driven[i.bank] = -1 if i.plane is None else i.plane
        elif isinstance(i, Convert):
            found[i.writes] = driven[i.bank]
    return found


def whole_codes(parts: Iterable[Summed], banks: Mapping[str, Bank]) -> IntArray:
    """The codes (groups, outputs, inputs) that row splits and slices stand for.

    A digit d adds gain / step d to the sum, over the weight of the bit that drives it: cells may hold multiples of
    codes, and steps are multiples of the same.
    """
    found: dict[str, dict[int, IntArray]] = {}
    for part in parts:
        bank = banks[part.bank]
        digits = bank.codes[:, part.slice] * (1 if bank.gains[part.slice] > 0 else -1)
        weight = np.abs(part.gain), part.step << max(part.plane, 0)
        each = digits * weight[0][..., None] // weight[1][..., None]
        found.setdefault(part.bank, {})[part.slice] = each
    return np.concatenate([np.sum(list(pieces.values()), 0) for pieces in found.values()], -1)
