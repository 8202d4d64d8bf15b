"""The kernel step: its equations in integers, the torch loop, the compiled loop and its gradient."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402 - after the torch skip
from hypothesis import strategies as st  # noqa: E402

from ssmc.qat.compiled import run_compiled  # noqa: E402
from ssmc.qat.config import QuantConfig  # noqa: E402
from ssmc.qat.converter_noise import BYTES_STD, draw, key_of  # noqa: E402
from ssmc.qat.kernel import Kernel  # noqa: E402
from ssmc.qat.recurrence import StepRanges, quantized_step, run_loop  # noqa: E402
from tests.qat.cases import layer  # noqa: E402


def loop(w: Kernel, ratio, dac_step, keep, ranges, u, *noise):
    state = torch.zeros(u.shape[0], u.shape[2], 2 * w.b.shape[1])
    return run_loop(quantized_step(w.dense(), ratio, dac_step, keep, ranges, *noise), state, u)[1]


def integer_reference(w, ratio, dac_step, keep, ranges, u):
    """semantics.md §1 in int64 and float64 (powers of two, so every product is exact)."""
    w, ratio, step = w.dense().long().numpy(), ratio.double().numpy(), dac_step.double().numpy()
    u, kept = u.long().numpy(), keep.long().numpy().repeat(2, 1)
    outputs = np.empty(u.shape, np.int64)
    r = np.zeros((u.shape[0], *step.shape), np.int64)
    for k in range(u.shape[1]):
        rows = np.clip(np.rint(r / step), *ranges.dac).astype(np.int64) if ranges.form != "direct" else r
        acc = np.einsum("hji,nhi->nhj", w, np.concatenate([rows, u[:, k, :, None]], -1))
        q = np.clip(np.rint(ratio * acc), *ranges.adc).astype(np.int64)
        r = np.clip(r * kept + q[..., :-1], *ranges.register) if ranges.form != "direct" else q[..., :-1]
        outputs[:, k] = q[..., -1]
    return outputs


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 500), st.sampled_from(["delta", "direct", "mixed"]), st.sampled_from([4, 8]))
def test_all_three_spellings_agree_code_for_code(seed, form, bits):
    case = layer(seed, form, bits)
    reference = integer_reference(*case)
    assert np.array_equal(loop(*case).numpy(), reference)
    assert np.array_equal(run_compiled(*case).numpy(), reference)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 500), st.sampled_from(["delta", "direct", "mixed"]), st.booleans(), st.sampled_from([4, 8]))
def test_the_compiled_gradient_is_the_gradient_of_the_loop(seed, form, power_of_two, bits):
    w, ratio, dac_step, keep, ranges, u = layer(seed, form, bits, power_of_two)
    weight = torch.randn(u.shape, generator=torch.Generator().manual_seed(seed))
    gradients = []
    for run in (loop, run_compiled):
        leaves = [x.detach().clone().requires_grad_() for x in (w.decay, w.b, w.c, w.d, u, ratio)]
        (run(Kernel(*leaves[:4]), leaves[5], dac_step, keep, ranges, leaves[4]) * weight).sum().backward()
        gradients.append([x.grad for x in leaves])
    for expected, actual in zip(*gradients, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max() + 1e-6))


def compiled_draws(seed: int, shape):
    """The draws of the compiled loops, step by step, for sigma = 1 and ``shape`` (N, H, n+1) a step."""
    noise = np.float32(1), np.uint32(seed)
    step = 0

    def normal(_):
        nonlocal step
        values = np.empty(shape, np.float32)
        for h, column in np.ndindex(*shape[1:]):
            key = key_of(noise, h, step, column)
            values[:, h, column] = [draw(key, n) for n in range(shape[0])]
        step += 1
        return torch.from_numpy(values)

    return normal


@pytest.mark.parametrize("form", ["delta", "direct", "mixed"])
@pytest.mark.parametrize("length", [17, 70])
def test_the_gradient_sees_the_converter_noise_of_the_forward_pass(form, length, monkeypatch):
    """Codes equal, gradients alike, with the torch loop given the same draws: across segments too."""
    w, ratio, dac_step, keep, ranges, _ = layer(7, form)
    generator = torch.Generator().manual_seed(0)
    u = torch.randint(-128, 128, (5, length, 3), generator=generator).float()
    weight = torch.randn(u.shape, generator=generator)
    monkeypatch.setattr(torch, "randint", lambda *_: torch.tensor(12345))
    found = []
    for run, noise in (loop, (compiled_draws(12345, (5, 3, ratio.shape[1])),)), (run_compiled, ()):
        leaves = [x.detach().clone().requires_grad_() for x in (w.decay, w.b, w.c, w.d, u, ratio)]
        y = run(Kernel(*leaves[:4]), leaves[5], dac_step, keep, ranges, leaves[4], 0.75, *noise)
        (y * weight).sum().backward()
        found.append((y.detach(), [x.grad for x in leaves]))
    (expected, wanted), (actual, gradients) = found
    assert not torch.equal(expected, loop(w, ratio, dac_step, keep, ranges, u))
    assert torch.equal(actual, expected)
    for theirs, ours in zip(wanted, gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max() + 1e-6))


def test_draws_have_mean_0_variance_1_and_nothing_in_common():
    noise = np.float32(1), np.uint32(99)
    z = np.array(
        [[[draw(key_of(noise, h, k, c), n) for n in range(32)] for c in range(9)] for h in range(8) for k in range(50)]
    )
    count = z.size
    assert abs(z.mean()) < 4 / np.sqrt(count)
    assert abs(z.var() - 1) < 4 * np.sqrt(1.7 / count)  # kurtosis 2.7
    assert abs((z**4).mean() - 2.7) < 0.1
    assert np.abs(z).max() <= 510 / BYTES_STD
    for axis in range(3):
        ahead, behind = np.delete(z, 0, axis), np.delete(z, -1, axis)
        assert abs((ahead * behind).mean()) < 4 / np.sqrt(ahead.size)


@pytest.mark.parametrize("run", [loop, run_compiled])
def test_every_conversion_has_the_noise_before_it_is_rounded(run):
    """Weights all zero but c of one state in direct form: y[k] = rhe(r[k] + e), r[k] = rhe(e'), e and e' of sigma 3."""
    torch.manual_seed(5)
    c = torch.tensor([[[1.0, 0.0]]])
    w = Kernel(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2), c, torch.zeros(1))
    ranges = StepRanges("direct", (-128, 127), (-128, 127), (-128, 127))
    case = w, torch.ones(1, 3), torch.ones(1, 2), torch.zeros(1, 1), ranges, torch.zeros(64, 200, 1)
    y = run(*case, 3.0).double()
    sum_of_two = 2 * 9 + 2 / 12
    assert torch.equal(y, y.round())
    assert abs(float(y[:, 1:].var()) / sum_of_two - 1) < 0.05
    assert abs(float(y[:, 0].mean())) < 3 * 3 / 8  # the state is still zero
    assert abs(float(y.mean())) < 4 * (sum_of_two / y.numel()) ** 0.5
    assert not torch.equal(run(*case, 3.0), y.float())
    assert not run(*case, 0.0).any()


def test_the_register_saturates_instead_of_wrapping():
    w = Kernel(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2), torch.zeros(1, 1, 2), torch.zeros(1))
    ranges = StepRanges("delta", (-8, 7), (-8, 7), (-16, 15))
    step = quantized_step(w.dense(), torch.ones(1, 3), torch.full((1, 2), 2.0), torch.ones(1, 1), ranges)
    last, _ = run_loop(step, torch.zeros(1, 1, 2), torch.full((1, 5, 1), 7.0))
    assert last.tolist() == [[[15.0, 15.0]]]


def test_register_bits_grow_with_the_shift_up_to_24():
    config = QuantConfig(register_headroom=2)
    assert StepRanges.of(config, 5).register == (-(2**14), 2**14 - 1)
    assert StepRanges.of(config, 20).register == (-(2**23), 2**23 - 1)
