"""The linear system of a kernel, its rounding errors and its ranges, against the integers and closed forms."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from scipy.linalg import solve_discrete_lyapunov

from ssmc.analysis.linear import lattice_power, linear_kernel, readout_power
from ssmc.analysis.noise import fewest_adc_bits, lyapunov, observability, output_noise, sqnr_db, with_adc_bits
from ssmc.analysis.observe import observe
from ssmc.analysis.ranges import absolute_sums, typical, worst_case
from ssmc.analysis.run import integers, padded, reference
from ssmc.ir.operations import StateSpace
from ssmc.ir.rounding import IntArray, round_shift
from tests.analysis.kernels import INPUT_TOP, Recipe, random_codes, random_kernel

RECIPE = Recipe("delta", modes=3, bits=8, weight_bits=8, free=False, deviations=5.0, slowest=2.0)


def made(form: str = "delta", seed: int = 3) -> tuple[StateSpace, list[IntArray]]:
    rng = np.random.default_rng(seed)
    recipe = Recipe(**{**RECIPE.__dict__, "form": form})
    sequences = random_codes(rng, "white", recipe.groups, 300, 6)
    op = None
    while op is None:
        op = random_kernel(rng, recipe, sequences)
    return op, sequences


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6, 7, 16])
def test_power_of_rounding_on_a_grid_is_that_of_all_residues(n: int) -> None:
    errors = [Fraction(k, n) - round(Fraction(k, n)) for k in range(2 * n)]
    assert lattice_power(n) == pytest.approx(float(sum(e * e for e in errors) / (2 * n)), abs=1e-15)


@pytest.mark.parametrize("shift", [0, 1, 3])
def test_power_of_the_read_out_is_that_of_all_registers(shift: int) -> None:
    r = np.arange(-(1 << 10), 1 << 10)
    errors = round_shift(r, shift) - r / 2**shift
    assert readout_power(np.array(shift)) == pytest.approx((errors**2).mean(), abs=1e-15)


@pytest.mark.parametrize("form", ["delta", "direct"])
def test_integers_stay_within_the_worst_case_of_the_reference(form: str) -> None:
    """Without saturation the two differ by roundings alone: at most the l1 sums of half steps."""
    op, sequences = made(form)
    kernel = linear_kernel(op)
    zero = np.zeros((len(kernel.A), 1))
    rounding = worst_case(kernel, zero, zero, np.zeros(kernel.inverse.shape))
    for u, lengths in padded(sequences):
        run = reference(kernel, u, lengths, op.register0)
        y = integers(op, u, lengths)
        assert (y > -128).all()
        assert (y < 127).all()
        assert (np.abs(y - run.output) <= (rounding.adc_output + 0.5)[:, None, None] + 1e-9).all()
        assert np.abs(y - run.output).max() > 0.5


def test_the_worst_input_reaches_the_worst_case() -> None:
    op, _ = made()
    kernel = linear_kernel(op)
    steps, end = 4000, np.full((len(kernel.A), 1), float(INPUT_TOP))
    quiet = worst_case(kernel, 0 * end, 0 * end, np.zeros(kernel.inverse.shape)).adc_output
    bound = worst_case(kernel, -end, end, np.zeros(kernel.inverse.shape)).adc_output - quiet
    response = [kernel.D[:, :, 0]]
    state = kernel.B
    for _ in range(steps - 1):
        response.append((kernel.C @ state)[..., 0])
        state = kernel.A @ state
    worst = (INPUT_TOP * np.sign(np.stack(response[::-1]))).astype(np.int64)  # (T, H, 1)
    run = reference(kernel, worst.swapaxes(0, 1)[:, None], np.array([steps]), op.register0)
    assert (run.output[:, 0, -1] <= bound * (1 + 1e-9)).all()
    assert (run.output[:, 0, -1] >= 0.9 * bound).all()


def test_sums_of_a_geometric_series_and_of_what_does_not_decay() -> None:
    one = np.ones((1, 1, 1, 1))

    def outputs(pole: float, gain: float) -> float:
        return float(absolute_sums(pole * one, one, one, one, gain * one).outputs[0, 0, 0])

    assert outputs(0.999, 1.0) == pytest.approx(1000, rel=1e-9)
    assert outputs(-0.5, 3.0) == pytest.approx(6, rel=1e-12)
    assert np.isinf(outputs(1.0, 1.0))


def test_lyapunov_is_that_of_scipy_and_nan_where_unstable() -> None:
    rng = np.random.default_rng(1)
    A = rng.standard_normal((2, 5, 5))
    A *= (0.999 / np.abs(np.linalg.eigvals(A)).max(-1))[:, None, None]
    Q = np.broadcast_to(np.eye(5), A.shape)
    P = lyapunov(A, Q)
    for a, p in zip(A, P, strict=True):
        assert np.allclose(p, solve_discrete_lyapunov(a, np.eye(5)), rtol=1e-8)
    assert np.isnan(lyapunov(1.01 * A, Q)).all()


def test_mean_over_steps_is_the_mean_over_steps() -> None:
    op, _ = made()
    kernel = linear_kernel(op)
    total, count, row = 0.0, 50, kernel.C
    powers = []
    for _ in range(count):
        powers.append(total)
        total = total + row.swapaxes(1, 2) @ row
        row = row @ kernel.A
    mean = np.mean(np.broadcast_arrays(*powers), 0)
    assert np.allclose(observability(kernel.A, kernel.C, count)[:, 0], mean, rtol=1e-6)


def test_typical_range_is_the_measured_deviation() -> None:
    op, _ = made()
    kernel = linear_kernel(op)
    sequences = random_codes(np.random.default_rng(2), "white", len(kernel.A), 4000, 4)
    run = reference(kernel, *next(padded(sequences)), op.register0)
    power = np.stack([u.astype(float) for u in sequences]).var((0, 1))
    found = typical(kernel, power)
    assert np.allclose(found.adc_output, run.output[:, :, 500:].std((1, 2)), rtol=0.15)
    assert np.allclose(found.register * kernel.inverse, run.readout[:, :, 500:].std((1, 2)), rtol=0.15)


def test_one_bit_less_costs_six_decibels_of_converter_noise_and_bits_reach_the_target() -> None:
    op, sequences = made("direct")
    kernel = linear_kernel(op)
    signal = observe(kernel, sequences, op.register0).signal
    now, less = (sqnr_db(signal, output_noise(with_adc_bits(kernel, more)).total) for more in (0, -1))
    assert np.allclose(now - less, 6.02, atol=0.3)
    bits = fewest_adc_bits(kernel, signal, 8, 25.0)
    for group, width in enumerate(bits.astype(int).tolist()):
        reached = [
            sqnr_db(signal, output_noise(with_adc_bits(kernel, b - 8)).total)[group, 0] >= 25
            for b in (width, width - 1)
        ]
        assert reached == [True, False]


def test_weight_noise_is_that_of_noisy_weights() -> None:
    op, sequences = made("direct", seed=5)
    kernel = linear_kernel(op)
    seen = observe(kernel, sequences, op.register0)
    rho = np.array([float(r) for r in op.requant.ratio]).reshape(len(kernel.A), -1)
    gains = rho[:, : op.n_state], rho[:, op.n_state :]
    power = 0.25
    found = output_noise(kernel, seen.steps, power, seen.drive, gains).weights[:, 0]
    rng, errors = np.random.default_rng(7), []
    for u, lengths in padded(sequences * 4):
        run = reference(kernel, u, lengths, op.register0)
        v = np.concatenate([run.readout, u], -1)
        x = np.zeros(run.state[:, :, 0].shape)
        for t in range(u.shape[2]):
            norm = np.linalg.norm(v[:, :, t], axis=-1, keepdims=True) * np.sqrt(power)
            noise = norm * rng.standard_normal((*norm.shape[:2], rho.shape[1])) * rho[:, None]
            errors.append(((x @ kernel.C.swapaxes(1, 2))[..., 0] + noise[..., -1]).T)
            x = x @ kernel.A.swapaxes(1, 2) + noise[..., :-1]
    assert np.allclose(found, np.mean(np.square(np.concatenate(errors)), 0), rtol=0.2)
