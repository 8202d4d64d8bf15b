"""Losses and metrics against their formulas, and what of padded outputs they are given."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ssmc.qat.objective import accuracy, macro_f1, r2, squared_error, steps_of  # noqa: E402


def one_hot(found: list[int], classes: int) -> torch.Tensor:
    return torch.eye(classes)[torch.tensor(found)]


def test_macro_f1_is_the_mean_over_the_classes_that_occur() -> None:
    """Class 0: 2 hits, 3 found, 3 wanted: 4 / 6. Class 1: 1, 2 and 1: 2 / 3. Class 2 never occurs; 3 is not found."""
    target = torch.tensor([0, 0, 0, 1, 3])
    outputs = one_hot([0, 0, 1, 1, 0], 4)
    assert macro_f1(outputs, target) == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert accuracy(outputs, target) == pytest.approx(3 / 5)


def test_r2_is_one_for_the_target_and_zero_for_its_mean() -> None:
    target = torch.from_numpy(np.random.default_rng(0).standard_normal((50, 2)))
    assert r2(target, target) == pytest.approx(1)
    assert r2(target.mean(0).expand(50, 2), target) == pytest.approx(0, abs=1e-12)
    assert float(squared_error(target + 2, target)) == pytest.approx(4)


def test_padded_steps_are_left_out_at_the_rate_of_the_output() -> None:
    outputs, target = torch.arange(12.0).view(2, 3, 2), torch.arange(6).view(2, 3)
    found, wanted = steps_of(outputs, target, torch.tensor([1, 5]), period=2)
    assert wanted.tolist() == [0, 3, 4, 5]
    assert found.tolist() == [[0, 1], [6, 7], [8, 9], [10, 11]]
    with pytest.raises(ValueError, match="give one a step"):
        steps_of(outputs, target[:, :2], None, 1)
