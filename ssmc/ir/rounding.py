"""Every rounding to an integer in ssmc: half to even, exact on integers and fractions.

Nothing else rounds codes, except loops that numba, torch or triton compile and that cannot call these functions;
tests/test_rules.py lists those files and looks through all others.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
FloatT = TypeVar("FloatT", bound=np.floating)


def round_half_even(x: ArrayLike) -> FloatArray:
    """Nearest integer of real numbers, ties to even (IEEE 754 roundTiesToEven, ONNX ``Round``)."""
    return np.rint(np.asarray(x, np.float64))


def round_in_place(x: NDArray[FloatT]) -> NDArray[FloatT]:
    """`round_half_even` of a floating-point array in its own precision, written over its argument."""
    np.rint(x, out=x)
    return x


def round_fraction(x: Fraction) -> int:
    """Nearest integer of an exact rational, ties to even."""
    return round(x)


def round_quotient(x: int, divisor: int) -> int:
    """Nearest integer of ``x / divisor`` for integers of any size, ties to even; ``divisor > 0``."""
    floor, rest = divmod(x, divisor)
    return floor + (2 * rest > divisor or (2 * rest == divisor and floor & 1))


#: of a dataclass field that counts places to shift by, and of one where -1 divides instead: the least and the most
PLACES = {"within": (0, 62)}
PLACES_OR_NONE = {"within": (-1, 62)}


def round_shift(x: ArrayLike, shift: ArrayLike) -> IntArray:
    """``round_half_even(x / 2**shift)`` on int64, exact; ``shift >= 0``, ``|x| < 2**62``."""
    x = np.asarray(x, np.int64)
    shift = np.asarray(shift, np.int64)
    floor = x >> shift
    twice_rest = (x - (floor << shift)) << 1
    one = np.int64(1) << shift
    up = (twice_rest > one) | ((twice_rest == one) & ((floor & 1) == 1))
    return np.asarray(floor + up, np.int64)


def round_divide(x: ArrayLike, divisor: ArrayLike) -> IntArray:
    """``round_half_even(x / divisor)`` on int64, exact; ``divisor > 0``, ``|x|, divisor < 2**62``."""
    x = np.asarray(x, np.int64)
    divisor = np.asarray(divisor, np.int64)
    floor = x // divisor
    rest = x - floor * divisor
    up = (rest > divisor - rest) | ((rest == divisor - rest) & ((floor & 1) == 1))
    return np.asarray(floor + up, np.int64)


def bit_length(x: ArrayLike) -> IntArray:
    """Bits of positive integers below 2**62, as ``int.bit_length``."""
    x = np.asarray(x, np.int64)
    guess = np.frexp(x.astype(np.float64))[1].astype(np.int64)  # float64 may round up to the next power of two
    return np.where((np.int64(1) << (guess - 1)) > x, guess - 1, guess)


def isqrt(x: ArrayLike) -> IntArray:
    """``floor(sqrt(x))`` of integers in [0, 2**62), exact."""
    x = np.asarray(x, np.int64)
    root = np.floor(np.sqrt(x.astype(np.float64))).astype(np.int64)
    root = np.where(root * root > x, root - 1, root)
    return np.where((root + 1) * (root + 1) <= x, root + 1, root)


def saturate(x: ArrayLike, lo: ArrayLike, hi: ArrayLike) -> IntArray:
    """Clamp codes to ``[lo, hi]``."""
    return np.clip(np.asarray(x, np.int64), np.asarray(lo, np.int64), np.asarray(hi, np.int64))
