"""Thresholds of a requantization: the accumulators at which the code rises."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from ssmc.ir.fixed_point import LIMIT
from ssmc.ir.rounding import IntArray, round_fraction


def sign_of(ratio: Fraction) -> int:
    """-1 where the code falls as the accumulator rises, else 1."""
    return -1 if ratio < 0 else 1


def signed_range(ratio: Fraction, acc_min: int, acc_max: int) -> tuple[int, int]:
    """Reachable ``sign(ratio) * acc``, with one more for "never reached"."""
    return (acc_min, acc_max + 1) if ratio >= 0 else (-acc_max, -acc_min + 1)


def thresholds(ratio: Fraction, bias: Fraction, lo: int, hi: int) -> IntArray:
    """Smallest ``a = sign(ratio) * acc`` whose code is at least q, for q = lo+1 .. hi.

    ``code >= q`` iff ``|ratio| a + bias > q - 1/2``, or equal to it where q is even (ties go to even).
    """
    if ratio == 0:
        return np.array([_constant_threshold(bias, q) for q in range(lo + 1, hi + 1)], np.int64)
    # With |ratio| = m/n and 2 n bias = whole + part, 0 <= part < 1: |ratio| a + bias >= q - 1/2 where
    # 2 m a >= (2q - 1) n - whole - part. Without a part both sides are integers, and equal at a tie.
    m, n = abs(ratio.numerator), ratio.denominator
    whole, part = divmod(2 * n * bias.numerator, bias.denominator)
    q = np.arange(lo + 1, hi + 1, dtype=np.int64)
    most = (2 * max(abs(lo), abs(hi)) + 1) * n + abs(whole)
    small = max(most, 2 * m) < LIMIT
    right = (2 * q - 1) * n - whole if small else np.array([(2 * i - 1) * n - whole for i in q.tolist()], object)
    least = -(-right // (2 * m))
    tie = (right % (2 * m) == 0) & (q % 2 == 1) if not part else np.zeros(len(q), bool)
    return np.asarray(np.clip(least + tie, -LIMIT, LIMIT), np.int64)


def _constant_threshold(bias: Fraction, q: int) -> int:
    return -LIMIT if round_fraction(bias) >= q else LIMIT


def shift_thresholds(m: int, b: int, shift: int, q: IntArray, signed: tuple[int, int]) -> IntArray:
    """Thresholds of ``round_shift(m * acc + b, shift)`` in the same signed accumulator, clipped to its range."""
    need = ((2 * q - 1) << (shift - 1)) - b + (q & 1) if shift else q - b
    if m == 0:
        return np.where(need <= 0, signed[0], signed[1])
    return np.clip(-((-need) // abs(m)), *signed)


def shift_threshold(m: int, b: int, shift: int, q: int, signed: tuple[int, int]) -> int:
    """One entry of `shift_thresholds` in Python integers: a cheap first look."""
    need = ((2 * q - 1) << (shift - 1)) - b + (q & 1) if shift else q - b
    if m == 0:
        return signed[0] if need <= 0 else signed[1]
    return max(signed[0], min(signed[1], -((-need) // abs(m))))
