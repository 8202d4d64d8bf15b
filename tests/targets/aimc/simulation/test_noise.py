"""Device noise: moments equal the formulas, and an ideal chip is the limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ssmc.hardware.conductances import NoiseModel, noise_of
from ssmc.hardware.model import Hardware
from ssmc.ir.program import Program
from ssmc.targets.aimc.lowering.mapping import Bank, Tile
from ssmc.targets.aimc.lowering.partial_sums import lower
from ssmc.targets.aimc.simulation.chip import Chip
from ssmc.targets.aimc.simulation.noise import program_cells
from ssmc.targets.aimc.target import AimcTarget
from ssmc.targets.aimc.tiles.assemble import assemble
from ssmc.targets.aimc.tiles.instructions import TileProgram

Programs = Callable[..., Program]
SCHEMES = ["differential_columns", "offset_column"]


def bank_of(codes: np.ndarray[Any, Any]) -> Bank:
    """One tile with codes (outputs, rows)."""
    outputs, rows = codes.shape
    return Bank("b", "b", (0, rows), (1,), (Tile(0, 0, (0, outputs)),), codes[None, None])


def hardware(hw: Hardware, scheme: Any) -> Hardware:
    """A g_min away from zero, so that clipping at zero plays no part in the moments."""
    shifted = replace(hw.cell.g_min_us, value=30.0, low=30.0, high=30.0)
    return replace(hw, cell=replace(hw.cell, scheme=scheme, g_min_us=shifted))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_programming_noise_has_the_stated_spread(taox64: Hardware, scheme: str) -> None:
    hw, noise = hardware(taox64, scheme), NoiseModel(0.02, 0.004, 0.0)
    codes = np.full((100, 200), 40)
    cells = program_cells(bank_of(codes), hw, noise, np.random.default_rng(3))
    error = cells.weight[0, 0] - codes
    on, off = (sigma * hw.cell.g_max_us.value / hw.level_us for sigma in (0.02, 0.004))
    if scheme == "differential_columns":
        assert error.var() == pytest.approx(on**2 + off**2, rel=0.02)
    else:
        assert (error - error.mean(0)).var() == pytest.approx(on**2, rel=0.02)
        assert error.mean(0).var() == pytest.approx(on**2 * (1 + 1 / 100), rel=0.25)
    assert abs(error.mean()) < 4 * on / np.sqrt(200)


def test_conductances_do_not_become_negative(taox64: Hardware) -> None:
    cells = program_cells(bank_of(np.zeros((50, 50), int)), taox64, NoiseModel(0.1, 0.1, 0.0), np.random.default_rng(0))
    assert cells.plus.min() == 0
    assert cells.minus.min() == 0
    assert (cells.plus > 0).mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_read_noise_has_the_variance_of_noisy_cells(taox64: Hardware, scheme: str) -> None:
    """The output-referred draw against drawing every cell afresh: same mean, variance and correlation."""
    hw, noise = hardware(taox64, scheme), NoiseModel(0.0, 0.0, 0.03)
    rng = np.random.default_rng(5)
    codes, v, draws = rng.integers(-60, 61, (3, 17)), rng.integers(-128, 128, 17), 40_000
    bank = bank_of(codes)
    chip = Chip(TileProgram("t", {"b": bank}, {}, {}, {}, (), ()), hw, noise, seed=1)
    held = chip.product("b", np.repeat(v[None, None].astype(float), draws, 1))[0].astype(float)
    cells = program_cells(bank, hw, noise, rng)
    plus, minus = cells.plus[0, 0], cells.minus[0, 0]
    own, common = (0.03 * plus) ** 2 @ v**2, (0.03 * minus) ** 2 @ v**2
    expected = np.diag(own + common) if scheme == "differential_columns" else np.diag(own) + common[0]
    assert held.mean(0) == pytest.approx(codes @ v, abs=4 * np.sqrt(expected.max() / draws))
    assert np.cov(held.T) == pytest.approx(expected, abs=0.03 * expected.max())


def test_read_noise_is_fresh_and_programming_noise_is_not(taox64: Hardware) -> None:
    bank = bank_of(np.full((1, 4), 9))
    tiles = TileProgram("t", {"b": bank}, {}, {}, {}, (), ())
    drive = np.full((1, 1, 4), 7.0)
    programmed = Chip(tiles, taox64, NoiseModel(0.02, 0.0, 0.0), seed=2)
    assert (programmed.product("b", drive) == programmed.product("b", drive)).all()
    read = Chip(tiles, taox64, NoiseModel(0.0, 0.0, 0.02), seed=2)
    assert (read.product("b", drive) != read.product("b", drive)).all()


def test_seeds_make_chips(taox64: Hardware, program_of: Programs) -> None:
    compiled = AimcTarget(taox64).emit(program_of(form="delta", channels=4, n=6))
    x = np.random.default_rng(0).normal(0, 20, (20, 10, 3))
    first, again, other = (compiled.executor(noise=True, seed=seed).run(x) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()
    assert (compiled.executor(noise=NoiseModel(0.0, 0.0, 0.0)).run(x) == compiled.executor().run(x)).all()


@pytest.mark.parametrize("preset", ["taox64", "isaac128"])
def test_vanishing_noise_gives_the_ideal_codes(
    preset: str, program_of: Programs, request: pytest.FixtureRequest
) -> None:
    """Where no sum lies on a tie: noise far below half a converter step changes no code."""
    hw = request.getfixturevalue(preset)
    compiled = AimcTarget(hw).emit(program_of(form="delta", channels=3, n=4))
    x = np.random.default_rng(0).normal(0, 10, (5, 6, 3))
    whisper = compiled.executor(noise=NoiseModel(1e-9, 1e-9, 1e-9), seed=4)
    ideal = compiled.executor()
    codes, noisy = ideal.step_codes(ideal.init(5), x[:, 0]), whisper.step_codes(whisper.init(5), x[:, 0])
    different = np.concatenate([(codes[name] != noisy[name]).ravel() for name in ("u", "y")])
    assert different.mean() < 0.1 if preset == "taox64" else not different.any()


def test_nominal_noise_comes_from_the_hardware_file(taox64: Hardware, program_of: Programs) -> None:
    figures = taox64.noise
    assert noise_of(taox64) == NoiseModel(
        figures.programming_sigma_relative.value,
        figures.programming_sigma_off_relative.value,
        figures.read_sigma_relative.value,
        stuck_low=figures.stuck_low_fraction.value,
        stuck_high=figures.stuck_high_fraction.value,
        stuck_mapping="closest_value",
        wire_ohm=figures.wire_ohm.value,
        adc_offset=figures.adc_offset_lsb.value,
        adc_gain=figures.adc_gain_relative.value,
        adc_inl=figures.adc_inl_lsb.value,
    )
    assert min(noise_of(taox64).stuck_low, noise_of(taox64).wire_ohm, noise_of(taox64).adc_inl) > 0
    lowered = lower(program_of(), taox64)
    assert not Chip(assemble(lowered, taox64), taox64, noise_of(taox64)).ideal


@pytest.mark.parametrize(("groups", "samples"), [(16, 300), (3, 4000), (1, 1)])
def test_products_cut_for_threads_are_whole(taox64: Hardware, groups: int, samples: int) -> None:
    rng = np.random.default_rng(0)
    codes, drive = rng.integers(-99, 100, (groups, 1, 9, 7)), rng.integers(-128, 128, (groups, samples, 7))
    bank = Bank("b", "b", (0, 7), (1,), tuple(Tile(g, g, (0, 9)) for g in range(groups)), codes)
    chip = Chip(TileProgram("t", {"b": bank}, {}, {}, {}, (), ()), taox64, NoiseModel(0.0, 0.0, 1e-7))
    exact = np.matmul(drive, codes[:, 0].transpose(0, 2, 1))
    assert np.abs(chip.product("b", drive.astype(float)) - exact).max() < 0.1
