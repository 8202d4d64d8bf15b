"""Balanced truncation, the weighted error, and fits of few states."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ssmc.analysis.balancing import balance, input_covariance, observability, white_covariance
from ssmc.analysis.descent import descend
from ssmc.analysis.output_error import Weighting, autocorrelation
from ssmc.analysis.pole_fit import PARTS, Blocks, Target, responses
from ssmc.analysis.reduction import Channels, as_blocks, to_order, within

RNG = np.random.default_rng(0)


def coloured(steps: int = 90, channels: int = 3, sequences: int = 4):
    """Sequences (N, T, H) with memory and a mean."""
    return np.cumsum(RNG.standard_normal((sequences, steps, channels)), 1) * 0.1 + 0.2


def modal(poles: list[complex], gains: list[complex], d: float) -> Channels:
    """One channel of complex pairs and real poles, y[k] = sum over pairs of 2 Re(g s), or g s."""
    n = sum(2 if p.imag else 1 for p in map(complex, poles))
    A, B, C, at = np.zeros((n, n)), np.zeros(n), np.zeros(n), 0
    for p, g in zip(map(complex, poles), map(complex, gains), strict=True):
        size = 2 if p.imag else 1
        A[at : at + size, at : at + size] = [[p.real, -p.imag], [p.imag, p.real]] if p.imag else p.real
        B[at], C[at] = 1, 2 * g.real if p.imag else g.real
        if p.imag:
            C[at + 1] = -2 * g.imag
        at += size
    return Channels(A[None], B[None], C[None], np.array([d]))


def simulated(c: Channels, u: np.ndarray) -> np.ndarray:
    """Outputs (N, T, H) step by step."""
    s, y = np.zeros((len(u), *c.B.shape)), []
    for k in range(u.shape[1]):
        y.append((c.C * s).sum(-1) + c.D * u[:, k])
        s = (c.A @ s[..., None])[..., 0] + c.B * u[:, k, :, None]
    return np.stack(y, 1)


def test_the_weighted_error_is_the_power_of_a_simulation():
    u, lags = coloured(), 60
    response = RNG.standard_normal((3, lags)) * 0.9 ** np.arange(lags)
    brute = [sum((np.convolve(response[h], x[:, h]) ** 2).sum() for x in u) / (4 * 90) for h in range(3)]
    found = Weighting(autocorrelation([u[:1], u[1:]], lags)).power(response)
    np.testing.assert_allclose(found, brute, rtol=1e-5)  # the white floor of 1e-6 included


def test_the_covariance_under_an_input_is_that_of_a_simulation():
    one = modal([0.9 * np.exp(0.4j), 0.7], [1, 1], 0)
    taps = np.array([1.0, 0.6, -0.3])  # u = taps * white noise
    r = np.array([[taps[lag:] @ taps[: len(taps) - lag] for lag in range(3)] + [0, 0]])
    found = input_covariance(one.A, one.B[..., None], r)
    states = [one.B[0]]
    for _ in range(300):
        states.append(one.A[0] @ states[-1])
    path = np.stack([np.convolve(row, taps) for row in np.stack(states, 1)])  # of the noise, through both
    np.testing.assert_allclose(found[0], path @ path.T, rtol=1e-9, atol=1e-12)
    white = input_covariance(one.A, one.B[..., None], np.eye(1, 5))
    np.testing.assert_allclose(white, white_covariance(one.A, one.B[..., None]), rtol=1e-12)


def test_balanced_gramians_are_equal_and_diagonal():
    A = RNG.standard_normal((2, 5, 5))
    A *= 0.9 / np.abs(np.linalg.eigvals(A)).max(-1)[:, None, None]
    B, C = RNG.standard_normal((2, 5, 1)), RNG.standard_normal((2, 1, 5))
    P, Q = white_covariance(A, B), observability(A, C)
    made = balance(P, Q)
    for gramian in (made.inverse @ P @ made.inverse.swapaxes(1, 2), made.T.swapaxes(1, 2) @ Q @ made.T):
        np.testing.assert_allclose(gramian, made.hankel[..., None] * np.eye(5), atol=1e-8)
    a, b, c = made.truncated(A, B, C, 5)
    k = np.arange(9)
    same = [[c[i] @ np.linalg.matrix_power(a[i], n) @ b[i] for n in k] for i in (0, 1)]
    wanted = [[C[i] @ np.linalg.matrix_power(A[i], n) @ B[i] for n in k] for i in (0, 1)]
    np.testing.assert_allclose(same, wanted, atol=1e-9)


def test_descent_finds_the_valley_of_rosenbrock():
    def valley(x):
        a, b = x.T
        slope = np.stack([-2 * (1 - a) - 400 * a * (b - a * a), 200 * (b - a * a)], 1)
        return (1 - a) ** 2 + 100 * (b - a * a) ** 2, slope

    x, value = descend(valley, np.array([[-1.2, 1.0], [2.0, -1.0], [1.0, 1.0]]), 200)
    np.testing.assert_allclose(x, 1, atol=1e-4)
    assert (value < 1e-8).all()


def test_the_slope_is_that_of_differences():
    weighting = Weighting(autocorrelation([coloured()], 60))
    target = Target(RNG.standard_normal((3, 60)) * 0.9 ** np.arange(60), weighting)
    turning = np.array([[True, False], [False, False], [True, True]])
    sign = np.array([[[1, 1], [1, -1]], [[1, 1], [1, 0]], [[1, 1], [1, 1]]], float)
    blocks = Blocks(turning, sign, RNG.standard_normal((3, 2, 2)) * 0.3)
    weighted = weighting(target.response)
    *_, slope = target.solved(blocks, weighted)
    for place in np.ndindex(3, 2, 2):
        step = np.zeros((3, 2, 2))
        step[place] = 1e-5
        up, down = (target.solved(replace(blocks, x=blocks.x + s), weighted)[0] for s in (step, -step))
        assert (up - down)[place[0]] / 2e-5 == pytest.approx(slope[place], rel=1e-4, abs=1e-7)


@pytest.mark.parametrize(
    ("poles", "gains"),
    [
        ([0.95 * np.exp(0.3j), 0.6 * np.exp(1.5j)], [1 + 0.5j, -0.7]),
        ([0.9 * np.exp(0.3j), 0.5, 0.97], [0.4, 1, 0.3]),
        ([0.4, 0.7, 0.9, 0.98], [1, 1, 1, 1]),
        ([0.8, -0.6], [1, 0.5]),
        ([0.9], [2]),
    ],
)
def test_a_kernel_of_few_states_is_found_again(poles, gains, monkeypatch):
    """Hidden in a larger one by two modes that nobody reads."""
    monkeypatch.setattr("ssmc.analysis.pole_fit.PARTS", 1e-9)
    order = sum(2 if complex(p).imag else 1 for p in poles)
    one = modal([*poles, 0.3 * np.exp(2j), 0.85], [*gains, 0, 0], 0.25)
    fit = to_order(one, autocorrelation([coloured(channels=1)], 80), order)
    assert fit.error[0] < 1e-5
    assert fit.blocks.orders.tolist() == [order]
    made = (fit.gains[..., None] * responses(fit.blocks, 80)).sum((1, 2))
    made[:, 0] = fit.d
    np.testing.assert_allclose(made, one.response(80), atol=2e-2)


def test_a_fit_under_the_input_beats_one_under_white_noise_on_that_input():
    one = modal([0.97 * np.exp(0.1j), 0.9 * np.exp(2.5j)], [0.3, 1], 0)
    u = coloured(300, 1, 6)
    r = autocorrelation([u], 120)
    weighting = Weighting(r)
    errors = []
    for seen in (r, np.eye(1, 120)):
        fit = to_order(one, seen, 2)
        made = (fit.gains[..., None] * responses(fit.blocks, 120)).sum((1, 2))
        made[:, 0] = fit.d
        errors.append(float(weighting.power(made - one.response(120))[0]))
    assert errors[0] < 0.1 * errors[1]


def test_the_error_of_a_fit_is_that_of_its_simulation():
    channels = modal([0.97 * np.exp(0.1j), 0.9 * np.exp(0.7j), 0.8], [0.3, 1, 0.5], 0.1)
    u = np.pad(coloured(200, 1, 3), ((0, 0), (0, 300), (0, 0)))
    fit = to_order(channels, autocorrelation([u], 500), 2)
    y = simulated(channels, u)
    made = (fit.gains[..., None] * responses(fit.blocks, 500)).sum((1, 2))
    made[:, 0] = fit.d
    z = np.stack([np.convolve(made[0], x[:, 0])[:500] for x in u])[..., None]
    assert ((y - z) ** 2).sum() / (y**2).sum() == pytest.approx(float(fit.error[0]), rel=1e-3)


def test_each_channel_gets_the_order_it_needs():
    parts = [modal([0.9 * np.exp(0.4j), 0.7], [1, 0.5], 0), modal([0.9, 0.1, 0.2], [1, 0, 0], 0.3)]
    silent = modal([0.9, 0.1, 0.2], [0, 0, 0], 0.0)
    three = Channels(*(np.concatenate(x) for x in zip(*(vars(p).values() for p in [*parts, silent]), strict=True)))
    r = autocorrelation([coloured()], 80)
    fit = within(three, r, 0.02, 3)
    assert fit.blocks.orders.tolist() == [3, 1, 0]
    assert (fit.error <= 4e-4).all()


def test_nearly_equal_poles_do_not_fight():
    """t 0.9^t: the gains that fit best are in the hundreds; the parts' power keeps them small."""
    double = Channels(np.array([[[0.9, 1], [0, 0.9]]]), np.array([[0.0, 1]]), np.array([[1.0, 0]]), np.zeros(1))
    fit = to_order(double, np.eye(1, 200), 2)
    parts = fit.gains[..., None] * responses(fit.blocks, 200)
    power = (double.response(200) ** 2).sum()
    assert (parts**2).sum() < 10 * power
    assert fit.error[0] < 5 * PARTS


def test_real_poles_fill_blocks_and_leave_one_place_empty():
    blocks = as_blocks(np.array([[0.5 + 0.2j, 0.9, 0.5 - 0.2j, -0.3, 0.2]]))
    assert blocks.turning.tolist() == [[True, False, False]]
    assert blocks.sign.tolist() == [[[1, 1], [-1, 1], [1, 0]]]
    assert blocks.orders.tolist() == [5]
