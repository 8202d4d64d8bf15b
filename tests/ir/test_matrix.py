"""Sums of an integer matrix against Python's integers, where float64 is exact and where it is not."""

from __future__ import annotations

import numpy as np
import pytest

from ssmc.ir.matrix import MANY, Matrix


@pytest.mark.parametrize("bits", [8, 22, 26, 30])
@pytest.mark.parametrize("shape", [(1,), (MANY,), (3, 5)])
@pytest.mark.parametrize("groups", [1, 3])
def test_sums_are_exact(bits: int, shape: tuple[int, ...], groups: int) -> None:
    rng, end = np.random.default_rng(bits), 1 << bits
    codes = rng.integers(-end, end, (groups, 4, 6))
    v = rng.integers(-end, end, (*shape, groups, 6))
    wanted = np.einsum("goi,...gi->...go", codes.astype(object), v.astype(object))
    found = Matrix(codes).product(v)
    assert found.dtype == np.int64
    assert found.tolist() == wanted.tolist()
