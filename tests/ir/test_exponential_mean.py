"""The exponentially weighted mean: its codes against exact fractions, and what its register can hold."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmc.ir.operations import ExponentialMean


@given(st.integers(1, 12), st.integers(2, 9), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_it_is_within_a_code_of_the_mean_in_fractions(shift: int, bits: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    lo, hi = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    x = rng.choice([lo, hi, *rng.integers(lo, hi + 1, 6)], (1, 80, 1))
    op = ExponentialMean("m", ("x",), "y", shift, 1)
    mean, r, y = Fraction(0), 0, op.whole(x)[0, :, 0].tolist()
    for t, code in enumerate(x[0, :, 0].tolist()):
        mean = Fraction(code) if t == 0 else mean + (code - mean) / 2**shift
        r = code * 2**shift if t == 0 else r + code - round(Fraction(r, 2**shift))
        assert y[t] == round(Fraction(r, 2**shift))
        assert lo << shift <= r <= hi << shift
        assert abs(Fraction(r, 2**shift) - mean) <= Fraction(1, 2)


def test_a_constant_stays_and_a_step_decays_as_its_closed_form() -> None:
    op = ExponentialMean("m", ("x",), "y", 3, 2)
    x = np.array([[100, -7]] + [[0, -7]] * 20)[None]
    y = op.whole(x)[0]
    assert (y[:, 1] == -7).all()
    assert np.abs(y[:, 0] - 100 * (7 / 8) ** np.arange(21)).max() <= 1
