"""How far a pass moved the output: relative to the spread, so that no bias hides what is lost."""

from __future__ import annotations

import numpy as np
import pytest

from ssmc.verify import moved

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(8, 3), (8, 12, 3), (8,)])
@pytest.mark.parametrize("bias", [0.0, 1000.0])
def test_a_constant_is_one_spread_away_at_best(shape: tuple[int, ...], bias: float) -> None:
    before = RNG.standard_normal(shape) + bias
    mean = before.mean(tuple(range(max(len(shape) - 1, 1))), keepdims=True)
    assert moved(before, np.broadcast_to(mean, shape)) == pytest.approx(1.0)
    assert moved(before, np.full(shape, bias + 0.5)) > 1
    assert moved(before, before) == 0


def test_it_is_the_inverse_of_a_signal_to_noise_ratio() -> None:
    before = RNG.standard_normal((1000, 2)) + 7
    assert moved(before, before + 0.1 * RNG.standard_normal(before.shape)) == pytest.approx(0.1, rel=0.1)


def test_where_nothing_varies_the_magnitude_is_the_measure() -> None:
    four = np.full((8, 2), 4.0)
    assert moved(four, four + 1) == pytest.approx(0.25)
    assert moved(0 * four, four) == float("inf")
    assert moved(0 * four, 0 * four) == 0


def test_axes_of_length_1_hold_nothing_and_other_sizes_are_no_match() -> None:
    before = RNG.standard_normal((8, 1, 3))
    assert moved(before, before[:, 0]) == 0
    assert moved(before, before[:4]) == float("inf")
