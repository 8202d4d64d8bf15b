"""The compiled simulation: the same codes as single steps, draws that depend on nothing but their name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ssmc.hardware.conductances import IDEAL, NoiseModel
from ssmc.hardware.model import Hardware
from ssmc.ir.executor import Executor
from ssmc.ir.operations import Linear
from ssmc.ir.program import Program
from ssmc.targets.aimc.lowering.kernel_places import Place
from ssmc.targets.aimc.lowering.partial_sums import lower
from ssmc.targets.aimc.simulation import simulate
from ssmc.targets.aimc.simulation.chip import Chip
from ssmc.targets.aimc.simulation.poles import poles
from ssmc.targets.aimc.simulation.stages import Kernel
from ssmc.targets.aimc.simulation.tile_executor import TileExecutor
from ssmc.targets.aimc.target import AimcCompiled, AimcTarget
from ssmc.targets.aimc.tiles.assemble import assemble

pytest.importorskip("numba")
Programs = Callable[..., Program]


def executors(
    program: Program, hw: Hardware, noise: NoiseModel, seed: int = 0, place: Place = "analog"
) -> tuple[TileExecutor, TileExecutor]:
    """Fast and literal, on the same chip."""
    lowered = lower(program, hw, place)
    tiles = assemble(lowered, hw)
    fast, literal = (TileExecutor(lowered.program, tiles, Chip(tiles, hw, noise, seed), flag) for flag in (False, True))
    return fast, literal


@pytest.mark.parametrize("preset", ["taox64", "isaac128"])
@pytest.mark.parametrize("unfused", [False, True])
@pytest.mark.parametrize("scheme", ["differential_columns", "offset_column"])
def test_known_programs_are_simulated(
    preset: str, unfused: bool, scheme: Any, program_of: Programs, request: pytest.FixtureRequest
) -> None:
    hw = request.getfixturevalue(preset)
    hw = replace(hw, cell=replace(hw.cell, scheme=scheme))
    for noise in (IDEAL, NoiseModel(0.01)):
        fast, _ = executors(program_of(form="delta", unfused=unfused, output_after=unfused), hw, noise)
        assert simulate.simulation_of(fast.tiles, fast.chip) is not None


QUIET = [
    NoiseModel(0.1, 0.05, stuck_high=0.02),
    NoiseModel(device="reram_wan"),
    NoiseModel(wire_ohm=200.0),
    NoiseModel(adc_offset=1.0, adc_gain=0.02, adc_inl=2.0),
]


@pytest.mark.parametrize("noise", QUIET, ids=lambda noise: f"{noise.device}-{noise.wire_ohm}-{noise.adc_inl}")
@pytest.mark.parametrize("quadrants", [2, 4])
@pytest.mark.parametrize("scheme", ["differential_columns", "offset_column"])
@pytest.mark.parametrize("preset", ["taox64", "isaac128"])
def test_without_fresh_noise_it_computes_what_single_steps_compute(
    preset: str, scheme: Any, quadrants: int, noise: NoiseModel, program_of: Programs, request: pytest.FixtureRequest
) -> None:
    """Same cells, same converters; float32 and float64 sums may part at a tie, so one code in hundreds may differ."""
    hw: Hardware = request.getfixturevalue(preset)
    small = replace(hw.array, rows=8, columns=48)
    hw = replace(hw, cell=replace(hw.cell, scheme=scheme, quadrants=quadrants), array=small)
    program = program_of(form="delta", channels=4, n=5, features=6, pool="none")
    fast, literal = executors(program, hw, noise)
    x = np.random.default_rng(1).normal(0, 10, (8, 12, 6))
    assert (fast.run(x) != literal.run(x)).mean() < 0.01
    assert (fast.run(x) != Executor(fast.program).run(x)).mean() > 0.01


@pytest.mark.parametrize("place", ["analog-split", "digital-poles", "digital-states"])
@pytest.mark.parametrize("preset", ["taox64", "isaac128"])
def test_kernels_whose_parts_run_apart(
    preset: str, place: Place, program_of: Programs, request: pytest.FixtureRequest
) -> None:
    """The same codes as single steps, and counts of clipped conversions by matrix."""
    hw: Hardware = request.getfixturevalue(preset)
    program = program_of(form="delta", channels=4, n=5, features=6, pool="none")
    fast, literal = executors(program, hw, QUIET[0], place=place)
    x = np.random.default_rng(1).normal(0, 10, (8, 12, 6))
    assert (fast.run(x) != literal.run(x)).mean() < 0.01
    assert (fast.run(x) != Executor(fast.program).run(x)).mean() > 0.01
    simulation = simulate.simulation_of(fast.tiles, fast.chip)
    assert simulation is not None
    clips = simulation.run(x, np.full(8, 12), np.arange(8)).clips
    apart = {"ssm.input"} if place == "digital-poles" else set()
    assert clips.keys() == {"encoder", "ssm", "ssm.output", "decoder"} | apart


def test_digital_poles_stay_where_they_are(taox64: Hardware, program_of: Programs) -> None:
    """Whatever the cells do: the state of a chip is that of the integer program where B is digital too."""
    fast, _ = executors(program_of(form="delta", n=4), taox64, QUIET[0], place="digital-states")
    stages = simulate.simulation_of(fast.tiles, fast.chip)
    assert stages is not None
    kernel = next(stage for stage in stages.per_step if isinstance(stage, Kernel))
    ideal = Chip(fast.tiles, taox64)
    found, exact = (poles(kernel, chip, fast.tiles.banks) for chip in (fast.chip, ideal))
    assert np.array_equal(found, exact)


@pytest.mark.parametrize("scheme", ["differential_columns", "offset_column"])
def test_kernels_that_share_arrays(scheme: Any, taox64: Hardware, program_of: Programs) -> None:
    """Packed: other places on the wires, other converters; fast and literal see the same."""
    hw = replace(taox64, cell=replace(taox64.cell, scheme=scheme))
    noise = NoiseModel(0.05, 0.02, wire_ohm=20.0, adc_offset=1.0, adc_inl=1.0)
    compiled = AimcTarget(hw, packing="multiplexed").emit(program_of(form="delta", channels=6, n=5, pool="none"))
    assert any(tile.row or tile.column for bank in compiled.tiles.banks.values() for tile in bank.tiles)
    fast, literal = (compiled.executor(noise=noise, seed=2, literal=flag) for flag in (False, True))
    x = np.random.default_rng(1).normal(0, 10, (8, 12, 3))
    assert (fast.run(x) != literal.run(x)).mean() < 0.01


def test_draws_depend_on_chip_and_sequence_only(
    taox64: Hardware, program_of: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = AimcTarget(taox64).emit(program_of(form="delta", channels=4, n=6))
    x = np.random.default_rng(0).normal(0, 20, (20, 10, 3))
    lengths = np.arange(20) % 11
    whole = noisy(compiled).run(x, lengths)
    monkeypatch.setattr(simulate, "LANES", 3)
    assert (noisy(compiled).run(x, lengths) == whole).all()
    in_two = noisy(compiled)
    parts = [in_two.run(x[:7], lengths[:7]), in_two.run(x[7:], lengths[7:])]
    assert (np.concatenate(parts) == whole).all()
    assert (in_two.run(x, lengths) != whole).any()


@pytest.mark.parametrize("noise", [NoiseModel(0.02, 0.001, 0.05), NoiseModel(0.02, adc_offset=1.0), IDEAL])
def test_columns_that_hold_nothing_are_left_out(noise: NoiseModel, isaac128: Hardware, program_of: Programs) -> None:
    """The same codes and clips as with every column computed; a converter with an offset is computed always."""
    fast, _ = executors(program_of(form="delta", channels=3, n=6), isaac128, noise)
    found = simulate.simulation_of(fast.tiles, fast.chip)
    assert found is not None
    held = [loaded.product.live for loaded in found.products.values()]
    assert not noise.read or not all(live.all() for live in held)
    every = {
        name: replace(loaded, product=loaded.product._replace(live=np.ones_like(loaded.product.live)))
        for name, loaded in found.products.items()
    }
    x, lengths = np.random.default_rng(0).normal(0, 20, (20, 10, 3)), np.arange(20) % 11
    left_out, computed = (one.run(x, lengths, np.arange(20)) for one in (found, replace(found, products=every)))
    assert (left_out.codes == computed.codes).all()
    assert all((left_out.clips[name] == computed.clips[name]).all() for name in computed.clips)


def noisy(compiled: AimcCompiled) -> TileExecutor:
    return compiled.executor(noise=NoiseModel(0.0, 0.0, 0.05), seed=3)


@pytest.mark.parametrize("scheme", ["differential_columns", "offset_column"])
@pytest.mark.parametrize("quadrants", [2, 4])
def test_fresh_noise_has_the_spread_of_single_steps(
    scheme: Any, quadrants: int, taox64: Hardware, program_of: Programs
) -> None:
    """First step of many sequences: mean and variance of every output code, fast against literal."""
    hw = replace(taox64, cell=replace(taox64.cell, scheme=scheme, quadrants=quadrants))
    program = program_of(form="direct", channels=2, n=3, pool="none")
    fast, literal = executors(program, hw, NoiseModel(0.0, 0.0, 0.05))
    x = np.repeat(np.random.default_rng(0).normal(0, 10, (1, 2, 3)), 6000, 0)
    a, b = fast.run(x)[:, 1], literal.run(x)[:, 1]
    error = np.sqrt((a.var(0) + b.var(0)) / len(x)) + 1e-9
    assert (np.abs(a.mean(0) - b.mean(0)) < 5 * error).all()
    assert a.var(0) == pytest.approx(b.var(0), rel=0.12, abs=1e-3)


def test_executed_is_counted(taox64: Hardware, program_of: Programs) -> None:
    fast, _ = executors(program_of(), taox64, IDEAL)
    fast.run(np.zeros((3, 7, 3)), [7, 2, 0])
    assert dict(fast.executed) == {"per_step": 9, "per_sequence": 3}


def test_clipped_conversions_are_counted(taox64: Hardware, program_of: Programs) -> None:
    """Padding is not: as many as a literal execution finds outside its range."""
    program = program_of(form="direct", channels=2, n=3, pool="none")
    fast, _ = executors(program, taox64, NoiseModel(1e-9))
    x = np.random.default_rng(0).normal(0, 60, (5, 9, 3))
    lengths = np.array([9, 0, 4, 7, 1])
    simulation = simulate.simulation_of(fast.tiles, fast.chip)
    assert simulation is not None
    clips = simulation.run(x, lengths, np.arange(5)).clips["encoder"][0, 0]
    bank = fast.tiles.banks["encoder"].codes[0, 0]
    requant = next(op.requant for op in program.ops if isinstance(op, Linear))
    codes = program.ops[0].quant.quantize(x)  # type: ignore[union-attr]
    exact = codes @ bank.T * [float(r) for r in requant.ratio] + [float(b) for b in requant.bias]
    outside = (np.rint(exact) < requant.lo) | (np.rint(exact) > requant.hi)
    true = (np.arange(9) < lengths[:, None])[..., None] & outside
    assert clips.tolist() == true.sum((0, 1)).tolist()
    assert clips.sum() > 0


def test_without_numba_single_steps_remain(
    taox64: Hardware, program_of: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulate, "find_spec", lambda name: None)
    fast, literal = executors(program_of(), taox64, IDEAL)
    assert simulate.simulation_of(fast.tiles, fast.chip) is None
    x = np.random.default_rng(0).normal(0, 10, (3, 5, 3))
    assert (fast.run(x) == literal.run(x)).all()
