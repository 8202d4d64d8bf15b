"""The fused matrix: discretisation, integer codes, stable poles."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given  # noqa: E402 - after the torch skip
from hypothesis import strategies as st  # noqa: E402

from ssmc.qat.config import QuantConfig  # noqa: E402
from ssmc.qat.kernel import convolution, discretise, quantize_kernel, real_kernel, stable_codes  # noqa: E402
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
    assert torch.equal(w.decay[..., 0, 0], w.decay[..., 1, 1])
    assert torch.equal(w.decay[..., 0, 1], -w.decay[..., 1, 0])
    sigma_out = torch.cat([(scales.state_dac / 2**scales.shift).repeat_interleave(2, 1), scales.y[:, None]], 1)
    omega = ratio * sigma_out
    torch.testing.assert_close(m.b * scales.u, w.b * omega[:, :-1].unflatten(1, (-1, 2)), rtol=0, atol=omega.max() / 2)
    torch.testing.assert_close(m.d * scales.u, w.d * omega[:, -1], rtol=0, atol=omega.max() / 2 + 1e-7)


@given(
    st.floats(-130, 5), st.floats(-130, 130), st.floats(1e-5, 1.9), st.sampled_from([7, 31, 127]),
    st.sampled_from(["delta", "direct"]),
)  # fmt: skip
def test_the_pole_is_stable_and_no_nearer_neighbour_is(real, imag, step, limit, form):
    wanted = torch.tensor([[[real, imag]]], dtype=torch.float64)
    keep = torch.tensor([[float(form == "delta")]])
    chosen = stable_codes(wanted, torch.tensor([[step]], dtype=torch.float64), keep, limit)[0, 0].tolist()
    origin = 1 if form == "delta" else 0
    assert abs(complex(origin + step * chosen[0], step * chosen[1])) < 1
    assert max(abs(c) for c in chosen) <= limit

    def distance(point):
        return (point[0] - real) ** 2 + (point[1] - imag) ** 2

    for offset in itertools.product((-1, 0, 1), repeat=2):
        near = [float(np.clip(round(c) + o, -limit, limit)) for c, o in zip((real, imag), offset, strict=True)]
        if step * (near[0] ** 2 + near[1] ** 2) + (2 * near[0] if form == "delta" else 0) < (
            0 if form == "delta" else 1 / step
        ):
            assert distance(chosen) <= distance(near) + 1e-9


def test_a_mode_with_no_stable_neighbour_still_decays():
    """lambda - 1 so small against the grid that it rounds to zero: the real code becomes -1."""
    chosen = stable_codes(torch.tensor([[[-1e-3, 60.0]]]), torch.tensor([[0.01]]), torch.ones(1, 1), 127)
    assert chosen.tolist() == [[[-1.0, 14.0]]]


def test_gradient_passes_straight_through_the_codes():
    delta, b, c, d = random_ssm(1)
    c = c.clone().requires_grad_()
    w, ratio = quantize_kernel(real_kernel(delta, b, c, d, torch.ones(3, 4)), random_scales(1), QuantConfig())
    (w.c * ratio[:, -1, None, None]).sum().backward()
    sigma = random_scales(1).state_dac / 2.0**-5
    torch.testing.assert_close(c.grad.real, 2 * sigma)
    torch.testing.assert_close(c.grad.imag, -2 * sigma)
