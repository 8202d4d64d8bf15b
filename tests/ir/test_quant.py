"""Quantized types and integer grids."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmc.ir.grid import factor_row, factor_rows
from ssmc.ir.operations.reading import real_offsets
from ssmc.ir.operations.sum import fit_sum
from ssmc.ir.quant import QuantType, bits_for


@pytest.mark.parametrize(
    ("lo", "hi", "bits"), [(-128, 127, 8), (-127, 127, 8), (-1, 1, 2), (0, 1, 1), (0, 0, 0), (0, 16, 5)]
)
def test_bits_number_the_codes(lo: int, hi: int, bits: int) -> None:
    assert bits_for(lo, hi) == bits
    assert QuantType(lo, hi, np.ones(())).bits == bits


@given(st.floats(-1e6, 1e6, width=32), st.integers(-6, 6))
def test_quantize_is_divide_round_saturate(x: float, exponent: int) -> None:
    quant = QuantType(-8, 7, np.asarray(2.0**exponent))
    exact = min(max(round(Fraction(x) / Fraction(2.0**exponent)), -8), 7)
    assert int(quant.quantize(x)) == exact
    assert float(quant.dequantize(exact)) == exact * 2.0**exponent


def test_scales_per_channel() -> None:
    quant = QuantType(-8, 7, np.array([1.0, 0.5, 2.0]))
    assert quant.quantize([[3.0, 3.0, 3.0]]).tolist() == [[3, 6, 2]]


@given(st.lists(st.integers(-32767, 32767), min_size=1, max_size=6), st.floats(2.0**-20, 1, width=32))
def test_an_exact_grid_is_found(codes: list[int], gain: float) -> None:
    row = np.array(codes, np.float64) * gain
    found = factor_row(row)
    assert found is not None
    assert np.array_equal(found[0] * found[1], row)
    assert np.abs(found[0]).max(initial=0) <= np.abs(codes).max(initial=0)


@given(st.lists(st.integers(-255, 255), min_size=2, max_size=8), st.floats(2.0**-10, 1, width=32))
def test_a_grid_that_float32_rounded_is_found_and_said_to_be_inexact(codes: list[int], gain: float) -> None:
    row = (np.array(codes, np.float32) * np.float32(gain)).astype(np.float64)
    found = factor_rows(row[None])
    assert found is not None
    snapped, gains, exact = found
    assert np.abs(snapped[0] * gains[0] - row).max() <= 2.0**-21 * np.abs(row).max()
    assert exact == (np.array_equal(snapped[0] * gains[0], row))


def test_float_weights_lie_on_no_grid() -> None:
    assert factor_rows(np.random.default_rng(0).standard_normal((3, 8))) is None


def test_a_row_of_zeros_is_a_grid() -> None:
    found = factor_rows(np.zeros((2, 3)))
    assert found is not None
    assert not found[0].any()
    assert found[2]


@given(st.floats(-100, 100, width=32), st.floats(2.0**-10, 100, width=32))
def test_an_offset_gives_its_constant_back(b: float, step: float) -> None:
    assert float(real_offsets(np.asarray(b / step), np.asarray(step))) == b


@given(st.integers(-255, 255), st.integers(-255, 255), st.integers(0, 8), st.integers(-50, 50))
def test_a_sum_of_dyadic_ratios_is_exact(a: int, b: int, shift: int, c: int) -> None:
    row = (Fraction(a, 1 << shift), Fraction(b, 64), Fraction(c, 4))
    left, right, offset, s, bound = fit_sum(row, (128, 128))
    assert bound == 0
    assert (Fraction(left, 1 << s), Fraction(right, 1 << s), Fraction(offset, 1 << s)) == row


@given(st.floats(0.01, 10), st.floats(0.01, 10), st.floats(-10, 10))
def test_the_bound_of_a_sum_holds(a: float, b: float, c: float) -> None:
    row = (Fraction(a) / 3, Fraction(b) / 7, Fraction(c) / 11)
    left, right, offset, s, bound = fit_sum(row, (128, 64))
    assert bound < 2.0**-20
    for x, y in ((128, 64), (-128, 64), (-128, -64), (17, -3)):
        error = abs(Fraction(left * x + right * y + offset, 1 << s) - (row[0] * x + row[1] * y + row[2]))
        assert error <= Fraction(bound) * (1 + Fraction(1, 1 << 40))


def test_a_weight_that_is_small_beside_the_others_is_not_taken_for_0() -> None:
    assert factor_rows(np.float32([[0.83967, 1.6e11]]).astype(np.float64)) is None
    found = factor_rows(np.float32([[0.1, 0.3, 0.0]]).astype(np.float64))
    assert found is not None
    assert found[0].tolist() == [[1, 3, 0]]


@pytest.mark.parametrize(
    ("lo", "hi", "scale"), [(0, 3, np.nan), (0, 3, 0.0), (0, 3, -1.0), (0, 3, np.inf), (1, 0, 1.0)]
)
def test_no_quantization_has_no_code_or_no_scale(lo: int, hi: int, scale: float) -> None:
    with pytest.raises(ValueError, match="no quantization"):
        QuantType(lo, hi, np.array(scale))
