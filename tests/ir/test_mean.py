"""Means over time are exact, whichever way they are computed."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmc.ir.operations import mean
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


def test_whole_sequences_equal_steps() -> None:
    x = np.random.default_rng(0).integers(-9, 10, (3, 7, 2))
    op = Mean("mean", ("x",), "y", (Fraction(3, 2), Fraction(-1, 7)), -8, 7)
    total = np.zeros((3, 2), np.int64)
    for t in range(x.shape[1]):
        total = op.accumulate(total, x[:, t])
    assert (op.finish(total, np.full(3, 7)) == op.reduce(x)).all()
