"""The sparse matrices against dense ones."""

from __future__ import annotations

import numpy as np
import pytest

from ssmc.ir.sparse import Sparse, stacked


def made(rng: np.random.Generator, rows: int, columns: int, terms: int) -> tuple[Sparse, np.ndarray]:  # type: ignore[type-arg]
    """Random terms, some at one place, some 0, and what they add up to."""
    at = rng.integers(0, rows, terms), rng.integers(0, columns, terms)
    values = rng.integers(-3, 4, terms).astype(np.float64)
    dense = np.zeros((rows, columns))
    np.add.at(dense, at, values)
    return Sparse.of_terms((rows, columns), *at, values), dense


@pytest.mark.parametrize("seed", range(5))
def test_every_operation_is_that_of_the_dense_matrix(seed: int) -> None:
    rng = np.random.default_rng(seed)
    (a, dense_a), (b, dense_b), (c, dense_c) = (made(rng, *shape, 14) for shape in ((4, 5), (4, 5), (5, 3)))
    factor, vector, rows = rng.standard_normal(4), rng.standard_normal(5), rng.integers(0, 4, 7)
    assert (a.to_dense() == dense_a).all()
    assert (a.counts == (dense_a != 0).sum(1)).all()
    assert (a.take(rows).to_dense() == dense_a[rows]).all()
    assert (a.scaled(factor).to_dense() == dense_a * factor[:, None]).all()
    assert (a.plus(b, -1.0).to_dense() == dense_a - dense_b).all()
    assert (a.times(c).to_dense() == dense_a @ dense_c).all()
    assert np.allclose(a.apply(vector), dense_a @ vector, rtol=1e-14)
    below = stacked([a, c.widened(5), Sparse.empty(2)])
    assert (below.to_dense() == np.concatenate([dense_a, np.pad(dense_c, ((0, 0), (0, 2))), np.zeros((2, 5))])).all()


def test_what_cancels_is_no_term_and_order_of_terms_does_not_matter() -> None:
    one = Sparse.of_terms((2, 3), np.array([1, 0, 1]), np.array([2, 1, 2]), np.array([1.0, 4.0, -1.0]))
    assert one.columns.tolist() == [1]
    assert one.values.tolist() == [4.0]
    assert one.starts.tolist() == [0, 1, 1]
