"""Steps, modes and stable codes against brute force and closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from ssmc.analysis.stable import mismatch, stable_codes
from ssmc.errors import ModelError, UsageError
from ssmc.quantize import QuantizeConfig
from ssmc.quantize.bases import Kernel
from ssmc.quantize.kernel import quantize_kernel
from ssmc.quantize.modes import to_modes
from ssmc.quantize.steps import best_step, weight_codes
from tests.quantize.floats import stable


def response(A, B, C, D, steps):  # type: ignore[no-untyped-def]
    rows, state = [D], B
    for _ in range(steps - 1):
        rows.append(C @ state)
        state = A @ state
    return np.stack(rows)


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_modes_compute_the_same(n: int) -> None:
    rng = np.random.default_rng(n)
    A = stable(rng, 3, n)
    B, C, D = rng.standard_normal((3, n, 2)), rng.standard_normal((3, 2, n)), rng.standard_normal((3, 2, 2))
    modes = to_modes(A, B, C, D, "k")
    M = modes.dense
    k = 2 * modes.A.shape[1]
    found = response(M[:, :k, :k], M[:, :k, k:], M[:, k:, :k], M[:, k:, k:], 50)
    assert np.allclose(found, response(A, B, C, D, 50), atol=1e-9)
    p, q = modes.A[modes.turning][:, 0, 0], modes.A[modes.turning][:, 1, 0]
    assert np.array_equal(modes.A[modes.turning][:, 0], np.stack([p, -q], -1))


def test_what_is_in_modal_form_stays_as_it_is() -> None:
    A = np.array([[[0.5, -0.25, 0, 0], [0.25, 0.5, 0, 0], [0, 0, 0.9, 0], [0, 0, 0, 0.1]]])
    B = np.arange(4.0).reshape(1, 4, 1)
    modes = to_modes(A, B, B.swapaxes(1, 2), np.zeros((1, 1, 1)), "k")
    assert np.array_equal(modes.dense[0, :4, :4], A[0])
    assert np.array_equal(modes.B.ravel(), B.ravel())
    assert modes.turning.tolist() == [[True, False]]


@pytest.mark.parametrize("A", [[[1.0, 0.0], [0.0, 0.5]], [[0.5, 1.0], [0.0, 0.5]]])
def test_kernels_without_decay_or_without_modes_are_refused(A: list[list[float]]) -> None:
    with pytest.raises(ModelError, match="SSMC-S04"):
        to_modes(np.array([A]), np.ones((1, 2, 1)), np.ones((1, 1, 2)), np.zeros((1, 1, 1)), "k")


@pytest.mark.parametrize("power_of_two", [True, False])
@pytest.mark.parametrize("limits", [(-8, 7), (0, 15), (-128, 127)])
def test_the_step_is_the_best_of_its_candidates(power_of_two: bool, limits: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 3)) * [1, 10, 0] + (3 if limits[0] == 0 else 0)
    x = np.abs(x) if limits[0] == 0 else x
    found = best_step(x, *limits, 1, power_of_two)
    tried = np.exp2(np.arange(-14, 8)) if power_of_two else np.geomspace(2**-12, 2**6, 400)
    for column in range(2):
        error = [((x[:, column] - s * np.clip(np.rint(x[:, column] / s), *limits)) ** 2).sum() for s in tried]
        mine = found[column] * np.clip(np.rint(x[:, column] / found[column]), *limits)
        assert ((x[:, column] - mine) ** 2).sum() <= (1 if power_of_two else 1.1) * min(error) * (1 + 1e-9)
    if limits[0] < 0:
        assert found[2] == 1.0
    if power_of_two:
        assert (np.log2(found) % 1 == 0).all()


def test_ternary_and_binary_weights() -> None:
    weight = np.random.default_rng(1).standard_normal((6, 4))
    codes, _ = weight_codes(weight, 2, 1, False)
    assert set(np.unique(codes)) == {-1, 0, 1}
    codes, step = weight_codes(weight, 1, 1, False)
    assert set(np.unique(codes)) == {-1, 1}
    assert np.allclose(step, np.abs(weight).mean(0))


@pytest.mark.parametrize("delta", [True, False])
def test_stable_codes_are_the_nearest_stable_ones(delta: bool) -> None:
    rng = np.random.default_rng(2)
    g = 2.0 ** rng.integers(-8, -2, 300)
    pole = (1 - 10 ** rng.uniform(-4, -0.5, 300)) * np.exp(1j * rng.uniform(0, 0.4, 300))
    target = (pole - 1 if delta else pole) / g
    wanted = np.stack([target.real, target.imag], -1)
    found = stable_codes(wanted, g, 127, delta)
    for (a, b), w, step in zip(found, wanted, g, strict=True):
        near = [
            (x, y)
            for x in np.arange(-3, 4) + np.rint(w[0])
            for y in np.arange(-3, 4) + np.rint(w[1])
            if max(abs(x), abs(y)) <= 127 and abs((1 if delta else 0) + step * (x + 1j * y)) < 1
        ]
        assert abs((1 if delta else 0) + step * (a + 1j * b)) < 1
        if near and max(np.abs(w)) <= 127:
            aim = step * (w[0] + 1j * w[1])
            left = {(x, y): float(mismatch(aim, np.array(step * (x + 1j * y)), delta)) for x, y in near}
            closest = min(left, key=lambda point: left[point])
            if max(abs(closest - np.rint(w))) <= 2:
                assert left[a, b] == pytest.approx(left[closest])


def test_slow_modes_become_delta_and_fast_ones_direct() -> None:
    slow, fast = 0.999 * np.exp(0.01j), 0.3 * np.exp(2j)
    A = np.zeros((1, 4, 4))
    for k, pole in enumerate((slow, fast)):
        A[0, 2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = [[pole.real, -pole.imag], [pole.imag, pole.real]]
    given = Kernel(A, np.ones((1, 4, 1)), np.ones((1, 1, 4)), np.zeros((1, 1, 1)))
    fed = [np.random.default_rng(0).standard_normal((400, 1, 1))]
    kernel = quantize_kernel(given, fed, np.full((1, 1), 2.0**-5), QuantizeConfig()).kernel
    assert kernel.keep[0, :2].all()
    assert kernel.shift[0, :2].min() > 0


@pytest.mark.parametrize("options", [{"kernel_bits": 1}, {"weight_bits": 17}, {"adc_bits": 13}])
def test_impossible_widths_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="SSMC-U30"):
        QuantizeConfig(**options)  # type: ignore[arg-type]
