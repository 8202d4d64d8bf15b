"""Which codes can reach the inputs of a matrix: the facts every proof about conversions starts from."""

from __future__ import annotations

import numpy as np

from ssmc.ir.operations import Linear, Op, StateSpace
from ssmc.ir.program import Program
from ssmc.ir.rounding import IntArray

Range = tuple[IntArray, IntArray]


def input_range(program: Program, op: Op) -> Range:
    """Smallest and largest input code, (G, in) each, of the matrix (or both matrices) of an op."""
    quant = program.values[op.inputs[0]].quant
    if isinstance(op, Linear):
        shape = (op.matrix.groups, op.matrix.inputs)
        return np.full(shape, quant.lo, np.int64), np.full(shape, quant.hi, np.int64)
    if isinstance(op, StateSpace):
        shape = (op.matrix.groups, op.n_input)
        lo = np.concatenate([op.dac_lo, np.full(shape, quant.lo, np.int64)], 1)
        hi = np.concatenate([op.dac_hi, np.full(shape, quant.hi, np.int64)], 1)
        return lo, hi
    raise TypeError(f"{type(op).__name__} has no matrix")


def reach(codes: IntArray, lo: IntArray, hi: IntArray) -> Range:
    """Smallest and largest column sum (G, out) of cell codes (G, out, rows), inputs within lo..hi (G, rows)."""
    ends = codes * lo[:, None, :], codes * hi[:, None, :]
    return np.minimum(*ends).sum(-1), np.maximum(*ends).sum(-1)
