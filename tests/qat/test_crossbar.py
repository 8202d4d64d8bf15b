"""A kernel through every cell of a crossbar: the compiled loops, their torch spelling, and noise."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402 - after the torch skip
from hypothesis import strategies as st  # noqa: E402

from ssmc.qat.columns import Columns, Crossbar  # noqa: E402
from ssmc.qat.compiled import run_compiled  # noqa: E402
from ssmc.qat.converter_noise import draw, key_of  # noqa: E402
from ssmc.qat.crossbar import run_crossbar  # noqa: E402
from ssmc.qat.recurrence import run_loop  # noqa: E402
from tests.qat.cases import layer  # noqa: E402

FORMS = st.sampled_from(["delta", "direct", "mixed"])


def loop(bar, dac_step, keep, ranges, u, *normal):
    state = torch.zeros(u.shape[0], u.shape[2], dac_step.shape[1])
    return run_loop(bar.step(dac_step, keep, ranges, *normal), state, u)[1]


def plain(w, ratio, ranges):
    return Crossbar(w.dense(), Columns.quantizer(ratio, torch.zeros_like(ratio), ranges.adc))


def deviating(seed: int, form="delta", read: bool = False):
    """A crossbar whose cells and converters are all off, with coarser converters of unlike ranges."""
    w, ratio, dac_step, keep, ranges, u = layer(seed, form)
    g = torch.Generator().manual_seed(seed)
    normal = lambda: torch.randn(ratio.shape, generator=g)  # noqa: E731
    coarse = torch.randint(0, 4, ratio.shape, generator=g)
    first = -(1 << (7 - coarse)) + torch.randint(-3, 3, ratio.shape, generator=g)
    columns = Columns(
        ratio / 2**coarse * (1 + 0.1 * normal()),
        1 + 0.1 * normal().abs(),
        0.3 * normal(),
        first.float(),
        first + 2.0 ** (8 - coarse) - 1,
        2.0**coarse * (1 + 0.1 * normal()),
        torch.zeros_like(ratio),
        0.3 * normal(),
        ranges.adc,
    )
    weight = w.dense() + torch.randn(w.dense().shape, generator=g)
    variance = torch.rand(weight.shape, generator=g) if read else None
    return Crossbar(weight, columns, variance, 0.4 if read else 0.0), dac_step, keep, ranges, u


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 500), FORMS)
def test_ideal_cells_and_converters_are_the_kernel_without_them(seed, form):
    w, ratio, dac_step, keep, ranges, u = layer(seed, form)
    bar = plain(w, ratio, ranges)
    expected = run_compiled(w, ratio, dac_step, keep, ranges, u)
    assert torch.equal(run_crossbar(bar, dac_step, keep, ranges, u), expected)
    assert torch.equal(loop(bar, dac_step, keep, ranges, u), expected)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 500), FORMS)
def test_the_compiled_loop_and_its_gradient_are_those_of_the_torch_loop(seed, form):
    bar, dac_step, keep, ranges, u = deviating(seed, form)
    weight = torch.randn(u.shape, generator=torch.Generator().manual_seed(seed))
    found = []
    for run in (loop, run_crossbar):
        leaves = [x.detach().clone().requires_grad_() for x in (bar.weight, bar.columns.ratio, u)]
        columns = Columns(leaves[1], *list(vars(bar.columns).values())[1:])
        y = run(Crossbar(leaves[0], columns), dac_step, keep, ranges, leaves[2])
        (y * weight).sum().backward()
        found.append((y.detach(), [x.grad for x in leaves]))
    if torch.equal(found[0][0], found[1][0]):  # a sum that float32 rounds to a tie may fall on either side
        for expected, actual in zip(found[0][1], found[1][1], strict=True):
            torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max() + 1e-6))
    assert (found[0][0] != found[1][0]).float().mean() < 0.05


def compiled_draws(seed: int, shape):
    noise, step = (np.float32(1), np.uint32(seed)), iter(range(10**6))

    def normal(_):
        k, values = next(step), np.empty(shape, np.float32)
        for h, column in np.ndindex(*shape[1:]):
            key = key_of(noise, h, k, column)
            values[:, h, column] = [draw(key, n) for n in range(shape[0])]
        return torch.from_numpy(values)

    return normal


@pytest.mark.parametrize("seed", range(4))
def test_read_noise_has_the_spread_that_the_drives_give_it(seed):
    bar, dac_step, keep, ranges, u = deviating(seed, read=True)
    torch.manual_seed(seed)
    draws = compiled_draws(int(torch.randint(1 << 32, ())), (u.shape[0], *bar.weight.shape[:2]))
    torch.manual_seed(seed)
    found = run_crossbar(bar, dac_step, keep, ranges, u)
    assert (found != loop(bar, dac_step, keep, ranges, u, draws)).float().mean() < 0.05
    assert not torch.equal(found, run_crossbar(bar, dac_step, keep, ranges, u))
