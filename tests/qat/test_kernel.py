"""The fused matrix: discretisation, integer codes, stable poles."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import assume, example, given  # noqa: E402 - after the torch skip
from hypothesis import strategies as st  # noqa: E402

from ssmc.analysis import stable  # noqa: E402
from ssmc.qat.config import QuantConfig  # noqa: E402
from ssmc.qat.kernel import (  # noqa: E402
    Scales,
    best_spread,
    convolution,
    discretise,
    quantize_kernel,
    real_kernel,
    stable_codes,
)
from ssmc.qat.recurrence import float_step, run_loop  # noqa: E402
from tests.qat.cases import random_scales, random_ssm  # noqa: E402


def test_discretisation_is_the_zero_order_hold():
    log_dt, a_real, a_imag = torch.tensor([-6.0]), torch.tensor([[0.3]]), torch.tensor([[2.0]])
    delta, b = discretise(log_dt, torch.log(a_real), a_imag)
    a, dt = complex(-0.3, 2.0), np.exp(-6.0)
    assert delta.item() == pytest.approx(np.exp(a * dt) - 1, rel=1e-6)
    assert b.item() == pytest.approx((np.exp(a * dt) - 1) / a, rel=1e-6)


@given(st.integers(0, 1000), st.integers(1, 40))
def test_convolution_equals_the_recurrence(seed, length):
    ssm = random_ssm(seed)
    u = torch.randn(2, length, 3, generator=torch.Generator().manual_seed(seed))
    m = real_kernel(*ssm, torch.zeros(3, 4)).dense()
    _, y = run_loop(float_step(m), torch.zeros(2, 3, 8), u)
    torch.testing.assert_close(convolution(*ssm, u), y, atol=2e-4, rtol=1e-3)


def test_delta_matrix_is_the_direct_one_minus_the_identity_on_the_states():
    ssm = random_ssm(0)
    difference = real_kernel(*ssm, torch.zeros(3, 4)).dense() - real_kernel(*ssm, torch.ones(3, 4)).dense()
    expected = torch.diag(torch.tensor([1.0] * 8 + [0.0])).expand(3, 9, 9)
    torch.testing.assert_close(difference, expected)


@given(st.integers(0, 1000), st.sampled_from(["delta", "direct"]), st.sampled_from([3, 4, 8]), st.booleans())
def test_codes_approximate_the_matrix_column_by_column(seed, form, bits, power_of_two):
    scales = random_scales(seed, form)
    m = real_kernel(*random_ssm(seed), scales.keep)
    w, ratio = quantize_kernel(m, scales, QuantConfig(kernel_bits=bits, form=form, power_of_two=power_of_two))
    codes = w.dense()
    assert torch.equal(codes, codes.round())
    assert codes.abs().max() <= 2 ** (bits - 1) - 1
    assert set((w.decay[..., 0, 0] - w.decay[..., 1, 1]).unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(w.decay[..., 0, 1], -w.decay[..., 1, 0])
    sigma_out = torch.cat([(scales.state_dac / 2**scales.shift).repeat_interleave(2, 1), scales.y[:, None]], 1)
    omega = ratio * sigma_out
    torch.testing.assert_close(m.b * scales.u, w.b * omega[:, :-1].unflatten(1, (-1, 2)), rtol=0, atol=omega.max() / 2)
    torch.testing.assert_close(m.d * scales.u, w.d * omega[:, -1], rtol=0, atol=omega.max() / 2 + 1e-7)


def pole_of(point, step, keep):
    """The eigenvalue of the 2x2 block in upper half plane: an independent road to what `poles` says."""
    whole = stable.block(np.array(point))
    values = np.linalg.eigvals(keep * np.eye(2) + step * whole)
    return complex(max(values, key=lambda v: v.imag * np.sign(point[1] or 1)))


@given(
    st.floats(-130, 5), st.floats(-130, 130), st.floats(1e-5, 1.9), st.sampled_from([7, 31, 127]),
    st.sampled_from(["delta", "direct"]),
)  # fmt: skip
@example(0.0, 2.0, 0.25, 7, "delta")  # (-1/2, 2) lies on the circle
def test_the_pole_is_stable_and_no_nearer_neighbour_is(real, imag, step, limit, form):
    wanted = torch.tensor([[[real, imag]]], dtype=torch.float64)
    keep = torch.tensor([[float(form == "delta")]])
    chosen = stable_codes(wanted, torch.tensor([[step]], dtype=torch.float64), keep, limit)[0, 0].tolist()
    origin = float(form == "delta")
    assert abs(pole_of(chosen, step, origin)) < 1
    assert max(abs(c) for c in chosen) <= limit
    aim = origin + step * complex(real, imag)
    room = 1 - abs(aim) ** 2
    assume(abs(room - 1e-6) > 1e-9)

    def distance(point):
        found = pole_of(point, step, origin)
        return abs((found - aim) / (1 - aim * found.conjugate())) if room > 1e-6 else abs(found - aim)

    for a, b in itertools.product((-1, -0.5, 0, 0.5, 1), (-1, 0, 1)):
        near = [float(np.clip(round(c) + o, -limit, limit)) for c, o in ((real, a), (imag, b))]
        if (near[1] or near[0] == round(near[0])) and abs(pole_of(near, step, origin)) < 1 - 1e-9:
            assert distance(chosen) <= distance(near) + 1e-6


def test_mismatch_is_what_the_best_gain_leaves_of_the_response():
    """Against the sum over 4000 steps: |a^k|^2 less its projection on f^k, over |a^k|^2."""
    aim, found = 0.97 * np.exp(0.3j), 0.98 * np.exp(0.28j)
    k = np.arange(4000)
    x, y = aim**k, found**k
    left = 1 - abs(np.vdot(y, x)) ** 2 / (np.vdot(x, x).real * np.vdot(y, y).real)
    for delta in (True, False):
        got = stable.mismatch(np.array(aim - delta), np.array(found - delta), delta)
        assert got == pytest.approx(left, rel=1e-9)


def test_a_wider_grid_brings_slow_modes_of_four_bits_closer():
    """Damping of 1/20 of the turning, less than the least 1/14 of 4 bits, keeps at least half of its energy."""
    aim = 0.02 * (-1 / 20 + 1j)
    m = real_kernel(
        torch.tensor([[aim]]), torch.full((1, 1), 1e-4 + 0j), torch.ones(1, 1) + 0j, torch.ones(1), torch.ones(1, 1)
    )
    one = torch.ones(1, 1)
    scales = Scales(one, one, one, torch.tensor(1.0), torch.ones(1), one)
    config = QuantConfig(kernel_bits=4, power_of_two=False)
    left = []
    for spread in (one, best_spread(m, scales, config)):
        w, ratio = quantize_kernel(m, replace(scales, spread=spread), config)
        grid = ratio[0, 0].item() / 2
        pole = pole_of([w.decay[0, 0].diagonal().mean().item(), w.decay[0, 0, 1, 0].item()], grid, 1.0)
        left.append(float(stable.mismatch(np.array(aim), np.array(pole - 1), True)))
    assert left[1] <= left[0]
    assert left[1] < 0.5


def test_a_mode_with_no_stable_neighbour_still_decays():
    """lambda - 1 so small against the grid that it rounds to zero: the real code becomes -1."""
    chosen = stable_codes(torch.tensor([[[-1e-3, 60.0]]]), torch.tensor([[0.01]]), torch.ones(1, 1), 127)
    assert chosen.tolist() == [[[-1.0, 14.0]]]  # a half goes with no neighbour either


def test_gradient_passes_straight_through_the_codes():
    delta, b, c, d = random_ssm(1)
    c = c.clone().requires_grad_()
    w, ratio = quantize_kernel(real_kernel(delta, b, c, d, torch.ones(3, 4)), random_scales(1), QuantConfig())
    (w.c * ratio[:, -1, None, None]).sum().backward()
    sigma = random_scales(1).state_dac / 2.0**-5
    torch.testing.assert_close(c.grad.real, 2 * sigma)
    torch.testing.assert_close(c.grad.imag, -2 * sigma)
