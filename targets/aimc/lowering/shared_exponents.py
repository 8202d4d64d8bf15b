"""Steps 2^e of least squared error for columns that share a converter, without a look at every e.

Two facts leave most e out; the choice is that of a look at all of them:

- Multiples of 2^(e+1) are multiples of 2^e. So the error without a cut grows with e, and no e is better than a smaller
  one whose range holds every code.
- A range of N codes is (N - 1) 2^e long. Of the k-th smallest and the k-th largest of P points, g_k apart, it misses at
  least g_k - (N - 1) 2^e, shared by two, so that the mean squared error is at least

      w / (2 P) sum_k max(g_k - (N - 1) 2^e, 0)^2,      w: the least weight of a point,

  which grows as e falls: an e whose bound is above the least error found, and every smaller one, is not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ssmc.conversion.converter_steps import Columns, best_shared, window_error
from ssmc.hardware.model import Hardware
from ssmc.ir.connectivity import Mask
from ssmc.ir.rounding import FloatArray, IntArray, round_half_even

#: of a bound: float64 rounds both it and the error
SURE = 1 - 1e-9


def shared_exponents(found: Sequence[Columns], sets: IntArray, hw: Hardware) -> IntArray:
    """E of the step 2^e of every column, (pieces, C)."""
    return _Search(found, sets, hw).chosen()


class _Search:
    """Errors (pieces, C, E) of the exponents that were looked at; infinite for the others."""

    def __init__(self, found: Sequence[Columns], sets: IntArray, hw: Hardware) -> None:
        self.found, self.sets, self.hw = found, sets, hw
        widest = max(float((columns.ends[1] - columns.ends[0]).max(initial=0)) for columns in found)
        self.count = max(int(widest).bit_length() - hw.adc.bits, 0) + 2
        names, place = np.unique(sets, return_inverse=True)
        self.place = place.reshape(sets.shape)
        self.least = np.full(len(names), np.inf)
        self.errors = np.full((*sets.shape, self.count), np.inf)

    def chosen(self) -> IntArray:
        """The best of every set."""
        start = self._start()
        self._up(start)
        self._down(start)
        return best_shared(self.errors.reshape(-1, self.count), self.sets.ravel()).reshape(self.sets.shape)

    def _start(self) -> IntArray:
        """Of every set, the first e whose range is as long as what its columns are expected to be."""
        spread = np.stack([np.ptp(columns.points, axis=1) for columns in self.found])
        most = np.zeros(len(self.least))
        np.maximum.at(most, self.place, spread)
        ratio = np.maximum(most / ((1 << self.hw.adc.bits) - 1), 1.0)
        return np.minimum(np.ceil(np.log2(ratio)).astype(np.int64), self.count - 1)

    def _up(self, exponent: IntArray) -> None:
        """From ``exponent`` (sets,), until the range of every column holds its codes."""
        left = np.ones(len(exponent), np.bool_)
        while left.any():
            cut = self._look(exponent, left)
            left &= cut & (exponent < self.count - 1)
            exponent = exponent + left

    def _down(self, exponent: IntArray) -> None:
        """Below ``exponent`` (sets,), while the bound does not exclude it."""
        gaps = [_gaps(columns) for columns in self.found]
        left = exponent > 0
        while left.any():
            exponent = exponent - left
            length = np.exp2(exponent[self.place]) * ((1 << self.hw.adc.bits) - 1)
            bounds = [_bound(columns, *pair) for columns, *pair in zip(self.found, gaps, length, strict=True)]
            left &= self._sum(np.stack(bounds)) * SURE <= self.least
            self._look(exponent, left)
            left &= exponent > 0

    def _look(self, exponent: IntArray, left: Mask) -> Mask:
        """Errors with 2^``exponent`` of the sets that are left; returns where a column is cut."""
        total, cut = np.zeros(self.sets.shape), np.zeros(len(exponent), np.bool_)
        for piece, columns in enumerate(self.found):
            some = np.flatnonzero(left[self.place[piece]])
            if not some.size:
                continue
            mine, at = columns.part(some), exponent[self.place[piece, some]]
            step = np.exp2(at)
            first, error = window_error(mine, step, np.zeros(len(some)), self.hw)
            self.errors[piece, some, at] = total[piece, some] = error
            low, high = (round_half_even(end / step) for end in (mine.points.min(1), mine.points.max(1)))
            beyond = (low < first) | (high >= first + (1 << self.hw.adc.bits))
            cut[self.place[piece, some[beyond]]] = True
        self.least = np.where(left, np.minimum(self.least, self._sum(total)), self.least)
        return cut

    def _sum(self, values: FloatArray) -> FloatArray:
        """Over the columns (pieces, C) of every set."""
        total = np.zeros(len(self.least))
        np.add.at(total, self.place, values)
        return total


def _gaps(columns: Columns) -> FloatArray:
    """The k-th largest less the k-th smallest point, (C, P // 2)."""
    ordered, half = np.sort(columns.points, 1), columns.points.shape[1] // 2
    return np.asarray(ordered[:, ::-1][:, :half] - ordered[:, :half])


def _bound(columns: Columns, gaps: FloatArray, length: FloatArray) -> FloatArray:
    """Least mean squared error (C,) of ranges of this length (C,)."""
    missed = np.maximum(gaps - length[:, None], 0.0)
    weight = columns.weights.min(-1)
    return np.asarray(weight * np.einsum("cp,cp->c", missed, missed) / (2 * columns.points.shape[1]))
