"""Proven lossless conversions on ideal devices add up to one exact product: evaluate that instead.

This changes how fast an ideal chip is simulated, never what is counted or computed; the tests compare it with
the literal execution.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from ssmc.hardware.conductances import Real
from ssmc.ir.matrix import Matrix
from ssmc.ir.operations import AnyOp, Linear, StateSpace
from ssmc.ir.program import Program
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
    for i in code:
        if isinstance(i, Accumulate) and i.lossless:
            names = dict.fromkeys(makers[name].bank for name in i.reads)
            dropped.update(names)
            sources = next(d.reads for d in code if isinstance(d, Drive) and d.bank in names)
            out.append(ExactProduct(i.op, sources, i.writes, whole_matrix([banks[name] for name in names])))
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


def whole_matrix(banks: list[Bank]) -> Real:
    """The matrix (groups, inputs, outputs) that row splits and slices stand for."""
    splits = [np.tensordot(np.array(bank.gains), bank.codes, (0, 1)) for bank in banks]
    joined: Real = np.concatenate(splits, -1).transpose(0, 2, 1).astype(np.float64)
    return np.ascontiguousarray(joined)
