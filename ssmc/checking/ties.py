"""How far real values lie from a tie, in units of the float32 error of whoever computed them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ssmc.ir.matrix import Matrix
from ssmc.ir.operations import AnyOp
from ssmc.ir.operations.linear import real_sums
from ssmc.ir.requant import Requant
from ssmc.ir.rounding import FloatArray, IntArray

FLOAT_ERROR = 2.0**-20


def code_distance(op: AnyOp, xs: Sequence[IntArray]) -> FloatArray:
    """Distance of an operation's real values from ties, in units of float32 error and the operation's own bound.

    Infinite where the operation rounds nothing: then no difference is legal.
    """
    real = op.real(*xs)
    if real is None:
        return np.full(1, np.inf)
    return tie_distance(real.value) / (op.float_terms * float_error(real.magnitude) + op.error_bound())


def matrix_distance(matrix: Matrix, requant: Requant, v: IntArray) -> FloatArray:
    """How far ``ratio * acc + bias`` lies from a tie, v (..., G, in), in units of the float32 error of its sum."""
    real = real_sums(matrix, requant, v)
    return tie_distance(real.value) / float_error(real.magnitude)


def tie_distance(real: FloatArray) -> FloatArray:
    """Distance of real codes from the nearest half."""
    return np.abs(np.abs(real - np.floor(real)) - 0.5)


def float_error(magnitude: FloatArray) -> FloatArray:
    """What float32 arithmetic may be off by where terms of this magnitude are summed, in codes."""
    return FLOAT_ERROR * (1.0 + magnitude)
