"""Many chips: intervals, poles, and the same numbers whatever computes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from ssmc.data import Samples
from ssmc.hardware.conductances import IDEAL, NoiseModel
from ssmc.hardware.devices import DAY_S
from ssmc.hardware.model import Hardware
from ssmc.ir.operations import StateSpace
from ssmc.ir.program import Program
from ssmc.targets.aimc.simulation import simulate
from ssmc.targets.aimc.simulation.chip import Chip
from ssmc.targets.aimc.simulation.monte_carlo import monte_carlo
from ssmc.targets.aimc.simulation.poles import effective, poles
from ssmc.targets.aimc.simulation.stages import Kernel, stages_of
from ssmc.targets.aimc.simulation.statistics import crossed_bootstrap, wilson
from ssmc.targets.aimc.target import AimcCompiled, AimcTarget

Programs = Callable[..., Program]


def samples(count: int = 12) -> Samples:
    rng = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(1, 9, count))])
    return Samples(rng.normal(0, 15, (offsets[-1], 3)), offsets, rng.integers(0, 2, count))


@pytest.fixture
def compiled(taox64: Hardware, program_of: Programs) -> AimcCompiled:
    return AimcTarget(taox64).emit(program_of(form="delta", channels=3, n=4))


def test_it_is_json_and_repeatable(compiled: AimcCompiled) -> None:
    told: list[int] = []
    first = monte_carlo(compiled, samples(), chips=3, times_s=(0, DAY_S), progress=told.append)
    text = json.dumps(first.to_json(), sort_keys=True)
    again = monte_carlo(compiled, samples(), chips=3, times_s=(0, DAY_S))
    assert json.dumps(again.to_json(), sort_keys=True) == text
    assert sum(told) == 6
    at = first.at[0]
    assert len(at.chips) == 3
    assert at.accuracy.low <= at.accuracy.value <= at.accuracy.high
    assert at.accuracy.value == pytest.approx(np.mean([chip.value for chip in at.chips]))


def test_kernels_on_a_diagonal_have_poles_and_clips(taox64: Hardware, program_of: Programs) -> None:
    packed = AimcTarget(taox64, packing="diagonal").emit(program_of(form="delta", channels=3, n=4))
    at = monte_carlo(packed, samples(), chips=2).at[0]
    assert at.kernels["ssm"].of == 12
    assert np.shape(at.clips["ssm"].counts) == (3, 5)


def test_chips_are_seeds(compiled: AimcCompiled) -> None:
    together = monte_carlo(compiled, samples(), chips=3, times_s=(DAY_S,), seed=4)
    alone = monte_carlo(compiled, samples(), chips=1, times_s=(DAY_S,), seed=5)
    assert together.at[0].chips[1] == alone.at[0].chips[0]
    assert together.at[0].kernels["ssm"].chips[1] == alone.at[0].kernels["ssm"].chips[0]


def test_ideal_devices_lose_nothing(compiled: AimcCompiled) -> None:
    result = monte_carlo(compiled, samples(), chips=2, times_s=(0,), noise=IDEAL)
    assert result.at[0].agreement == 1
    assert result.at[0].chips[0] == result.ideal_accuracy
    kernel = result.at[0].kernels["ssm"]
    assert set(kernel.chips) == {kernel.ideal}


def test_without_labels_and_without_numba(compiled: AimcCompiled, monkeypatch: pytest.MonkeyPatch) -> None:
    """The share of sequences that keep the ideal chip's class; single steps give the same, read noise apart."""
    bare = Samples(samples().flat, samples().offsets)
    noise = NoiseModel(0.03)
    fast = monte_carlo(compiled, bare, chips=2, times_s=(0,), noise=noise)
    assert fast.ideal_accuracy.value == 1
    assert fast.at[0].accuracy.value == fast.at[0].agreement
    monkeypatch.setattr(simulate, "find_spec", lambda name: None)
    slow = monte_carlo(compiled, bare, chips=2, times_s=(0,), noise=noise)
    assert slow.at[0].agreement == pytest.approx(fast.at[0].agreement, abs=0.1)
    assert slow.at[0].kernels == fast.at[0].kernels


def test_clips_are_counted(compiled: AimcCompiled) -> None:
    pytest.importorskip("numba")
    clips = monte_carlo(compiled, samples(), chips=2, times_s=(0,)).at[0].clips["encoder"]
    assert np.array(clips.counts).shape == (1, 3)
    assert clips.share == pytest.approx(np.mean(clips.counts) / (2 * samples().lengths.sum()))
    group, output = clips.worst_column
    assert clips.counts[group][output] == np.max(clips.counts)


def test_a_matrix_behind_the_reduction_converts_once_a_sequence(compiled: AimcCompiled) -> None:
    pytest.importorskip("numba")
    decoder = monte_carlo(compiled, samples(), chips=2, times_s=(0,)).at[0].clips["decoder"]
    assert decoder.share == pytest.approx(np.mean(decoder.counts) / (2 * len(samples())))


def test_the_output_matrix_of_an_unfused_kernel_is_counted_apart(taox64: Hardware, program_of: Programs) -> None:
    pytest.importorskip("numba")
    unfused = AimcTarget(taox64).emit(program_of(form="delta", channels=3, n=4, unfused=True))
    clips = monte_carlo(unfused, samples(), chips=1, times_s=(0,)).at[0].clips
    assert np.array(clips["ssm"].counts).shape == (3, 4)
    assert np.array(clips["ssm.output"].counts).shape == (3, 1)


@pytest.mark.parametrize("form", ["direct", "delta"])
@pytest.mark.parametrize("preset", ["taox64", "isaac128"])
def test_poles_of_an_ideal_chip_are_those_of_the_codes(
    preset: str, form: str, program_of: Programs, request: pytest.FixtureRequest
) -> None:
    program = program_of(form=form, channels=3, n=4)
    compiled = AimcTarget(request.getfixturevalue(preset)).emit(program)
    op = next(op for op in program.ops if isinstance(op, StateSpace))
    ratio = np.array([float(r) for r in op.requant.ratio]).reshape(3, 5, 1)
    a = ratio[:, :4] * op.matrix.codes[:, :4, :4] * np.exp2(-op.shift)[:, None, :]
    a = a + np.eye(4) * op.keep[:, None, :]
    found, written = (
        np.sort_complex(
            poles(kernel_of(compiled), Chip(compiled.tiles, compiled.hardware, noise), compiled.tiles.banks)
        )
        for noise in (IDEAL, NoiseModel(1e-9))
    )
    assert found == pytest.approx(np.sort_complex(np.linalg.eigvals(a)), abs=1e-9)
    assert np.sort(np.abs(written)) == pytest.approx(np.sort(np.abs(found)), abs=1e-4)


def kernel_of(compiled: AimcCompiled) -> Kernel:
    stages = stages_of(compiled.tiles.per_step, compiled.tiles.banks)
    assert stages is not None
    return next(stage for stage in stages if isinstance(stage, Kernel))


def test_programming_noise_moves_poles_as_its_spread_says(taox64: Hardware, program_of: Programs) -> None:
    """Element by element: the spread of A over chips is ratio sigma sqrt(2 cells) g_max / u."""
    away = replace(taox64.cell.g_min_us, value=30.0, low=30.0)  # from zero, where conductances are cut
    hw = replace(taox64, cell=replace(taox64.cell, g_min_us=away))
    compiled = AimcTarget(hw).emit(program_of(form="direct", channels=1, n=3, weight_bits=8))
    kernel, noise, banks = kernel_of(compiled), NoiseModel(0.01, 0.01), compiled.tiles.banks
    seen = np.stack([effective(kernel.product, Chip(compiled.tiles, hw, noise, seed), banks)[0] for seed in range(400)])
    ratio = np.array([float(r) for r in kernel.product.requant.ratio])[:, None]
    expected = ratio * 0.01 * np.sqrt(2) * hw.cell.g_max_us.value / hw.level_us
    assert seen.std(0) == pytest.approx(np.broadcast_to(expected, seen.shape[1:]), rel=0.15)


def test_wilson() -> None:
    """Closed values: 8 of 10 (Newcombe 1998 style) and the ends."""
    found = wilson(8, 10)
    assert (found.low, found.high) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert wilson(0, 20).low == 0
    assert wilson(20, 20).high == 1


def test_the_bootstrap_covers() -> None:
    """Of random chips and sequences with known mean, the 95 % interval contains it nearly always."""
    rng = np.random.default_rng(0)
    inside = 0
    for trial in range(40):
        chance = np.clip(0.8 + 0.08 * rng.standard_normal((12, 1)) + 0.1 * rng.standard_normal((1, 60)), 0, 1)
        found = crossed_bootstrap(rng.random((12, 60)) < chance, trial)
        inside += found.low <= 0.795 <= found.high
    assert inside >= 36
