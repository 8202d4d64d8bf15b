"""Compiled element-wise operations of the simulator on float32 codes (channels, T, L); integers inside, exact."""
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np
from numba import float32, int64

from ssmc.targets.aimc.simulation.gauss import compiled
from ssmc.targets.aimc.simulation.numba_kernels import requantize


@compiled
def look_up(table, lo, x):
    """``table[c or 0, x - lo]``; one input channel and several rows: every row looks up the same code."""
    rows = max(x.shape[0], table.shape[0])
    out = np.empty((rows, *x.shape[1:]), np.float32)
    for c in range(rows):
        row, source = table[min(c, table.shape[0] - 1)], x[min(c, x.shape[0] - 1)]
        for t in range(x.shape[1]):
            for lane in range(x.shape[2]):
                out[c, t, lane] = row[int64(source[t, lane]) - lo]
    return out


@compiled
def multiply(a, b, requant):
    """``requant(a b)``, channel by channel; ``requant``: `loop_arguments.RequantArrays` (channels,)."""
    r = requant
    out = np.empty_like(a)
    active = np.zeros(a.shape[2], np.float32)
    for c in range(a.shape[0]):
        for t in range(a.shape[1]):
            for lane in range(a.shape[2]):
                out[c, t, lane] = a[c, t, lane] * b[c, t, lane]
            requantize(out[c, t], r.multiplier[c], r.offset[c], r.shift[c], r.divisor[c], r.lo[c], r.hi[c], active)
    return out


@compiled
def add(xs, multiplier, offset, shift, lo, hi):
    """``clip(round_half_even((sum_i multiplier_i x_i + offset) / 2^shift), lo, hi)``."""
    out = np.empty_like(xs[0])
    steps, lanes = out.shape[1:]
    total = np.empty(lanes, np.int64)
    for c in range(out.shape[0]):
        for t in range(steps):
            total[:] = offset[c]
            for k in range(len(xs)):
                for lane in range(lanes):
                    total[lane] += multiplier[k, c] * int64(xs[k][c, t, lane])
            for lane in range(lanes):
                floor = total[lane] >> shift[c]
                twice, whole = 2 * (total[lane] - (floor << shift[c])), int64(1) << shift[c]
                floor += int64(twice > whole or (twice == whole and (floor & 1) == 1))
                out[c, t, lane] = float32(min(max(floor, lo[c]), hi[c]))
    return out


@compiled
def total_over_time(x, lengths):
    """Sums over the true steps of every lane: (channels, T, L) to (L, channels)."""
    out = np.zeros((x.shape[2], x.shape[0]), np.int64)
    for c in range(x.shape[0]):
        for t in range(x.shape[1]):
            for lane in range(x.shape[2]):
                out[lane, c] += int64(x[c, t, lane]) * int64(t < lengths[lane])
    return out
