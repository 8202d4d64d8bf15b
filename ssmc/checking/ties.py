"""How many codes float32 arithmetic may round a real value away from where exact arithmetic rounds it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ssmc.ir.matrix import Matrix
from ssmc.ir.operations import AnyOp
from ssmc.ir.operations.linear import real_sums
from ssmc.ir.requant import Requant
from ssmc.ir.rounding import FloatArray, IntArray

FLOAT_ERROR = 2.0**-20


def code_reach(op: AnyOp, xs: Sequence[IntArray]) -> FloatArray:
    """Reach of an operation's values by float32 error and the operation's own bound; 0 where it rounds nothing."""
    real = op.real(*xs)
    if real is None:
        return np.zeros(1)
    return reach(real.value, op.float_terms * float_error(real.magnitude) + op.error_bound())


def matrix_reach(matrix: Matrix, requant: Requant, v: IntArray) -> FloatArray:
    """Reach of ``ratio * acc + bias``, v (..., G, in), by the float32 error of its sum."""
    real = real_sums(matrix, requant, v)
    return reach(real.value, float_error(real.magnitude))


def reach(real: FloatArray, error: FloatArray) -> FloatArray:
    """What two roundings of real codes may differ by where one is ``error`` off: n where n - 1 <= error - tie < n.

    ``tie`` is the distance from the nearest half, which the first code lies behind.
    """
    tie = np.abs(np.abs(real - np.floor(real)) - 0.5)
    return np.asarray(np.maximum(np.floor(error - tie) + 1, 0))


def float_error(magnitude: FloatArray) -> FloatArray:
    """What float32 arithmetic may be off by where terms of this magnitude are summed, in codes."""
    return FLOAT_ERROR * (1.0 + magnitude)
