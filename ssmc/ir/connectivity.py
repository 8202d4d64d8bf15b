"""Which rows and columns of an integer matrix hold a code: decided here, for simulator, cost, metrics, mapping and C.

A column without a code adds up nothing: what follows it sees its constant, the requantized bias, and no converter has
to find that out. A row without a code drives nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ssmc.ir.rounding import IntArray

Mask = NDArray[np.bool_]


def live_columns(codes: IntArray) -> Mask:
    """Outputs (.., out) of codes (.., out, in) that some input reaches."""
    return np.asarray((codes != 0).any(-1))


def live_rows(codes: IntArray) -> Mask:
    """Inputs (.., in) of codes (.., out, in) that reach some output."""
    return np.asarray((codes != 0).any(-2))


def cut(live: Mask, most: int) -> tuple[tuple[int, int], ...]:
    """Ranges (start, stop) of an axis, the same for all groups, as long as no group has more than ``most`` live in one.

    Args:
        live: (groups, n).
        most: at least 1.
    """
    size, counts = live.shape[1], np.cumsum(live, 1, np.int64)
    before: IntArray = np.zeros(len(live), np.int64)
    found, start = [], 0
    while start < size:
        over = np.flatnonzero((counts[:, start:] - before[:, None] > most).any(0))
        stop = start + int(over[0]) if len(over) else size
        found.append((start, stop))
        start, before = stop, counts[:, stop - 1]
    return tuple(found)


def on_paths(between: Mask, driven: Mask, read: Mask) -> Mask:
    """States (G, n) on a path from an input to an output.

    Args:
        between: (G, to, from), whether a state feeds another.
        driven: (G, n), what an input feeds.
        read: (G, n), what an output reads.
    """
    return np.logical_and(_closure(driven, between), _closure(read, between.swapaxes(1, 2)))


def _closure(seed: Mask, edges: Mask) -> Mask:
    """States reached from ``seed`` (G, n) along ``edges`` (G, to, from)."""
    reached = seed
    for _ in range(seed.shape[1]):
        grown = reached | (edges & reached[:, None, :]).any(-1)
        if (grown == reached).all():
            break
        reached = grown
    return reached
