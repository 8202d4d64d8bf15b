"""Averages over time are exact, whichever way they are computed."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmc.targets.aimc.simulation import reductions
from ssmc.targets.aimc.tiles.instructions import Average

ratios = st.builds(Fraction, st.integers(-40, 40), st.integers(1, 64))
rows = st.lists(st.tuples(st.integers(0, 9), st.integers(-500, 500), st.integers(-500, 500)), min_size=1, max_size=6)


@given(ratios, ratios, rows)
def test_fast_equals_fractions(first: Fraction, second: Fraction, samples: list[tuple[int, int, int]]) -> None:
    i = Average("a", (), "m", "a", (first, second), -128, 127)
    length, *total = np.array(samples).T
    found = reductions.average(i, np.array(total).T, length)
    for row, (steps, *sums) in zip(found.tolist(), samples, strict=True):
        exact = [round(r * s / steps) if steps else 0 for r, s in zip((first, second), sums, strict=True)]
        assert row == [min(max(x, -128), 127) for x in exact]


def test_beyond_64_bits_fractions_take_over(monkeypatch: pytest.MonkeyPatch) -> None:
    i = Average("a", (), "m", "a", (Fraction(1, 3),), -(1 << 40), 1 << 40)
    total, length = np.array([[(1 << 40) + 1], [7]]), np.array([9, 2])
    expected = reductions.average(i, total, length)
    monkeypatch.setattr(reductions, "LIMIT", 1)
    assert (reductions.average(i, total, length) == expected).all()
