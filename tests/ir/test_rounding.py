"""Rounding to even against rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ssmc.ir.rounding import round_divide, round_fraction, round_half_even, round_quotient, round_shift, saturate

WIDE = (1 << 62) - 1


@given(st.integers(-WIDE, WIDE), st.integers(0, 60))
@example(1, 1)
@example(3, 1)
@example(-1, 1)
@example(-3, 1)
@example(WIDE, 60)
@example(-WIDE, 0)
def test_round_shift_is_the_quotient_rounded_to_even(x: int, shift: int) -> None:
    assert int(round_shift(x, shift)) == round(Fraction(x, 1 << shift))


@given(st.integers(-(1 << 40), 1 << 40), st.integers(1, 60))
def test_round_shift_at_ties(half: int, shift: int) -> None:
    x = (2 * half + 1) << (shift - 1)
    if abs(x) >= 1 << 62:
        return
    result = int(round_shift(x, shift))
    assert result == round(Fraction(2 * half + 1, 2))
    assert result % 2 == 0


@given(st.integers(-WIDE, WIDE), st.integers(1, WIDE))
@example(9, 6)
@example(-9, 6)
@example(15, 6)
@example(WIDE, 2)
@example(-WIDE, WIDE)
def test_round_divide_is_the_quotient_rounded_to_even(x: int, divisor: int) -> None:
    assert int(round_divide(x, divisor)) == round(Fraction(x, divisor))


@given(st.integers(), st.integers(1))
@example(3, 2)
@example(5, 2)
@example(-3, 2)
@example(-1, 2)
def test_round_quotient_is_the_fraction_rounded_to_even(x: int, divisor: int) -> None:
    assert round_quotient(x, divisor) == round_fraction(Fraction(x, divisor))


@given(st.fractions())
def test_round_fraction_lies_within_a_half_and_is_even_at_ties(x: Fraction) -> None:
    result = round_fraction(x)
    assert abs(result - x) <= Fraction(1, 2)
    if abs(result - x) == Fraction(1, 2):
        assert result % 2 == 0


@given(st.floats(-(2.0**52), 2.0**52))
def test_round_half_even_of_floats_is_exact(x: float) -> None:
    assert int(round_half_even(x)) == round(Fraction(x))


@pytest.mark.parametrize(("x", "rounded"), [(0.5, 0), (1.5, 2), (2.5, 2), (-0.5, 0), (-1.5, -2), (-2.5, -2), (3.5, 4)])
def test_ties_go_to_even(x: float, rounded: int) -> None:
    assert round_half_even(x) == rounded
    assert round_shift(int(2 * x), 1) == rounded
    assert round_divide(int(2 * x), 2) == rounded


@given(st.integers(-1000, 1000), st.integers(-100, 100), st.integers(0, 200))
def test_saturate(x: int, lo: int, width: int) -> None:
    assert int(saturate(x, lo, lo + width)) == min(max(x, lo), lo + width)


def test_arrays_keep_their_shape_and_type() -> None:
    x = np.arange(-12, 12).reshape(2, 3, 4)
    for result in (round_shift(x, np.array([0, 1, 2, 3])), round_divide(x, 5), saturate(x, -3, 3)):
        assert result.shape == x.shape
        assert result.dtype == np.int64
