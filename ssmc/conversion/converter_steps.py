"""The steps and ranges of least squared error, for converters that cannot give every sum.

A converter with N codes makes of x, in any unit, the code ``c = clip(round_half_even((x - zero) / step), first,
first + N - 1)``, which stands for ``step c + zero``. Squared errors are averaged over the points that a column is
expected to take and added over the columns that share a step (``adc.step``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from ssmc.conversion.cuts import converter_of, outputs_per_tile
from ssmc.hardware.model import Hardware
from ssmc.ir.connectivity import Mask, cut
from ssmc.ir.rounding import FloatArray, IntArray, round_half_even

WINDOWS = 5
IN_CACHE = 1 << 16  # points
#: times the least error of a step that several blocks can share
SPARE = 1.2
TINY = 1e-300


@dataclass(frozen=True)
class Columns:
    """What C converted columns are expected to be.

    Attributes:
        points: equally likely values, (C, P).
        weights: of a squared error at each point, (P,) or (C, P).
        ends: smallest and largest value that can occur, (C,) each.
        limits: range of the quantizer that follows, (C,) each: beyond it errors do not count; infinite where none does.
    """

    points: FloatArray
    weights: FloatArray
    ends: tuple[FloatArray, FloatArray]
    limits: tuple[FloatArray, FloatArray]

    def error(self, codes: FloatArray, step: FloatArray, zero: FloatArray) -> FloatArray:
        """Mean squared error (C,) of codes (C, P) with ``step`` and ``zero``, (C,) each."""
        gap = codes * step[:, None]
        if zero.any():
            gap += zero[:, None]
        gap = self._within(gap)
        gap -= self.kept
        gap *= gap
        gap *= self.weights
        return np.asarray(gap.mean(-1))

    @cached_property
    def kept(self) -> FloatArray:
        """The points within the limits, (C, P)."""
        return self._within(self.points)

    def is_exact(self, step: FloatArray, zero: FloatArray) -> bool:
        """Whether the nearest code has the least error at every point: steps are powers of two, and nothing is cut."""
        free = all(np.isinf(limit).all() for limit in self.limits)
        return free and not zero.any() and bool((np.frexp(step)[0] == 1 / 2).all())

    def part(self, span: slice | IntArray) -> Columns:
        """Some of them."""
        weights = self.weights if self.weights.ndim == 1 else self.weights[span]
        (low, high), (least, most) = self.ends, self.limits
        return Columns(self.points[span], weights, (low[span], high[span]), (least[span], most[span]))

    def _within(self, values: FloatArray) -> FloatArray:
        """Values (C, P) cut to the limits, where there are any."""
        if all(np.isinf(limit).all() for limit in self.limits):
            return values
        return np.clip(values, *(limit[:, None] for limit in self.limits))


def window_error(columns: Columns, step: FloatArray, zero: FloatArray, hw: Hardware) -> tuple[IntArray, FloatArray]:
    """The first code of the best range, and the error with it, (C,) each, of converters with this step.

    Without a programmable offset the range is the signed or the unsigned one.
    """
    some = max(IN_CACHE // columns.points.shape[1], 1)
    spans = [slice(start, start + some) for start in range(0, max(len(step), 1), some)]
    found = [_window_error(columns.part(span), step[span], zero[span], hw) for span in spans]
    return np.concatenate([first for first, _ in found]), np.concatenate([error for _, error in found])


def _window_error(columns: Columns, step: FloatArray, zero: FloatArray, hw: Hardware) -> tuple[IntArray, FloatArray]:
    """That of so few columns that what is made of their points stays in the cache."""
    levels = 1 << hw.adc.bits
    kept = columns.kept - zero[:, None] if zero.any() else columns.kept
    codes = round_half_even(kept / step[:, None])
    best, least = np.zeros(len(step), np.int64), np.full(len(step), np.inf)
    ends = (codes.min(1), codes.max(1)) if columns.is_exact(step, zero) else None
    left = np.arange(len(step))
    for first in _windows(columns, codes, step, zero, hw):
        whole = len(left) == len(step)
        some, mine = (columns, codes) if whole else (columns.part(left), codes[left])
        low = first[left, None].astype(np.float64)  # faster than a clip to integers
        cut = np.maximum(mine, low)
        np.minimum(cut, low + (levels - 1), out=cut)
        error = some.error(cut, step[left], zero[left])
        better = error < least[left]
        best[left] = np.where(better, first[left], best[left])
        least[left] = np.where(better, error, least[left])
        if ends is not None:  # no range is better than one that holds every code
            left = left[(ends[0][left] < first[left]) | (ends[1][left] >= first[left] + levels)]
            if not left.size:
                break
    return best, least


def _windows(
    columns: Columns, codes: FloatArray, step: FloatArray, zero: FloatArray, hw: Hardware
) -> Iterator[IntArray]:
    """First codes (C,) that are worth a look: around all that can occur where it fits, else across what is expected."""
    levels = 1 << hw.adc.bits
    if not hw.adc.offset:
        yield np.full(len(step), -levels // 2)
        yield np.zeros(len(step), np.int64)
        return
    ends = np.stack([round_half_even((end - zero) / step) for end in columns.ends]).astype(np.int64)
    low, high = ends.min(0), ends.max(0)
    spare = levels - 1 - (high - low)
    lowest, highest = codes.min(1), np.maximum(codes.max(1) - levels + 1, codes.min(1))
    for part in np.linspace(0, 1, WINDOWS) if (spare < 0).any() else (0.0,):
        across = round_half_even(lowest + part * (highest - lowest)).astype(np.int64)
        yield np.where(spare >= 0, low - spare // 2, across)


def best_shared(errors: FloatArray, sets: IntArray) -> IntArray:
    """Which candidate each column takes, (C,): of errors (C, M), the least sum over the columns of its set."""
    total = np.zeros((int(sets.max(initial=0)) + 1, errors.shape[1]))
    np.add.at(total, sets, errors)
    return np.asarray(total.argmin(1)[sets], np.int64)


def fewest_shared(errors: FloatArray, steps: FloatArray, sets: IntArray, live: Mask) -> IntArray:
    """The same with few different steps: blocks share an array only where their converters' steps are equal.

    A set may take any step of at most `SPARE` times its least error. The step that most sets may take is theirs, then
    again of those that are left; of equally many, the one of least error.

    Args:
        errors: of the candidates, (C, M).
        steps: of the candidates, (C, M).
        sets: which columns share a step, (C,).
        live: columns that matter, (C,).
    """
    _, place = np.unique(sets, return_inverse=True)
    total, step = np.zeros((2, int(place.max(initial=0)) + 1, errors.shape[1]))
    np.add.at(total, place[live], errors[live])
    step[place[live]] = steps[live]
    index, least = total.argmin(1), total.min(1, keepdims=True)
    found, kind = np.unique(step, return_inverse=True)
    price = np.full((len(total), len(found)), np.inf)
    np.minimum.at(price, (np.arange(len(total))[:, None], kind.reshape(step.shape)), total / np.maximum(least, TINY))
    left = np.array(sorted(set(place[live].tolist())), np.int64)
    while left.size:
        may = price[left] <= SPARE
        loss = np.where(may, price[left], 0.0).sum(0)
        most = np.lexsort((loss, -may.sum(0)))[0] if may.any() else -1
        taken = left[may[:, most]] if most >= 0 else left[:0]
        for number in taken.tolist():
            index[number] = np.where(step[number] == found[most], total[number], np.inf).argmin()
        left = np.setdiff1d(left, taken) if taken.size else taken
    return np.asarray(index[place], np.int64)


def largest_shared(values: ArrayLike, sets: IntArray) -> FloatArray:
    """The largest value (C,) of any column in the set of each."""
    found = np.asarray(values, np.float64)
    top = np.full(int(sets.max(initial=0)) + 1, -np.inf)
    np.maximum.at(top, sets, found)
    return top[sets]


def same_ratios(ratios: Sequence[object], sets: Sequence[int]) -> bool:
    """Whether columns of one set have one ratio; set -1: columns that do not matter."""
    first: dict[int, object] = {}
    return all(
        first.setdefault(number, ratio) == ratio for ratio, number in zip(ratios, sets, strict=True) if number >= 0
    )


def step_sets(live: Mask, pieces: int, hw: Hardware) -> IntArray:
    """Which columns share a step, as numbers of sets (pieces, groups, outputs): those of one block an array.

    ``live`` (groups, outputs) says which outputs have columns; the others are sets of their own.
    """
    found = np.arange(pieces * live.size).reshape(pieces, *live.shape)
    if hw.adc.step == "per_column":
        return found
    names: dict[tuple[int, int, int], int] = {}
    for group, mask in enumerate(live):
        for start, stop in cut(live, outputs_per_tile(pieces, hw)):
            for local, output in enumerate((start + np.flatnonzero(mask[start:stop])).tolist()):
                for piece in range(pieces):
                    adc = converter_of(local, piece, pieces, hw) if hw.adc.step == "per_adc" else 0
                    number = int(found[piece, group, output])
                    found[piece, group, output] = names.setdefault((group, start, adc), number)
    return found
