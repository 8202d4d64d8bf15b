"""Find the integer grid that real constants lie on."""

from __future__ import annotations

from fractions import Fraction
from math import lcm

import numpy as np
from numpy.typing import NDArray

from ssmc.ir.rounding import FloatArray, IntArray, round_half_even

MOST_WEIGHT_BITS = 16
SNAP_CODES = 511
SNAP_ERROR = 2.0**-21
MANTISSA, MOST_BITS = 53, 62
LARGEST = 1 << 20  # above every exponent
LARGEST_CODE = (1 << (MOST_WEIGHT_BITS - 1)) - 1
PRODUCT_BITS = 48  # of a product of two float32 scales
PRODUCT_ERROR = 2.0**-51
MOST_COMMON = 8


def factor_row(row: FloatArray) -> tuple[IntArray, float] | None:
    """Integers w and gain g > 0 with ``row == g * w`` exactly, w of at most 16 bits; None where there are none."""
    codes, gains, found = _factored(row[None])
    return (codes[0], float(gains[0])) if found[0] else None


def _factored(rows: FloatArray) -> tuple[IntArray, FloatArray, NDArray[np.bool_]]:
    """Codes (R, in) and gains (R,) of rows (R, in), and which rows have such.

    Floats are odd integers times powers of two, so their greatest common divisor is exact. A row whose numbers need
    more than 62 bits over a common power of two has no codes of 16 bits and a gain that a float holds.
    """
    mantissa, exponent = np.frexp(rows)
    whole = np.ldexp(mantissa, MANTISSA).astype(np.int64)
    size = np.abs(whole)
    trailing = np.where(size > 0, np.frexp((size & -size).astype(np.float64))[1] - 1, 0)
    power = np.where(size > 0, exponent + trailing, LARGEST)
    low = power.min(1, initial=LARGEST)
    raised = np.where(size > 0, power - low[:, None], 0)
    fits: NDArray[np.bool_] = np.asarray((raised + MANTISSA - trailing <= MOST_BITS).all(1))
    aligned = (whole >> trailing) << np.where(fits[:, None], raised, 0)
    common = np.maximum(np.gcd.reduce(np.abs(aligned), axis=1, initial=0), 1)
    codes = aligned // common[:, None]
    narrow = np.abs(codes).max(1, initial=0) < 1 << (MOST_WEIGHT_BITS - 1)
    zero = ~(size > 0).any(1)
    gains = np.where(zero, 1.0, np.ldexp(common.astype(np.float64), np.where(zero, 0, low - MANTISSA)))
    return codes, gains, fits & narrow


def product_row(row: FloatArray) -> tuple[IntArray, float, bool] | None:
    """Like `factor_row` where the gain is a product of two float32 scales and the multiples were rounded to float64.

    A weight is ``scale code``, which float64 holds exactly, times the scale of the state or input that it multiplies:
    one rounding. Returns codes, gain, and whether that gain gives every value of the row by that same rounding; else
    it is within two float64 roundings. Fractions of 16-bit codes differ by far more, so no other codes do.
    """
    size = np.abs(row)
    top = float(size.max())
    parts = [Fraction(x / top).limit_denominator(LARGEST_CODE).denominator for x in size[size > 0].tolist()]
    code = lcm(*parts)
    if code > LARGEST_CODE:
        return None
    for factor in range(1, min(LARGEST_CODE // code, MOST_COMMON) + 1):  # of the codes, in a row that has one
        gain = _rounded(top / (code * factor))
        codes = round_half_even(row / gain)
        if (gain * codes == row).all():
            return codes.astype(np.int64), gain, True
    gain = top / code
    codes = round_half_even(row / gain)
    close = (np.abs(gain * codes - row) <= PRODUCT_ERROR * size).all()
    return (codes.astype(np.int64), gain, False) if close else None


def _rounded(gain: float) -> float:
    """To the bits of a product of two float32 numbers."""
    mantissa, exponent = np.frexp(gain)
    return float(np.ldexp(round_half_even(np.ldexp(mantissa, PRODUCT_BITS)), exponent - PRODUCT_BITS))


def snap_row(row: FloatArray) -> tuple[IntArray, float] | None:
    """Like `factor_row` for a grid that was rounded to float32: every value within its float32 error of the grid.

    A value that is not 0 is no multiple 0: it counts where the others are multiplied by 0.
    """
    top = float(np.abs(row).max())
    for code in range(1, SNAP_CODES + 1):
        gain = top / code
        codes = round_half_even(row / gain)
        if (np.abs(row / gain - codes) <= np.abs(codes) * SNAP_ERROR).all():
            return codes.astype(np.int64), gain
    return None


def factor_rows(matrix: FloatArray) -> tuple[IntArray, FloatArray, bool] | None:
    """Row-wise grid of a matrix (..., in): integer codes, gains (...,), and whether the grid is exact.

    None where a row lies on no grid of at most 16 bits: the weights are not quantized.
    """
    flat = matrix.reshape(-1, matrix.shape[-1])
    codes, gains, found = _factored(flat)
    for index in np.flatnonzero(~found).tolist():
        product = product_row(flat[index])
        if product is not None:
            codes[index], gains[index], found[index] = product
            continue
        snapped = snap_row(flat[index])
        if snapped is None:
            return None
        codes[index], gains[index] = snapped
    return codes.reshape(matrix.shape), gains.reshape(matrix.shape[:-1]), bool(found.all())


def factor_parts(matrix: FloatArray, stops: tuple[int, ...]) -> tuple[IntArray, FloatArray, bool] | None:
    """Grids of a matrix (..., in) whose columns fall into parts with scales of their own.

    Args:
        matrix: real weights.
        stops: where each part of the columns ends.

    Returns:
        Codes, one gain per weight (..., in), and whether the grids are exact; None where a part of a row lies on no
        grid of at most 16 bits.
    """
    spans = list(zip((0, *stops), stops, strict=False))
    parts = [factor_rows(matrix[..., start:stop]) for start, stop in spans]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    each = np.stack([np.where(codes.any(-1), gain, np.nan) for codes, gain, _ in known], -1)
    other = np.fmax.reduce(each, axis=-1)  # a part without weights takes the gain of another
    each = np.where(np.isnan(each), np.where(np.isnan(other), 1.0, other)[..., None], each)
    gains = np.repeat(each, [stop - start for start, stop in spans], -1)
    return np.concatenate([part[0] for part in known], -1), gains, all(part[2] for part in known)
