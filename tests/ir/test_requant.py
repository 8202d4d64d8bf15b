"""Requantization against rational arithmetic, over every reachable accumulator that matters."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ssmc.errors import ModelError
from ssmc.ir.requant import Requant, make_requant, rescaled
from ssmc.ir.thresholds import thresholds
from tests.strategies import Conversion, conversions


def realise(*rows: Conversion) -> Requant:
    return make_requant(
        [r.ratio for r in rows],
        [r.bias for r in rows],
        [r.lo for r in rows],
        [r.hi for r in rows],
        ([r.acc_min for r in rows], [r.acc_max for r in rows]),
    )


def probes(row: Conversion) -> list[int]:
    """Ends, a sweep, and the accumulators on both sides of where a code changes."""
    span = row.acc_max - row.acc_min
    picked = {row.acc_min, row.acc_max, *range(row.acc_min, row.acc_max + 1, max(span // 200, 1))}
    if row.ratio:
        codes = {row.lo, row.lo + 1, (row.lo + row.hi) // 2, row.hi}
        edges = [(q - Fraction(1, 2) - row.bias) / row.ratio for q in codes]
        picked |= {round(edge) + d for edge in edges for d in (-2, -1, 0, 1, 2)}
    return sorted(acc for acc in picked if row.acc_min <= acc <= row.acc_max)


SIXTH = Conversion(Fraction(1, 6), Fraction(0), -8, 7, -60, 60)


@settings(max_examples=300)
@given(conversions(most_bits=11))
@example(SIXTH)
@example(Conversion(Fraction(-1, 6), Fraction(1, 2), -8, 7, -60, 60))
@example(Conversion(Fraction(0), Fraction(1, 2), 0, 1, -5, 5))
@example(Conversion(Fraction(0), Fraction(3, 2), 0, 1, 0, 0))
@example(Conversion(Fraction(1), Fraction(0), -1, 0, -1, -1))
@example(Conversion(Fraction(1, 2), Fraction(0), 5, 5, -7, 7))
def test_the_integers_are_the_rational_map(row: Conversion) -> None:
    accs = probes(row)
    codes = realise(row).apply(np.array(accs)[:, None])[:, 0]
    assert codes.tolist() == [row.code(acc) for acc in accs]


@settings(max_examples=60)
@given(conversions(most_bits=16))
def test_wide_codes_are_the_rational_map_away_from_ties(row: Conversion) -> None:
    requant = realise(row)
    assert requant.distance == 0 or row.hi - row.lo >= 1 << 12
    for acc in probes(row):
        real = row.ratio * acc + row.bias
        if requant.distance == 0 or abs(abs(real - floor(real)) - Fraction(1, 2)) > requant.distance:
            assert requant.apply([acc]).tolist() == [row.code(acc)]


@settings(max_examples=60)
@given(conversions(most_bits=8), conversions(most_bits=8), conversions(most_bits=3))
def test_rows_do_not_disturb_each_other(first: Conversion, second: Conversion, third: Conversion) -> None:
    rows = (first, second, third)
    together = realise(*rows)
    rng = np.random.default_rng(0)
    accs = np.stack([rng.integers(r.acc_min, r.acc_max + 1, 40) for r in rows], -1)
    apart = np.stack([realise(r).apply(accs[:, i : i + 1])[:, 0] for i, r in enumerate(rows)], -1)
    assert np.array_equal(together.apply(accs), apart)


@settings(max_examples=300)
@given(conversions(most_bits=16), st.integers(1, 127), st.sampled_from([1, 1, 3, 40, 64]))
@example(SIXTH, 3, 1)
@example(Conversion(Fraction(1, 64), Fraction(0), -128, 127, -(1 << 40), 1 << 40), 127, 64)
def test_larger_units_give_the_same_codes(row: Conversion, p: int, q: int) -> None:
    """Of x = p / q acc, wherever that is whole."""
    old, factor = realise(row), Fraction(p, q)
    ends = [np.array([int(factor * end)]) for end in (row.acc_min, row.acc_max)]
    new = rescaled(old, [factor], (ends[0], ends[1]))
    assert new.ratio[0] * factor == row.ratio
    acc = np.unique([acc // factor.denominator * factor.denominator for acc in probes(row)])
    acc = acc[(acc >= row.acc_min) & (acc <= row.acc_max)]
    x = acc // factor.denominator * factor.numerator
    assert np.array_equal(new.apply(x[:, None]), old.apply(acc[:, None]))


def test_a_power_of_two_of_larger_units_is_one_shift_more() -> None:
    old = make_requant([Fraction(3, 8)] * 2, [Fraction(1, 4)] * 2, -8, 7, (-100, 100))
    new = rescaled(old, [Fraction(4), Fraction(3)], (np.full(2, -400), np.full(2, 400)))
    assert new.kinds == ("shift", "divide")
    assert new.shift[0] == old.shift[0] + 2


def test_a_sixth_has_no_shift_and_is_divided() -> None:
    assert realise(SIXTH).kinds == ("divide",)


def test_a_power_of_two_is_one_shift() -> None:
    requant = realise(Conversion(Fraction(3, 16), Fraction(0), -128, 127, -10000, 10000))
    assert requant.kinds == ("shift",)
    assert (int(requant.multiplier[0]), int(requant.shift[0])) == (3, 4)


def test_the_smallest_shift_is_found() -> None:
    """A float32 ratio over few accumulators needs few bits."""
    ratio = Fraction(float(np.float32(0.3))) / Fraction(float(np.float32(0.7)))
    requant = realise(Conversion(ratio, Fraction(0), -8, 7, -20, 20))
    assert requant.kinds == ("shift",)
    assert int(requant.shift[0]) < 10


@pytest.mark.parametrize("sign", [1, -1])
def test_a_table_counts_the_thresholds(sign: int) -> None:
    """Where the accumulators reach so far that neither a multiplication nor a division fits 62 bits."""
    row = Conversion(sign * Fraction(1, 6), Fraction(1, 2), -20, 20, -(1 << 61), 1 << 61)
    requant = realise(row)
    accs = [*range(-150, 151), 1 << 61, -(1 << 61)]
    assert requant.kinds == ("table",)
    assert requant.apply(np.array(accs)[:, None])[:, 0].tolist() == [row.code(acc) for acc in accs]


def test_what_has_no_exact_form_is_the_finest_shift() -> None:
    ratio = Fraction(1, 6) + Fraction(1, (1 << 61) - 1)
    ends, reach = (-(1 << 15), (1 << 15) - 1), (-(1 << 30), 1 << 30)
    requant = make_requant([ratio], [Fraction(0)], *ends, reach)
    shift = int(requant.shift[0])
    assert int(requant.multiplier[0]) == round(ratio * (1 << shift))
    assert int(requant.multiplier[0]) * reach[1] < 1 << 62 <= round(ratio * (2 << shift)) * reach[1]
    assert 0 < requant.distance < Fraction(reach[1], 1 << shift)


def test_what_passes_62_bits_is_refused_by_name() -> None:
    ratio = Fraction(1 << 40, 3)
    with pytest.raises(ModelError, match="calibrate the quantizers again") as caught:
        make_requant([ratio], [Fraction(0)], -(1 << 15), (1 << 15) - 1, (-(1 << 30), 1 << 30), "layers.0.kernel")
    assert (caught.value.code, caught.value.node) == ("SSMC-R01", "layers.0.kernel")
    make_requant([ratio / (1 << 30)], [Fraction(0)], -(1 << 15), (1 << 15) - 1, (-(1 << 30), 1 << 30))


@settings(max_examples=100)
@given(conversions(most_bits=6))
def test_thresholds_are_where_the_code_rises(row: Conversion) -> None:
    if row.ratio == 0:
        return
    sign = 1 if row.ratio > 0 else -1
    for q, threshold in zip(
        range(row.lo + 1, row.hi + 1), thresholds(row.ratio, row.bias, row.lo, row.hi), strict=True
    ):
        assert row.code(sign * int(threshold)) >= q
        assert row.code(sign * (int(threshold) - 1)) < q


def test_take_reorders_every_realisation_and_fills_up_with_zero() -> None:
    ratios = [Fraction(1, 2), Fraction(1, 6), Fraction(10**9 + 7, 10**21 + 3)]
    whole = make_requant(ratios, [Fraction(1, 3)] * 3, -2, 1, (-(10**13), 10**13))
    assert whole.kinds == ("shift", "divide", "table")
    index = np.array([2, -1, 0, 1, 2])
    taken = whole.take(index)
    acc = np.random.default_rng(0).integers(-(10**13), 10**13, (50, 3))
    acc[:20] %= 16
    expected = np.where(index < 0, 0, whole.apply(acc)[:, index])
    assert (taken.apply(acc[:, index]) == expected).all()


def test_groups_are_requantized_as_one_row() -> None:
    whole = make_requant([Fraction(1, 2)] * 6, [Fraction(k) for k in range(6)], -99, 99, (-100, 100))
    acc = np.arange(24).reshape(4, 2, 3)
    assert (whole.apply_groups(acc).reshape(4, 6) == whole.apply(acc.reshape(4, 6))).all()
