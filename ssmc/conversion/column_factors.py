"""By which whole number the cells of a column hold its codes, so that what is wrong about cells weighs least.

A column of codes w_i can be written as k w_i where its converter counts steps k times as large: the code is

    round(ratio acc + bias) = round((ratio / k) (k acc) + bias),    acc = sum_i w_i v_i

exactly as before. What is wrong about the cells is not k times as large. With e(d)^2 the mean squared error of the
cells of digit d, in levels (`digit_errors`), and rows driven alike, the column's error in codes of its quantizer is

    E(k) = (ratio / k)^2 sum_i e(k w_i)^2        (per squared drive)

and k is the smallest number with the least E of those with k max |w_i| <= the largest digit. Columns whose converters
share a step and have equal ratios keep them equal: they share k, of the least sum. A column that is cut to slices keeps
its codes (docs/design/0014).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from math import gcd, lcm

import numpy as np

from ssmc.conversion.converter_steps import same_ratios, step_sets
from ssmc.conversion.cuts import slice_gains
from ssmc.hardware.components import Cell
from ssmc.hardware.conductances import NoiseModel, moments, noise_of
from ssmc.hardware.model import Hardware
from ssmc.ir.connectivity import live_columns, live_rows
from ssmc.ir.rounding import FloatArray, IntArray

EQUAL = 1 + 1e-9
#: factors that are weighed at most: of cells of thousands of levels, that many of even distance
MOST_TRIES = 256


def digit_errors(hw: Hardware) -> FloatArray:
    """Mean squared error of the cells of digits -D..D, in levels: writing them, and reading them once.

    Of a pair of cells g+ and g-, or of a cell and that of the offset column. Every step of a training asks for them,
    and they depend on cells and noise alone: they are kept, and not to be written to.
    """
    return _digit_errors(hw.cell, noise_of(hw))


@lru_cache(maxsize=64)
def _digit_errors(cell: Cell, noise: NoiseModel) -> FloatArray:
    digits = np.arange(-cell.largest_digit, cell.largest_digit + 1, dtype=np.float64)
    pair = cell.scheme == "differential_columns"
    zero = np.full_like(digits, cell.largest_digit)
    levels = (np.maximum(digits, 0), np.maximum(-digits, 0)) if pair else (digits + zero, zero)
    (plus, one), (minus, other) = (moments(each, cell, noise) for each in levels)
    found = np.asarray((plus - minus - digits) ** 2 + one + other)
    found.setflags(write=False)
    return found


@dataclass(frozen=True)
class Factors:
    """What the columns of codes (G, out, in) could be multiplied by.

    Attributes:
        codes: the codes; columns without any take 1.
        ratio: codes of the quantizer that follows per accumulator unit, (C,), C = G out.
        sets: which columns' converters share a step, (C,).
        hw: the cells.
    """

    codes: IntArray
    ratio: Sequence[Fraction | float]
    sets: IntArray
    hw: Hardware

    @classmethod
    def of(cls, codes: IntArray, ratio: Sequence[Fraction | float], hw: Hardware) -> Factors:
        """Of a matrix whose columns share steps as the hardware says."""
        return cls(codes, ratio, step_sets(live_columns(codes), 1, hw).ravel(), hw)

    @cached_property
    def most(self) -> IntArray:
        """The largest factor of every column (C,) that its cells hold."""
        top = np.abs(self.codes).max(-1, initial=0).ravel()
        whole = len(slice_gains(self.codes, self.hw)) == 1
        return np.where((top > 0) & np.array(whole), self.hw.largest_digit // np.maximum(top, 1), 1)

    @cached_property
    def tries(self) -> IntArray:
        """The factors that are weighed, ascending from 1."""
        return _evenly(int(self.most.max(initial=1)))

    @cached_property
    def errors(self) -> FloatArray:
        """E(k) without the ratio, (C, K) for k in `tries`; infinite where the cells do not hold k times the codes."""
        return self._errors(np.arange(len(self.most)), self.tries)

    def _errors(self, columns: IntArray, tries: IntArray) -> FloatArray:
        """Of some columns, (len(columns), len(tries)); ``tries`` (K,), or (len(columns), K)."""
        tries = np.broadcast_to(tries, (len(columns), tries.shape[-1]))
        flat = self.codes.reshape(-1, self.codes.shape[-1])[columns]
        driven = np.repeat(live_rows(self.codes), self.codes.shape[1], 0)[columns]
        most = self.most[columns]
        found = np.where(tries == 1, 0.0, np.inf)  # where there is no choice
        if most.max(initial=1) == 1:
            return found
        each, middle = digit_errors(self.hw), self.hw.largest_digit
        for at in range(tries.shape[1]):
            rows = np.flatnonzero(most >= np.maximum(tries[:, at], 2))
            k = tries[rows, at, None]
            found[rows, at] = (each[k * flat[rows] + middle] * driven[rows]).sum(-1) / k[:, 0] ** 2
        return found

    @property
    def own(self) -> IntArray:
        """Each column for itself, (C,)."""
        return self.tries[_least(self.errors)]

    @property
    def common(self) -> IntArray:
        """One for all columns that share a step, (C,): their steps stay in the proportion that they have."""
        live = live_columns(self.codes).ravel()
        weighted = np.array([float(r) for r in self.ratio])[:, None] ** 2 * self.errors
        total = np.zeros((int(self.sets.max(initial=0)) + 1, weighted.shape[1]))
        beyond = np.isinf(self.errors)
        np.add.at(total, self.sets[live], np.where(beyond, 0.0, weighted)[live])
        closed = np.zeros(total.shape, np.bool_)
        np.logical_or.at(closed, self.sets[live], beyond[live])
        return np.where(live, self.tries[_least(np.where(closed, np.inf, total))][self.sets], 1)

    @property
    def freely(self) -> IntArray:
        """Each column for itself, unless ratios are equal that a shared step needs equal, (C,)."""
        sets = np.where(live_columns(self.codes).ravel(), self.sets, -1)
        return self.common if same_ratios(self.ratio, sets.tolist()) else self.own

    @property
    def alike(self) -> IntArray | None:
        """Such that columns that share a step have equal ratios (C,); None where no factors do that."""
        if len(set(self.sets.tolist())) == len(self.sets):
            return self.own
        members: dict[int, list[int]] = {}
        for column in np.flatnonzero(live_columns(self.codes)).tolist():
            members.setdefault(int(self.sets[column]), []).append(column)
        found = np.ones(len(self.sets), np.int64)
        for columns in members.values():
            factors = self._alike(columns)
            if factors is None:
                return None
            found[columns] = factors
        return found

    def _alike(self, columns: list[int]) -> IntArray | None:
        """Of one set: multiples of ratio / greatest common divisor of the ratios."""
        each = [Fraction(self.ratio[column]) for column in columns]
        if min(each) <= 0:
            return None if len(set(each)) > 1 else np.ones(len(each), np.int64)
        shared = Fraction(gcd(*(r.numerator for r in each)), lcm(*(r.denominator for r in each)))
        times = np.array([min(int(r / shared), 1 << 40) for r in each])
        largest = int((self.most[columns] // times).min())
        if largest < 1:
            return None
        tries = _evenly(largest)
        errors = self._errors(np.array(columns), tries * times[:, None])
        weighted = errors * np.array(each, np.float64)[:, None] ** 2
        return np.asarray(times * tries[_least(weighted.sum(0, keepdims=True))[0]])


def _evenly(largest: int) -> IntArray:
    """The whole numbers 1 to ``largest``, or `MOST_TRIES` of them, evenly spread, with both ends."""
    spread = np.linspace(1, largest, min(largest, MOST_TRIES)).astype(np.int64)
    return np.array(sorted(set(spread.tolist())), np.int64)


def multiplied(codes: IntArray, factor: Sequence[Fraction]) -> IntArray:
    """Codes (G, out, in) of which every column is multiplied by its factor, (G * out); the products are whole."""
    over = (np.array([getattr(one, part) for one in factor]) for part in ("numerator", "denominator"))
    top, bottom = (part.reshape(*codes.shape[:2], 1) for part in over)
    return np.asarray(codes * top // bottom, np.int64)


def _least(errors: FloatArray) -> IntArray:
    """Index of the first of each row (.., K) that is nearly the least."""
    return np.asarray((errors <= errors.min(-1, keepdims=True) * EQUAL).argmax(-1), np.int64)
