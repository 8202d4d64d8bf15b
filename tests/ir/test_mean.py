"""Means over time are exact, whichever way they are computed."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmc.ir.operations import Last, mean
from ssmc.ir.operations.mean import Mean, exact_mean

ratios = st.builds(Fraction, st.integers(-40, 40), st.integers(1, 64))
rows = st.lists(st.tuples(st.integers(0, 9), st.integers(-500, 500), st.integers(-500, 500)), min_size=1, max_size=6)


@given(ratios, ratios, rows)
def test_integers_equal_fractions(first: Fraction, second: Fraction, samples: list[tuple[int, int, int]]) -> None:
    length, *total = np.array(samples).T
    found = exact_mean((first, second), np.array(total).T, length, -128, 127)
    for row, (steps, *sums) in zip(found.tolist(), samples, strict=True):
        exact = [round(r * s / steps) if steps else 0 for r, s in zip((first, second), sums, strict=True)]
        assert row == [min(max(x, -128), 127) for x in exact]


def test_beyond_64_bits_fractions_take_over(monkeypatch: pytest.MonkeyPatch) -> None:
    total, length = np.array([[(1 << 40) + 1], [7]]), np.array([9, 2])
    expected = exact_mean((Fraction(1, 3),), total, length, -(1 << 40), 1 << 40)
    monkeypatch.setattr(mean, "LIMIT", 1)
    assert (exact_mean((Fraction(1, 3),), total, length, -(1 << 40), 1 << 40) == expected).all()


RATIOS = Fraction(3, 2), Fraction(-1, 7)
REDUCTIONS = {
    "mean": Mean("mean", ("x",), "y", RATIOS, -8, 7),
    "sum": Mean("sum", ("x",), "y", RATIOS, -8, 7, "sum"),
    "last": Last("last", ("x",), "y"),
    "max": Last("max", ("x",), "y", "max", -9),
}


def test_a_sum_is_rounded_once_and_an_empty_one_is_0() -> None:
    op = REDUCTIONS["sum"]
    total, length = np.array([[3, 7], [5, 10], [0, 0]]), np.array([4, 9, 0])
    assert op.finish(total, length).tolist() == [[4, -1], [7, -1], [0, 0]]  # 4.5 to even, 7.5 and its limit


def test_the_largest_code_of_no_step_is_the_lowest() -> None:
    op = REDUCTIONS["max"]
    assert op.finish(np.full((1, 2), op.start), np.zeros(1, np.int64)).tolist() == [[-9, -9]]


@pytest.mark.parametrize("op", REDUCTIONS.values(), ids=REDUCTIONS)
def test_whole_sequences_equal_steps(op: Mean | Last) -> None:
    x = np.random.default_rng(0).integers(-9, 10, (3, 7, 2))
    total = np.full((3, 2), op.start)
    for t in range(x.shape[1]):
        total = op.accumulate(total, x[:, t])
    assert (op.finish(total, np.full(3, 7)) == op.reduce(x)).all()
