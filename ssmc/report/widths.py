"""How wide the sums of an operation are: the largest absolute value of any partial sum, as bits with a sign."""

from __future__ import annotations

import numpy as np

from ssmc.ir.program import Linear, Matrix, Mean, Norm, Op, Product, Program, StateSpace, Sum
from ssmc.ir.rounding import IntArray

NORM_BITS = 63
LONGEST_MEAN = (1 << 32) - 1


def accumulator_bits(program: Program, op: Op) -> int:
    """Width of the widest accumulator of an operation; 0 where it has none.

    A matrix: ``sum |W| max|x|``, so that no partial sum passes it in any order. A mean: over 2^32 - 1 steps. A norm is
    computed on 62 bits and a sign (`ssmc.ir.program.Norm`).
    """
    tops = [_top(program, name) for name in op.inputs]
    match op:
        case Linear():
            return _bits(_largest(op.matrix, np.full((op.matrix.groups, op.matrix.inputs), tops[0])))
        case StateSpace():
            read = np.maximum(np.abs(op.dac_lo), np.abs(op.dac_hi))
            edge = np.full((op.matrix.groups, op.n_input), tops[0])
            drive = np.concatenate([read, edge], 1)
            both = [op.matrix, *([op.output_matrix] if op.output_matrix is not None else [])]
            return _bits(max(_largest(matrix, drive) for matrix in both))
        case Product():
            return _bits(tops[0] * tops[1])
        case Sum():
            terms = sum(np.abs(m).astype(object) * top for m, top in zip(op.multiplier, tops, strict=True))
            return _bits(int(np.max(terms + np.abs(op.offset).astype(object))))
        case Mean():
            return _bits(tops[0] * LONGEST_MEAN)
        case Norm():
            return NORM_BITS
    return 0


def _top(program: Program, name: str) -> int:
    quant = program.values[name].quant if name in program.values else None
    return 0 if quant is None else max(abs(quant.lo), abs(quant.hi))


def _largest(matrix: Matrix, drive: IntArray) -> int:
    """``max_row sum |W| drive``; of the digital sum of partial conversions where a matrix has them."""
    if matrix.parts:
        return int(np.abs(np.stack(matrix.reach(-drive, drive))).max(initial=0))
    return int((np.abs(matrix.codes) * drive[:, None, :]).sum(-1).max(initial=0))


def _bits(largest: int) -> int:
    return largest.bit_length() + 1
