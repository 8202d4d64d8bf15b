"""What is computed by blocks and by eigenvalues is what the definitions give step by step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from ssmc.analysis import kernels, observe
from ssmc.analysis.blocks import Blocks, components
from ssmc.analysis.linear import LinearKernel, linear_kernel, poles
from ssmc.analysis.noise import observability, output_noise, power_at_output
from ssmc.analysis.ranges import typical, worst_case
from ssmc.analysis.run import driven, time_last, times
from ssmc.ir.program import Codes, Program
from ssmc.ir.quant import QuantType
from tests.analysis import definitions
from tests.analysis.kernels import Recipe, random_codes, random_kernel

SHAPES = ["pairs", "shuffled", "dense", "uneven", "parallel"]
GROUPS, STATES, OUTPUTS = 5, 6, 2


def coupled(shape: str, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which states act on which."""
    on = np.zeros((GROUPS, STATES, STATES), bool)
    sizes = {"dense": [6], "uneven": [1, 3, 2]}.get(shape, [2, 2, 2])
    start = 0
    for size in sizes:
        on[:, start : start + size, start : start + size] = True
        start += size
    if shape == "shuffled":
        for group in on:
            order = rng.permutation(STATES)
            group[:] = group[np.ix_(order, order)]
    return on


def made(shape: str, seed: int = 0) -> LinearKernel:
    """A stable kernel with two outputs; ``parallel``: with eigenvectors that are nearly parallel."""
    rng = np.random.default_rng(seed)
    on = coupled(shape, rng)
    A = rng.standard_normal(on.shape) * on
    A *= (rng.uniform(0.7, 0.99, GROUPS) / np.abs(np.linalg.eigvals(A)).max(-1))[:, None, None]
    if shape == "parallel":
        A[:, :2, :2] = np.array([[0.9, 0.3], [0.0, 0.9 + 1e-9]])
    op = None
    recipe = Recipe("delta", modes=3, bits=8, weight_bits=8, free=False, deviations=5.0, slowest=2.0, groups=GROUPS)
    while op is None:
        op = random_kernel(rng, recipe, random_codes(rng, "white", GROUPS, 50, 2))
    kernel = linear_kernel(op)
    C, F = rng.standard_normal((2, GROUPS, OUTPUTS, STATES))
    wide = {name: np.repeat(getattr(kernel, name), OUTPUTS, 1) for name in ("D", "bias_output", "output_power")}
    G = (A - np.eye(STATES)) / kernel.inverse[:, None, :]
    return replace(kernel, A=A, G=G, C=C, F=F, bias_state=rng.standard_normal(kernel.bias_state.shape), **wide)


def test_components_are_those_of_scipy() -> None:
    rng = np.random.default_rng(3)
    for n in range(1, 9):
        edges = rng.random((20, n, n)) < rng.choice([0.05, 0.2])
        expected = [connected_components(group, directed=False)[1] for group in edges]
        assert (components(edges) == np.stack(expected)).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_blocks_hold_all_that_is_coupled(shape: str) -> None:
    rng = np.random.default_rng(1)
    on = coupled(shape, rng)
    blocks = Blocks.of(on)
    assert blocks.size == {"dense": 6, "uneven": 3}.get(shape, 2)
    matrix, x = rng.standard_normal(on.shape) * on, rng.standard_normal((GROUPS, STATES, 2, 3))
    assert (blocks.scatter(blocks.gather(x)) == x).all()
    assert np.allclose(times(blocks, matrix, x), np.einsum("hij,hjnt->hint", matrix, x))
    assert blocks.square(matrix).sum() == pytest.approx(matrix.sum())


@pytest.mark.parametrize("shape", SHAPES)
def test_a_run_in_spans_is_the_run_step_by_step(shape: str) -> None:
    kernel, rng = made(shape), np.random.default_rng(2)
    for steps in (1, 2, 9, 40):
        drive, start = rng.standard_normal((GROUPS, STATES, 3, steps)), rng.standard_normal((GROUPS, STATES, 3))
        assert np.allclose(driven(kernel, drive, start), definitions.simulated(kernel, drive, start), rtol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_power_at_the_outputs_is_the_sum_over_the_steps(shape: str) -> None:
    kernel, rng = made(shape), np.random.default_rng(4)
    root = rng.standard_normal((GROUPS, STATES, STATES))
    P = root @ root.swapaxes(1, 2)
    total, mean = definitions.summed(kernel, P, 6000)
    assert np.allclose(power_at_output(kernel, P), total, rtol=1e-8)
    _, mean = definitions.summed(kernel, P, 70)
    assert np.allclose(power_at_output(kernel, P, 70), mean, rtol=1e-7)


@pytest.mark.parametrize("shape", SHAPES)
def test_noise_by_blocks_is_that_of_the_whole_matrix(shape: str) -> None:
    kernel = made(shape)
    for steps in (None, 80.0):
        W = observability(kernel.A, kernel.C, steps)
        through = np.einsum("hij,hpik,hkj->hpj", kernel.G, W, kernel.G) + kernel.F**2
        found = output_noise(kernel, steps)
        assert np.allclose(found.state, np.einsum("hpii->hpi", W) * kernel.state_power[:, None], rtol=1e-8)
        assert np.allclose(found.readout, through * kernel.readout_power[:, None], rtol=1e-8)


def test_one_unstable_block_leaves_the_group_without_a_prediction() -> None:
    kernel = made("pairs")
    A = kernel.A.copy()
    A[1, 4:, 4:] *= 2 / np.abs(np.linalg.eigvals(A[1, 4:, 4:])).max()
    broken = replace(kernel, A=A)
    total, power = output_noise(broken).total, power_at_output(broken, np.broadcast_to(np.eye(STATES), A.shape))
    for found in (total, power):
        assert np.isnan(found[1]).all()
        assert np.isfinite(np.delete(found, 1, 0)).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_worst_case_by_blocks_is_that_of_the_whole_matrix(shape: str) -> None:
    kernel, rng = made(shape), np.random.default_rng(6)
    inputs = kernel.B.shape[::2]
    lo, hi, start = -rng.uniform(1, 9, inputs), rng.uniform(1, 9, inputs), rng.standard_normal((GROUPS, STATES))
    middle, reach = (lo + hi) / 2, (hi - lo) / 2
    eye = np.broadcast_to(np.eye(STATES), kernel.A.shape)
    drive = (kernel.B @ middle[..., None])[..., 0] + kernel.bias_state
    rest = np.linalg.solve(eye - kernel.A, drive[..., None])[..., 0]
    seen = np.concatenate([eye, kernel.G * kernel.inverse[:, None], kernel.C], 1)
    moved = np.concatenate([kernel.B, kernel.G, eye, (start - rest)[..., None]], -1)
    half = np.concatenate([np.where(p > 0, 0.5, 0.0) for p in (kernel.readout_power, kernel.state_power)], -1)
    weight = np.concatenate([reach, half, np.ones((GROUPS, 1))], -1)[..., None]
    sums = definitions.absolute_sum(kernel.A, moved, seen)
    bound = (np.abs(seen @ rest[..., None]) + sums @ weight)[..., 0]
    now = np.where(kernel.readout_power > 0, 0.5, 0.0)[..., None]
    fed = np.concatenate([kernel.B, kernel.D], 1)
    extra = np.abs(np.concatenate([kernel.G, kernel.F], 1)) @ now + np.abs(fed) @ reach[..., None]
    bias = np.concatenate([kernel.bias_state, kernel.bias_output], 1)
    extra = extra[..., 0] + np.abs((fed @ middle[..., None])[..., 0] + bias)
    found = worst_case(kernel, lo, hi, start)
    assert np.allclose(found.register, bound[:, :STATES], rtol=1e-9)
    assert np.allclose(found.adc_state, bound[:, STATES : 2 * STATES] + extra[:, :STATES], rtol=1e-9)
    assert np.allclose(found.adc_output, bound[:, 2 * STATES :] + extra[:, STATES:], rtol=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_typical_ranges_are_those_of_the_covariance(shape: str) -> None:
    kernel, power = made(shape), np.random.default_rng(7).uniform(1, 5, (GROUPS, 1))
    P, moved = np.zeros(kernel.A.shape), kernel.B * np.sqrt(power)[:, None]
    for _ in range(6000):
        P, moved = P + moved @ moved.swapaxes(1, 2), kernel.A @ moved
    found, G = typical(kernel, power), kernel.G * kernel.inverse[:, None]
    fed = [(matrix**2 @ power[..., None])[..., 0] for matrix in (kernel.B, kernel.D)]
    assert np.allclose(found.register**2, np.diagonal(P, axis1=1, axis2=2), rtol=1e-8)
    assert np.allclose(found.adc_state**2, ((G @ P) * G).sum(-1) + fed[0], rtol=1e-8)
    assert np.allclose(found.adc_output**2, ((kernel.C @ P) * kernel.C).sum(-1) + fed[1], rtol=1e-8)


@pytest.mark.parametrize("shape", SHAPES)
def test_responses_by_modes_are_those_step_by_step(shape: str) -> None:
    kernel = made(shape)
    expected = definitions.autocorrelations(kernel, observe.RESPONSE, observe.LAGS)
    for found, wanted in zip(observe._responses(kernel), expected, strict=True):
        assert np.allclose(found, wanted, atol=1e-9)


def test_watched_errors_are_sums_of_cosines() -> None:
    rng, lengths = np.random.default_rng(8), [50, 61]
    z = rng.standard_normal((3, 2, 61, 4)).cumsum(2)
    z[:, 0, 50:] = 0
    watch = observe._Watch(np.ones((3, 4), np.bool_), pairs=True)
    watch.add(time_last(z), np.array(lengths))
    lagged, crossed = definitions.watched(z, lengths, observe.LAGS, observe.HARMONICS)
    assert np.allclose(watch.correlation(), lagged, atol=1e-6)
    assert np.allclose(watch.together(), crossed, atol=1e-6)


def test_channels_a_few_at_a_time_are_all_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(9)
    recipe = Recipe("delta", modes=3, bits=8, weight_bits=8, free=False, deviations=5.0, slowest=2.0)
    op = None
    while op is None:
        op = random_kernel(rng, recipe, random_codes(rng, "white", recipe.groups, 50, 2))
    values = {"u": Codes(recipe.groups, QuantType(-128, 127, np.ones(())), "step")}
    program = Program("u", recipe.groups, "y", recipe.groups, (op,), values)
    whole = kernels.analyse(program, op)
    monkeypatch.setattr(kernels, "MOST_STATES", 1)
    assert kernels.analyse(program, op) == whole
    monkeypatch.setattr(kernels, "MOST_WORK", 1.0)
    skipped = kernels.analyse(program, op)
    assert skipped.skipped.startswith("it takes ")
    assert [c.why for c in skipped.channels] == ["not analysed"] * recipe.groups
    assert [c.slowest for c in skipped.channels] == [c.slowest for c in whole.channels]
    assert all(c.worst_register is None and c.typical_adc is None and c.sqnr_db is None for c in skipped.channels)


def test_poles_of_blocks_are_those_of_the_live_states() -> None:
    rng = np.random.default_rng(10)
    recipe = Recipe("delta", modes=3, bits=8, weight_bits=8, free=False, deviations=5.0, slowest=2.0)
    op = None
    while op is None:
        op = random_kernel(rng, recipe, random_codes(rng, "white", recipe.groups, 50, 2))
    codes = op.matrix.codes.copy()
    codes[:, 2:4] = 0  # a pruned mode
    pruned = replace(op, matrix=replace(op.matrix, codes=codes))
    live = [0, 1, 4, 5]
    for found, A in zip(poles(pruned), linear_kernel(op).A, strict=True):
        assert np.allclose(np.sort_complex(found), np.sort_complex(np.linalg.eigvals(A[np.ix_(live, live)])))
