"""Least squares of a read-out, in real numbers and in codes, against the rows themselves."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmc.analysis.refit import fitted, rounded, squared_error


def rows(seed: int, groups: int = 3, steps: int = 200, k: int = 5) -> np.ndarray:
    """Correlated codes X (groups, steps, k)."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((groups, k, k))
    return np.rint(20 * rng.standard_normal((groups, steps, k)) @ mixing)


@given(st.integers(0, 300))
def test_the_fit_is_never_worse_on_the_data(seed: int) -> None:
    rng, X = np.random.default_rng(seed), rows(seed)
    y, start = rng.standard_normal((3, 2, 200)), 0.1 * rng.standard_normal((3, 2, 5))
    w = fitted(X.swapaxes(1, 2) @ X, y @ X, start)
    before, after = (((v @ X.swapaxes(1, 2) - y) ** 2).sum(-1) for v in (start, w))
    assert (after <= before * (1 + 1e-12)).all()


def test_the_fit_recovers_a_read_out_and_keeps_what_data_do_not_tell() -> None:
    X = rows(0)
    X[0, :, 3] = 0
    X[1] = 0
    rng = np.random.default_rng(1)
    true, start = (rng.standard_normal((3, 2, 5)) for _ in range(2))
    w = fitted(X.swapaxes(1, 2) @ X, true @ X.swapaxes(1, 2) @ X, start)
    assert np.array_equal(w[1], start[1])
    assert w[0, :, 3] == pytest.approx(start[0, :, 3])
    left = ((w - true) @ X.swapaxes(1, 2))[[0, 2]]
    assert (left**2).sum() < 1e-3 * (((start - true) @ X.swapaxes(1, 2))[[0, 2]] ** 2).sum()


def test_rows_that_do_not_overlap_are_rounded_one_by_one() -> None:
    w = np.random.default_rng(0).standard_normal((4, 2, 6))
    step = np.full((4, 2), 0.3)
    codes = rounded(np.broadcast_to(np.diag([1.0, 5, 2, 9, 3, 4]), (4, 6, 6)), w, step, 7)
    assert np.array_equal(codes, np.clip(np.rint(w / 0.3), -7, 7))


def test_later_codes_make_good_the_errors_of_earlier_ones() -> None:
    """Between rounding one by one and the best of all 7^4 codes, where the rows have much in common."""
    rng = np.random.default_rng(3)
    X = np.rint(20 * (rng.standard_normal((30, 200, 1)) + 0.3 * rng.standard_normal((30, 200, 4))))
    gram, w, step = X.swapaxes(1, 2) @ X, np.random.default_rng(4).uniform(-1, 1, (30, 1, 4)), np.full((30, 1), 0.4)
    alone, chosen = np.clip(np.rint(w / 0.4), -3, 3), rounded(gram, w, step, 3)
    assert np.abs(chosen).max() <= 3
    every = np.array(list(itertools.product(range(-3, 4), repeat=4)), np.float64)
    least = squared_error(gram, 0.4 * every[None] - w).min(-1).sum()
    one_by_one, made_good = (squared_error(gram, 0.4 * codes - w).sum() for codes in (alone, chosen))
    assert least <= made_good < 0.5 * one_by_one
    expected = ((X @ (0.4 * chosen - w).swapaxes(1, 2)) ** 2).sum()
    assert made_good == pytest.approx(expected)
