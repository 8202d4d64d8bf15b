"""Sums of accumulators with ratios that no 64-bit fraction holds: the finest fixed-point numbers that fit.

The integer meaning of such a sum (semantics.md §2) is ``round_shift(sum_i m_i acc_i + b, S)`` with
``m_i = round_half_even(ratio_i 2^S)``, b likewise, and the largest S <= 61 that keeps
``max |sum_i m_i acc_i| + |b| < 2^62`` over the reachable accumulators, 0 among them: no partial sum passes it, in any
order. Its value lies within ``distance`` of the exact one, so that a code differs only so near to a tie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor

from ssmc.ir.rounding import round_fraction

BITS = 62
LIMIT = 1 << BITS
LARGEST_SHIFT = 61
GAIN_ERROR = Fraction(1, 1 << 51)  # of a ratio: products of scales are float64 numbers

Ends = tuple[int, int]


@dataclass(frozen=True)
class FixedPoint:
    """``round_shift(sum_i multiplier_i acc_i + offset, shift)``; ``distance`` of its value from the exact, in codes."""

    multiplier: tuple[int, ...]
    offset: int
    shift: int
    distance: float


def fixed_point(ratios: Sequence[Fraction], bias: Fraction, reach: Sequence[Ends]) -> FixedPoint | None:
    """The finest numbers for one sum; None where it passes 62 bits even without a fraction.

    Args:
        ratios: exact output codes per unit of each accumulator.
        bias: exact code where all accumulators are 0.
        reach: smallest and largest value of each accumulator, 0 between them.
    """
    farthest = [max(-lo, hi) for lo, hi in reach]
    size = floor(sum((abs(r) * far for r, far in zip(ratios, farthest, strict=True)), abs(bias)))
    for shift in range(min(LARGEST_SHIFT, BITS + 1 - size.bit_length()), -1, -1):
        one = 1 << shift
        multiplier = tuple(round_fraction(ratio * one) for ratio in ratios)
        offset = round_fraction(bias * one)
        if largest_sum(multiplier, reach) + abs(offset) >= LIMIT:
            continue
        pairs = zip(ratios, multiplier, strict=True)
        errors = [abs(ratio - Fraction(m, one)) + abs(ratio) * GAIN_ERROR for ratio, m in pairs]
        moved = sum((e * far for e, far in zip(errors, farthest, strict=True)), abs(bias - Fraction(offset, one)))
        return FixedPoint(multiplier, offset, shift, float(moved))
    return None


def sum_ends(multiplier: Sequence[int], reach: Sequence[Ends]) -> Ends:
    """Smallest and largest sum, and any part of it."""
    edges = [sorted((m * lo, m * hi)) for m, (lo, hi) in zip(multiplier, reach, strict=True)]
    return sum(low for low, _ in edges), sum(high for _, high in edges)


def largest_sum(multiplier: Sequence[int], reach: Sequence[Ends]) -> int:
    """Largest absolute value of the sum, of any part of it, and of the multipliers themselves."""
    low, high = sum_ends(multiplier, reach)
    return max(-low, high, *map(abs, multiplier))
