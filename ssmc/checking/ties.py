"""How far real values lie from a tie, in units of the float32 error of whoever computed them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ssmc.ir.program import NORM_FRACTION, Matrix, Norm, Quantize
from ssmc.ir.requant import Requant
from ssmc.ir.rounding import FloatArray, IntArray

FLOAT_ERROR = 2.0**-20
NORM_TERMS = 8.0  # float32 errors of mean, variance, root, quotient and the affine map add up


def matrix_distance(matrix: Matrix, requant: Requant, v: IntArray) -> FloatArray:
    """How far ``ratio * acc + bias`` lies from a tie, in units of the float32 error of its sum."""
    ratio = np.array([float(r) for r in requant.ratio])
    bias = np.array([float(b) for b in requant.bias])
    shape = (*v.shape[:-1], matrix.outputs)
    real = ratio * matrix.product(v).reshape(*shape[:-2], -1) + bias
    terms = Matrix(np.abs(matrix.codes)).product(np.abs(v)).reshape(*shape[:-2], -1)
    return (tie_distance(real) / float_error(np.abs(ratio) * terms + np.abs(bias))).reshape(shape)


def tie_distance(real: FloatArray) -> FloatArray:
    """Distance of real codes from the nearest half."""
    return np.abs(np.abs(real - np.floor(real)) - 0.5)


def float_error(magnitude: FloatArray) -> FloatArray:
    """What float32 arithmetic may be off by where terms of this magnitude are summed, in codes."""
    return FLOAT_ERROR * (1.0 + magnitude)


def input_distance(op: Quantize, x: NDArray[np.generic]) -> FloatArray:
    """The same for the input quantizer."""
    real = np.asarray(x, np.float64) / op.quant.scale
    return tie_distance(real) / float_error(np.abs(real))


def norm_distance(op: Norm, x: IntArray) -> FloatArray:
    """Distance of the real normalized value from a tie, in units of float32 error and the integer algorithm's bound."""
    channels = x.shape[-1]
    d = x - x.mean(-1, keepdims=True) * op.centred
    variance = (d * d).mean(-1, keepdims=True) + op.epsilon / (channels**2 * 2.0**NORM_FRACTION)
    normal = d / np.sqrt(np.where(variance > 0, variance, 1.0))
    gain, offset = op.gain / 2.0 ** (op.shift - 20), op.offset / 2.0**op.shift
    magnitude = np.abs(gain) * np.abs(normal) + np.abs(offset)
    return tie_distance(gain * normal + offset) / (NORM_TERMS * float_error(magnitude) + op.bound)


def product_distance(requant: Requant, acc: IntArray) -> FloatArray:
    """The same for a requantized product of codes."""
    ratio, bias = (np.array([float(v) for v in values]) for values in (requant.ratio, requant.bias))
    real = ratio * acc + bias
    return tie_distance(real) / float_error(np.abs(real))
