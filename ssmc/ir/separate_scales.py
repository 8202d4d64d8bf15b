"""Accumulators with scales of their own: the integers that add them up.

A column whose parts have unrelated scales, A x and B u of a recurrence for example, is a sum of accumulators, each with
its own exact ratio to the output code. Where the ratios are small multiples of one fraction, the sum of multiples is an
accumulator of the ordinary kind, and its requantization is proven exact. Elsewhere the meaning is that of
`ssmc.ir.fixed_point`, and the requantization of the sum is the shift.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, reduce
from math import gcd

import numpy as np

from ssmc.ir.fixed_point import Ends, fixed_point, largest_sum, sum_ends
from ssmc.ir.matrix import Matrix
from ssmc.ir.requant import REMEMBERED, Requant, make_requant, stacked, too_large
from ssmc.ir.rounding import FloatArray, IntArray

EXACT_LIMIT = 1 << 56  # sums up to here are tried with an exact requantization


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
    found = fixed_point(ratios, bias, ends)
    if found is None:
        raise too_large(node)
    one = 1 << found.shift
    m, b, s, d, lo, hi = (np.array([n], np.int64) for n in (1, found.offset, found.shift, 0, *codes))
    ratio, offset = (Fraction(1, one),), (Fraction(found.offset, one),)
    return Fit(found.multiplier, Requant(ratio, offset, m, b, s, d, {}, lo, hi, found.distance))


def _exact(ratios: tuple[Fraction, ...], bias: Fraction, ends: list[Ends], codes: Ends) -> Fit | None:
    """Whole multiples of one fraction, where their sum has an exact requantization."""
    common = reduce(_common, ratios)
    if not common:
        return None
    multiplier = tuple(int(ratio / common) for ratio in ratios)
    if largest_sum(multiplier, ends) >= EXACT_LIMIT:
        return None
    requant = make_requant([common], [bias], *codes, sum_ends(multiplier, ends))
    return Fit(multiplier, requant) if not requant.distance else None


def _common(a: Fraction, b: Fraction) -> Fraction:
    """The largest fraction of which both are whole multiples."""
    return Fraction(gcd(a.numerator * b.denominator, b.numerator * a.denominator), a.denominator * b.denominator)


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
