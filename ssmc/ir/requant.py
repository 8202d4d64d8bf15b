"""Requantization: the exact map from an accumulator to a code, realised in integers.

The meaning is real arithmetic: ``q = clip(round_half_even(ratio * acc + offset), lo, hi)`` with exact
rational ``ratio`` and ``offset``. It is monotone in the integer ``acc``, so it is known by its thresholds
``t[q] = min {acc : code(acc) >= q}``; any integer realisation with the same thresholds over the reachable
accumulators is the same function. Three realisations, first that is exact wins:

- *shift*: ``round_shift(M * acc + b, S)`` with the smallest S (semantics.md §2);
- *divide*: ``round_divide(M * acc + b, d)`` (ratio 1/6 with half-even ties has no exact shift);
- *table*: count the thresholds that ``acc`` reaches.

Codes of more than 12 bits that have none get the finest shift that 62 bits hold, within a stated distance
(`ssmc.ir.fixed_point`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssmc.errors import ModelError
from ssmc.ir.fixed_point import LIMIT as LIMIT  # of every accumulator and what is made of it
from ssmc.ir.fixed_point import fixed_point
from ssmc.ir.rounding import (
    PLACES_OR_NONE,
    IntArray,
    bit_length,
    round_divide,
    round_quotient,
    round_shift,
    saturate,
)
from ssmc.ir.thresholds import shift_threshold, shift_thresholds, sign_of, signed_range, thresholds

SEARCHED_LEVELS = 1 << 12
SHORT = 1 << 8
LARGEST_SHIFT = 48
REMEMBERED = 1 << 15

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Requant:
    """Per-output integer requantization, proven equal to the exact rational map, or within ``distance`` of it.

    All arrays have shape (n,), one entry per output.

    Attributes:
        ratio: exact code per accumulator unit.
        bias: exact code at accumulator 0.
        multiplier: M.
        offset: b.
        shift: S, or -1 where ``divisor`` or the table is used.
        divisor: d, or 0 where it is not used.
        thresholds: for rows that need a table, the accumulators at which the code rises from ``lo``.
        lo: smallest code.
        hi: largest code.
        distance: how far the value before rounding may lie from the exact one, in codes: a code differs only so near
            to a tie. 0: the map is proven.
    """

    ratio: tuple[Fraction, ...]
    bias: tuple[Fraction, ...]
    multiplier: IntArray
    offset: IntArray
    shift: IntArray = field(metadata=PLACES_OR_NONE)
    divisor: IntArray
    thresholds: dict[int, IntArray]
    lo: IntArray
    hi: IntArray
    distance: float = 0.0

    def __len__(self) -> int:
        return len(self.ratio)

    @cached_property
    def wires(self) -> int:
        """Outputs whose code is shifted to the left and nothing else: wires, no arithmetic."""
        pairs = zip(self.ratio, self.bias, strict=True)
        return sum(r.denominator == 1 and r.numerator.bit_count() == 1 and r > 0 and not b for r, b in pairs)

    @property
    def kinds(self) -> tuple[str, ...]:
        """``shift``, ``divide`` or ``table`` per output."""
        kinds = np.where(self.shift >= 0, "shift", "divide")
        kinds[list(self.thresholds)] = "table"
        return tuple(kinds.tolist())

    def apply(self, acc: ArrayLike) -> IntArray:
        """Accumulators (..., n) to codes (..., n)."""
        acc = np.asarray(acc, np.int64)
        product = self.multiplier * acc + self.offset
        codes = round_shift(product, np.maximum(self.shift, 0))
        if (self.shift < 0).any():
            codes = np.where(self.shift < 0, round_divide(product, np.maximum(self.divisor, 1)), codes)
        codes = saturate(codes, self.lo, self.hi)
        for row, steps in self.thresholds.items():
            reached = np.searchsorted(steps, sign_of(self.ratio[row]) * acc[..., row], side="right")
            codes[..., row] = self.lo[row] + reached
        return codes

    def apply_groups(self, acc: IntArray) -> IntArray:
        """Accumulators (..., G, out) of a matrix with G * out outputs to codes of the same shape."""
        return self.apply(acc.reshape(*acc.shape[:-2], -1)).reshape(acc.shape)

    def take(self, index: IntArray) -> Requant:
        """The requantization of the outputs ``index`` (k,), in that order; of -1: an output that is always 0."""
        chosen, missing = index.tolist(), index < 0

        def of(values: IntArray) -> IntArray:
            return np.where(missing, 0, values[index])

        return Requant(
            tuple(Fraction(0) if k < 0 else self.ratio[k] for k in chosen),
            tuple(Fraction(0) if k < 0 else self.bias[k] for k in chosen),
            of(self.multiplier),
            of(self.offset),
            of(self.shift),
            of(self.divisor),
            {new: self.thresholds[k] for new, k in enumerate(chosen) if k in self.thresholds},
            of(self.lo),
            of(self.hi),
            self.distance,
        )


def stacked(parts: Sequence[Requant]) -> Requant:
    """The outputs of all parts, one after the other."""

    def joined(name: str) -> IntArray:
        return np.concatenate([np.zeros(0, np.int64), *(getattr(part, name) for part in parts)])

    starts = np.cumsum([0, *map(len, parts)]).tolist()
    return Requant(
        tuple(ratio for part in parts for ratio in part.ratio),
        tuple(bias for part in parts for bias in part.bias),
        joined("multiplier"),
        joined("offset"),
        joined("shift"),
        joined("divisor"),
        {start + row: t for start, part in zip(starts, parts, strict=False) for row, t in part.thresholds.items()},
        joined("lo"),
        joined("hi"),
        max((part.distance for part in parts), default=0.0),
    )


def rescaled(
    requant: Requant, factor: Sequence[Fraction], acc_range: tuple[IntArray, IntArray], node: str = ""
) -> Requant:
    """The same codes from x = f acc, with the factor f = p / q of each output, for x that come of a whole acc.

    ``(M acc + b) / d = (M q x + b p) / (d p)``; where 62 bits do not hold that, realised anew.

    Args:
        requant: of acc.
        factor: f > 0 of every output.
        acc_range: smallest and largest x, (n,) each.
        node: name for error messages.

    Raises:
        ModelError: SSMC-R01 as `make_requant`.
    """
    p, q = (np.array([getattr(f, part) for f in factor], np.int64) for part in ("numerator", "denominator"))
    ratio = tuple(r if f == 1 else r / f for r, f in zip(requant.ratio, factor, strict=True))
    shifts = (requant.shift >= 0) & (p & (p - 1) == 0)
    divisor = np.where(requant.shift >= 0, np.left_shift(1, np.maximum(requant.shift, 0)), requant.divisor) * p
    found = replace(
        requant,
        ratio=ratio,
        multiplier=requant.multiplier * q,
        offset=requant.offset * p,
        shift=np.where(shifts, requant.shift + bit_length(p) - 1, -1),
        divisor=np.where(shifts, 0, divisor),
        thresholds={row: -(-steps * p[row] // q[row]) for row, steps in requant.thresholds.items()},
    )
    reach, top, by = np.maximum(np.abs(acc_range[0]), np.abs(acc_range[1])), p.astype(np.float64), q.astype(np.float64)
    scale = np.where(requant.shift >= 0, np.exp2(requant.shift), requant.divisor)
    room = np.abs(requant.multiplier) * by * reach + (np.abs(requant.offset) + scale) * top
    wide = np.flatnonzero((room >= LIMIT / 4) & (p != q))
    return found if not len(wide) else _renewed(found, wide, acc_range, node)


def _renewed(requant: Requant, rows: IntArray, acc_range: tuple[IntArray, IntArray], node: str) -> Requant:
    """Some rows realised anew."""
    ratio, bias = ([exact[row] for row in rows.tolist()] for exact in (requant.ratio, requant.bias))
    ends = acc_range[0][rows], acc_range[1][rows]
    new = make_requant(ratio, bias, requant.lo[rows], requant.hi[rows], ends, node)
    index = np.arange(len(requant))
    index[rows] = len(requant) + np.arange(len(rows))
    return stacked([requant, new]).take(index)


def make_requant(
    ratio: Sequence[Fraction],
    bias: Sequence[Fraction],
    lo: ArrayLike,
    hi: ArrayLike,
    acc_range: tuple[ArrayLike, ArrayLike],
    node: str = "",
) -> Requant:
    """Find the smallest exact integer realisation of every output, else the finest shift.

    Args:
        ratio: exact code per accumulator unit, one per output.
        bias: exact code at accumulator 0, one per output.
        lo: smallest code, scalar or (n,).
        hi: largest code, scalar or (n,).
        acc_range: smallest and largest reachable accumulator, scalar or (n,).
        node: name for error messages.

    Raises:
        ModelError: SSMC-R01 where codes pass 62-bit integers.
    """
    n = len(ratio)
    los, his = (np.broadcast_to(np.asarray(v, np.int64), (n,)).copy() for v in (lo, hi))
    mins, maxs = (np.broadcast_to(np.asarray(v, np.int64), (n,)) for v in acc_range)
    numbers, done = _short_rows(ratio, bias, np.maximum(np.maximum(np.abs(mins), np.abs(maxs)), 1))
    tables: dict[int, IntArray] = {}
    distance = 0.0
    for row in np.flatnonzero(~done).tolist():
        ends = int(los[row]), int(his[row]), int(mins[row]), int(maxs[row])
        found = _realise(ratio[row], bias[row], *ends)
        if found is None:
            raise too_large(node)
        numbers[row] = found.numbers
        distance = max(distance, found.distance)
        if found.table is not None:
            tables[row] = found.table
    multiplier, offset, shift, divisor = numbers.T.copy()
    return Requant(tuple(ratio), tuple(bias), multiplier, offset, shift, divisor, tables, los, his, distance)


def too_large(node: str) -> ModelError:
    """The error for a sum that has more than 62 bits in units of an output code."""
    return ModelError("SSMC-R01", "a sum passes 62 bits in output codes", "calibrate the quantizers again", node)


def _short_rows(ratio: Sequence[Fraction], bias: Sequence[Fraction], reach: IntArray) -> tuple[IntArray, Mask]:
    """Numbers (n, 4) of the rows that need no search, and which those are: each pair of numbers is looked at once."""
    seen: dict[tuple[int, int], int] = {}
    which = np.array([seen.setdefault((id(r), id(b)), len(seen)) for r, b in zip(ratio, bias, strict=True)], np.int64)
    first = np.unique(which, return_index=True)[1].tolist()
    written = [
        _as_written(ratio[row], bias[row], 1) if _is_short(ratio[row]) and _is_short(bias[row]) else None
        for row in first
    ]
    table = np.array([row.numbers if row else (0, 0, -1, 0) for row in written], np.int64).reshape(-1, 4)
    known = np.array([row is not None for row in written], bool)
    numbers, done = table[which], known[which]
    multiplier, offset, shift, divisor = numbers.T.astype(np.float64)
    room = np.abs(multiplier) * reach + np.abs(offset) + np.where(shift >= 0, np.exp2(shift), divisor)
    return numbers, done & (room < LIMIT / 4)


@dataclass(frozen=True)
class _Row:
    numbers: tuple[int, int, int, int]
    table: IntArray | None = None
    distance: float = 0.0


@lru_cache(maxsize=REMEMBERED)
def _realise(ratio: Fraction, bias: Fraction, lo: int, hi: int, acc_min: int, acc_max: int) -> _Row | None:
    """None where nothing fits; remembered, since every stage of a pipeline reads the same rows again."""
    reach = max(abs(acc_min), abs(acc_max), 1)
    if _is_short(ratio) and _is_short(bias):
        short = _as_written(ratio, bias, reach)
        if short is not None:
            return short
    if hi - lo < SEARCHED_LEVELS:
        exact = thresholds(ratio, bias, lo, hi)
        exact = np.clip(exact, *signed_range(ratio, acc_min, acc_max))
        found = _smallest_shift(ratio, bias, lo, hi, (acc_min, acc_max), exact)
        if found is not None:
            return found
    direct = _as_written(ratio, bias, reach)
    if direct is not None:
        return direct
    if hi - lo < SEARCHED_LEVELS:
        return _Row((0, 0, -1, 0), exact)
    finest = fixed_point([ratio], bias, [(min(acc_min, 0), max(acc_max, 0))])
    if finest is None:
        return None
    return _Row((finest.multiplier[0], finest.offset, finest.shift, 0), None, finest.distance)


def _is_short(value: Fraction) -> bool:
    """A few significant bits over a power of two, such as any ratio of power-of-two scales: no search is needed."""
    power = value.denominator
    return power & (power - 1) == 0 and abs(value.numerator) < SHORT and power <= 1 << 30


def _as_written(ratio: Fraction, bias: Fraction, reach: int) -> _Row | None:
    """The rational map itself, as a shift where the denominator is a power of two, else as a division."""
    d = (ratio.denominator * bias.denominator) // np.gcd.reduce([ratio.denominator, bias.denominator], dtype=object)
    m, b = int(ratio * d), int(bias * d)
    if 2 * (abs(m) * reach + abs(b) + d) >= LIMIT:
        return None
    power = d.bit_length() - 1
    return _Row((m, b, power, 0)) if d == 1 << power else _Row((m, b, -1, d))


def _smallest_shift(
    ratio: Fraction, bias: Fraction, lo: int, hi: int, acc_range: tuple[int, int], exact: IntArray
) -> _Row | None:
    reach = max(abs(acc_range[0]), abs(acc_range[1]), 1)
    signed = signed_range(ratio, *acc_range)
    probes = sorted({0, (hi - lo) // 2, hi - lo - 1} & set(range(hi - lo)))
    q = np.arange(lo + 1, hi + 1, dtype=np.int64)
    for shift in range(LARGEST_SHIFT + 1):
        m = round_quotient(ratio.numerator << shift, ratio.denominator)
        b = round_quotient(bias.numerator << shift, bias.denominator)
        bound = max(abs(m) * reach + abs(b), max(abs(lo), abs(hi)) << (shift + 1)) + (1 << shift)
        if 2 * bound >= LIMIT:
            return None
        if all(shift_threshold(m, b, shift, int(q[i]), signed) == exact[i] for i in probes) and np.array_equal(
            shift_thresholds(m, b, shift, q, signed), exact
        ):
            return _Row((m, b, shift, 0))
    return None
