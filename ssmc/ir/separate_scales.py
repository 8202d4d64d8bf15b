"""Accumulators with scales of their own: the integers that add them up, and how far these are from exact fractions.

A column whose parts have unrelated scales, A x and B u of a recurrence for example, is a sum of accumulators, each with
its own exact ratio to the output code. Where the ratios are small multiples of one fraction, the sum of multiples is an
accumulator of the ordinary kind, and its requantization is proven exact. Elsewhere exact fractions rarely fit 64 bits,
and the integer meaning is (DESIGN §8)

    q = saturate(round_shift(sum_i m_i acc_i + b, S))      m_i = round_half_even(ratio_i 2^S),  b likewise

with the largest S <= 61 that keeps ``max |sum_i m_i acc_i| + |b| < 2^62`` over the reachable accumulators, 0 among
them, so that no partial sum passes it in any order. A code is then the exact one wherever the exact value lies farther
than ``distance`` from a tie.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, reduce
from math import floor, gcd

import numpy as np

from ssmc.errors import ModelError
from ssmc.ir.matrix import Matrix
from ssmc.ir.requant import LIMIT, REMEMBERED, Requant, make_requant, stacked
from ssmc.ir.rounding import FloatArray, IntArray, round_fraction

BITS = 62
GAIN_ERROR = Fraction(1, 1 << 51)  # of a ratio: products of scales are float64 numbers
LARGEST_SHIFT = 61
EXACT_LIMIT = 1 << 56  # sums up to here are tried with an exact requantization

Ends = tuple[int, int]


@dataclass(frozen=True)
class Fit:
    """One row: accumulators times ``multiplier`` are added up, ``requant`` (one output) makes a code of the sum.

    ``requant.distance`` is the largest error of the sum before rounding, in output codes.
    """

    multiplier: tuple[int, ...]
    requant: Requant


def stops_of(gain: FloatArray) -> tuple[int, ...]:
    """Where the parts of the columns end whose weights share a gain (G, out, in) in every row."""
    changes = (gain[..., 1:] != gain[..., :-1]).any((0, 1))
    return (*(np.flatnonzero(changes) + 1).tolist(), gain.shape[2])


@lru_cache(maxsize=REMEMBERED)
def fit_row(ratios: tuple[Fraction, ...], bias: Fraction, reach: tuple[Ends, ...], codes: Ends, node: str = "") -> Fit:
    """The integers of one row.

    Args:
        ratios: exact output codes per unit of each accumulator.
        bias: exact code where all accumulators are 0.
        reach: smallest and largest value of each accumulator.
        codes: smallest and largest output code.
        node: name for error messages.

    Raises:
        ModelError: SSMC-R01 where the sum passes 62 bits even without a fraction.
    """
    ends = [(min(lo, 0), max(hi, 0)) for lo, hi in reach]
    exact = _exact(ratios, bias, ends, codes)
    if exact is not None:
        return exact
    size = sum((abs(r) * max(-lo, hi) for r, (lo, hi) in zip(ratios, ends, strict=True)), abs(bias))
    for shift in range(min(LARGEST_SHIFT, BITS + 1 - floor(size).bit_length()) if size >= 1 else LARGEST_SHIFT, -1, -1):
        multiplier = tuple(round_fraction(ratio * (1 << shift)) for ratio in ratios)
        offset = round_fraction(bias * (1 << shift))
        low, high = _ends(multiplier, ends)
        if max(-low, high, *map(abs, multiplier)) + abs(offset) < LIMIT:
            return Fit(multiplier, _fixed_point(ratios, bias, ends, multiplier, offset, shift, codes))
    fact = f"a sum of accumulators with scales of their own reaches {float(size):.3g} output codes, beyond 62 bits"
    raise ModelError("SSMC-R01", fact, "calibrate the quantizers again", node)


def _exact(ratios: tuple[Fraction, ...], bias: Fraction, ends: list[Ends], codes: Ends) -> Fit | None:
    """Whole multiples of one fraction, where their sum has an exact requantization."""
    common = reduce(_common, ratios)
    if not common:
        return None
    multiplier = tuple(int(ratio / common) for ratio in ratios)
    reach = _ends(multiplier, ends)
    if max(-reach[0], reach[1], *map(abs, multiplier)) >= EXACT_LIMIT:
        return None
    try:
        return Fit(multiplier, make_requant([common], [bias], *codes, reach))
    except ModelError:
        return None


def _common(a: Fraction, b: Fraction) -> Fraction:
    """The largest fraction of which both are whole multiples."""
    return Fraction(gcd(a.numerator * b.denominator, b.numerator * a.denominator), a.denominator * b.denominator)


def _ends(multiplier: tuple[int, ...], ends: list[Ends]) -> Ends:
    """Smallest and largest sum, and any part of it."""
    edges = [sorted((m * lo, m * hi)) for m, (lo, hi) in zip(multiplier, ends, strict=True)]
    return sum(low for low, _ in edges), sum(high for _, high in edges)


def _fixed_point(
    ratios: tuple[Fraction, ...], bias: Fraction, ends: list[Ends], multiplier: tuple[int, ...], offset: int,
    shift: int, codes: Ends,
) -> Requant:  # fmt: skip
    one = 1 << shift
    pairs = zip(ratios, multiplier, strict=True)
    errors = [abs(ratio - Fraction(m, one)) + abs(ratio) * GAIN_ERROR for ratio, m in pairs]
    moved = sum((e * max(-lo, hi) for e, (lo, hi) in zip(errors, ends, strict=True)), abs(bias - Fraction(offset, one)))
    m, b, s, d, lo, hi = (np.array([number], np.int64) for number in (1, offset, shift, 0, *codes))
    return Requant((Fraction(1, one),), (Fraction(offset, one),), m, b, s, d, {}, lo, hi, float(moved))


def add_up(
    codes: IntArray,
    stops: tuple[int, ...],
    ratios: list[tuple[Fraction, ...]],
    bias: tuple[Fraction, ...],
    code_range: tuple[IntArray, IntArray],
    drive: tuple[IntArray, IntArray],
    node: str,
) -> tuple[Matrix, Requant]:
    """A matrix whose accumulators are added up, and the requantization of the sum.

    Args:
        codes: (G, out, in).
        stops: where the columns of each accumulator end.
        ratios: of each accumulator, for every row.
        bias: of every row.
        code_range: smallest and largest output code (G * out,).
        drive: smallest and largest input, each (G, in).
        node: name for error messages.

    Raises:
        ModelError: SSMC-R01.
    """
    spans = [slice(*span) for span in zip((0, *stops), stops, strict=False)]
    reach = [Matrix(codes[..., s]).reach(drive[0][:, s], drive[1][:, s]) for s in spans]
    ends = [list(zip(low.ravel().tolist(), high.ravel().tolist(), strict=True)) for low, high in reach]
    limits = zip(*(end.tolist() for end in code_range), strict=True)
    rows = zip(ratios, bias, zip(*ends, strict=True), limits, strict=True)
    fits = [fit_row(*row, node) for row in rows]
    multiplier = np.array([fit.multiplier for fit in fits], np.int64).reshape(*codes.shape[:2], len(stops))
    return Matrix(codes, (), multiplier, stops), stacked([fit.requant for fit in fits])
