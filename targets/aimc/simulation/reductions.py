"""Reductions over time, at the end of a sequence."""

from __future__ import annotations

import numpy as np

from ssmc.ir.rounding import IntArray, round_divide, round_fraction, saturate
from ssmc.targets.aimc.tiles.instructions import Average

LIMIT = 1 << 62


def average(i: Average, total: IntArray, length: IntArray) -> IntArray:
    """Exact ``round_half_even(ratio * total / T)``, (N, size); an empty sequence gives 0."""
    over = np.array([r.numerator for r in i.ratio], object), np.array([r.denominator for r in i.ratio], object)
    largest = max(abs(n) for n in over[0]) * int(np.abs(total).max(initial=0))
    longest = max(over[1]) * int(length.max(initial=0))
    if largest >= LIMIT or longest >= LIMIT:
        return _slow_average(i, total, length)
    numerator, denominator = (x.astype(np.int64) for x in over)
    steps = np.maximum(length, 1)[:, None]
    out = np.where(length[:, None] > 0, round_divide(numerator * total, denominator * steps), 0)
    return saturate(out, i.lo, i.hi)


def _slow_average(i: Average, total: IntArray, length: IntArray) -> IntArray:
    out = np.zeros_like(total)
    for n, steps in enumerate(length.tolist()):
        for c, ratio in enumerate(i.ratio if steps else ()):
            out[n, c] = round_fraction(ratio * int(total[n, c]) / steps)
    return saturate(out, i.lo, i.hi)
