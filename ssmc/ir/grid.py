"""Find the integer grid that real constants lie on."""

from __future__ import annotations

from math import gcd

import numpy as np

from ssmc.ir.rounding import FloatArray, IntArray, round_half_even

MOST_WEIGHT_BITS = 16
SNAP_CODES = 511
SNAP_ERROR = 2.0**-21


def factor_row(row: FloatArray) -> tuple[IntArray, float] | None:
    """Integers w and gain g > 0 with ``row == g * w`` exactly, w of at most 16 bits; None where there are none.

    Floats are dyadic rationals, so their greatest common divisor is exact: ``g = gcd(mantissas) * 2**exponent``.
    """
    values = row[row != 0.0]
    if not values.size:
        return np.zeros(row.shape, np.int64), 1.0
    mantissa, exponent = np.frexp(values)
    whole = [int(m) for m in (mantissa * 2.0**53).astype(np.int64)]
    low = int(exponent.min())
    aligned = [m << (int(e) - low) for m, e in zip(whole, exponent, strict=True)]
    common = gcd(*aligned)
    if max(abs(a) for a in aligned) // common >= 1 << (MOST_WEIGHT_BITS - 1):
        return None
    codes = np.zeros(row.shape, np.int64)
    codes[row != 0.0] = [a // common for a in aligned]
    return codes, float(np.ldexp(float(common), low - 53))


def snap_row(row: FloatArray) -> tuple[IntArray, float] | None:
    """Like `factor_row` for a grid that was rounded to float32: every value within float32 error of the grid."""
    top = float(np.abs(row).max())
    for code in range(1, SNAP_CODES + 1):
        gain = top / code
        codes = round_half_even(row / gain)
        if np.abs(row / gain - codes).max() <= code * SNAP_ERROR:
            return codes.astype(np.int64), gain
    return None


def factor_rows(matrix: FloatArray) -> tuple[IntArray, FloatArray, bool] | None:
    """Row-wise grid of a matrix (..., in): integer codes, gains (...,), and whether the grid is exact.

    None where a row lies on no grid of at most 16 bits: the weights are not quantized.
    """
    flat = matrix.reshape(-1, matrix.shape[-1])
    codes = np.zeros(flat.shape, np.int64)
    gains = np.ones(len(flat))
    exact = True
    for index, row in enumerate(flat):
        found = factor_row(row)
        if found is None:
            found, exact = snap_row(row), False
        if found is None:
            return None
        codes[index], gains[index] = found
    return codes.reshape(matrix.shape), gains.reshape(matrix.shape[:-1]), exact
