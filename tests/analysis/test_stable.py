"""Grid points of a mode and the spread of its grid, against eigenvalues and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmc.analysis.stable import best_spread, block, grid_error, mismatch, stable_codes

MODES = 40


def random_modes(seed: int, limit: int, delta: bool, real: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Poles (MODES, P, 2) and inputs (MODES, 2) in units of grids (MODES,) that just hold them."""
    rng = np.random.default_rng(seed)
    size = 1 - 10 ** rng.uniform(-4, -0.5, (MODES, 2 if real else 1))
    pole = size * np.exp(0 if real else 1j * rng.uniform(0.001, 1.5, size.shape))
    aim = pole - delta + 0j
    b = rng.standard_normal((MODES, 2)) * 10 ** rng.uniform(-3, 0, (MODES, 1))
    top = np.maximum(np.maximum(np.abs(aim.real), np.abs(aim.imag)).max(-1), np.abs(b).max(-1))
    step = top / limit
    return np.stack([aim.real, aim.imag], -1) / step[:, None, None], b / step[:, None], step


@given(st.integers(0, 500), st.sampled_from([1, 3, 7, 31]), st.booleans(), st.booleans(), st.booleans())
def test_the_spread_is_never_worse_than_none(
    seed: int, limit: int, delta: bool, real: bool, power_of_two: bool
) -> None:
    wanted, b, step = random_modes(seed, limit, delta, real)
    spread = best_spread(wanted, b, step, limit, delta, power_of_two, halves=not real)
    assert set(spread) <= ({1.0, 2.0} if power_of_two else set(np.exp2(np.arange(17) / 16)))
    before = grid_error(wanted, b, step, limit, delta, halves=not real)
    after = grid_error(
        wanted / spread[:, None, None], b / spread[:, None], step * spread, limit, delta, halves=not real
    )
    assert (after <= before).all()


@given(st.integers(0, 500), st.sampled_from([3, 7]), st.booleans())
def test_grid_error_is_that_of_the_block_that_is_stored(seed: int, limit: int, delta: bool) -> None:
    """The pole from eigenvalues of the integer block, b from its codes."""
    wanted, b, step = random_modes(seed, limit, delta, real=False)
    error = grid_error(wanted, b, step, limit, delta, halves=True, b_share=0.25)
    points = stable_codes(wanted[:, 0], step, limit, delta, halves=True)
    for i, whole in enumerate(block(points)):
        assert (whole == np.round(whole)).all()
        values = np.linalg.eigvals(step[i] * whole + delta * np.eye(2))
        assert np.abs(values).max() < 1
        found = values[np.argmax(values.imag)] - delta
        aim = step[i] * complex(*wanted[i, 0])
        codes = np.rint(b[i])
        off = ((codes - b[i]) ** 2).sum() / (b[i] ** 2).sum()
        expected = float(mismatch(np.array(aim), np.array(found), delta)) + 0.25 * off if codes.any() else np.inf
        assert error[i] == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_two_real_poles_share_a_grid_that_suits_both() -> None:
    """lambda - 1 = -0.06 and -0.20 on a grid of 3 codes: -1 and -3 of 1/15 at best, not -1 and -3 of 0.2."""
    wanted = np.array([[[-0.9, 0.0], [-3.0, 0.0]]])
    b, step = np.array([[3.0, 3.0]]), np.array([0.2 / 3])
    spread = best_spread(wanted, b, step, 3, True, False, halves=False, b_share=0.0)
    assert spread == 1.0
    wanted[0, 0, 0] = -1.5  # -0.1 and -0.2 are -1 and -2 of a grid half as wide again
    spread = best_spread(wanted, b, step, 3, True, False, halves=False, b_share=0.0)
    assert spread == pytest.approx(1.5, rel=0.03)


def test_half_an_odd_diagonal_halves_the_least_damping() -> None:
    """Of b bits the least damping per turning is 1 / (2^(b-1) - 1); blocks [[0, -b], [b, -1]] have about half."""
    limit, step = 7, 1e-3
    wanted = np.array([[-0.5, 7.0]])
    for halves, damping in ((False, -1.0), (True, -0.5)):
        point = stable_codes(wanted, np.array([step]), limit, True, halves)
        assert point.tolist() == [[damping, 7.0]]
    assert block(point).tolist() == [[[0.0, -7.0], [7.0, -1.0]]]
    assert np.linalg.eigvals(block(point)[0]) == pytest.approx([-0.5 + 1j * np.sqrt(48.75), -0.5 - 1j * np.sqrt(48.75)])
