"""Noise of converters, and codes of uneven width: against closed forms, and fast against single steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import erf, sqrt

import numpy as np
import pytest

from ssmc.hardware.conductances import NoiseModel, noise_of
from ssmc.hardware.model import Hardware
from ssmc.hardware.settings import with_settings
from ssmc.ir.program import Program
from ssmc.targets.aimc.lowering.mapping import Bank, Tile
from ssmc.targets.aimc.lowering.partial_sums import lower
from ssmc.targets.aimc.simulation.chip import Chip
from ssmc.targets.aimc.simulation.tile_executor import TileExecutor, convert
from ssmc.targets.aimc.simulation.transitions import displaced, uneven_codes
from ssmc.targets.aimc.tiles.assemble import assemble
from ssmc.targets.aimc.tiles.instructions import Convert, TileProgram

Programs = Callable[..., Program]
ONE = np.ones((1, 1), np.int64)
CODES = Convert("op", (), "code", bank="b", slice=0, step=ONE, lo=-128 * ONE, hi=127 * ONE)


def chip_of(hw: Hardware, noise: NoiseModel, seed: int = 0) -> Chip:
    """One column with one cell."""
    bank = Bank("b", "b", (0, 1), (1,), (Tile(0, 0, (0, 1)),), np.ones((1, 1, 1, 1), int))
    return Chip(TileProgram("", {"b": bank}, {}, {}, {}, (), ()), hw, noise, seed)


def test_codes_of_a_noisy_converter_have_the_probabilities_of_the_normal_law(taox64: Hardware) -> None:
    """P(code = k) = Phi((k + 1/2 - x) / s) - Phi((k - 1/2 - x) / s)."""
    chip, spread, x = chip_of(taox64, NoiseModel(adc_noise=0.8)), 0.8, 3.3
    codes = convert(np.full((1, 200_000, 1), x), CODES, chip)
    for k in range(1, 7):
        low, high = ((1 + erf((k + side - x) / spread / sqrt(2))) / 2 for side in (-0.5, 0.5))
        assert (codes == k).mean() == pytest.approx(high - low, abs=4 * sqrt(0.25 / 200_000))


@pytest.mark.parametrize("effective", [8.0, 7.0, 6.3, 4.5])
def test_a_converter_of_e_effective_bits_is_off_as_an_ideal_one_of_e_bits(taox64: Hardware, effective: float) -> None:
    """Over its whole range: rms error 2^(8 - e) / sqrt 12 codes."""
    hw = with_settings(taox64, (f"noise.adc_enob={effective}",))
    assert hw.adc.bits == 8
    noise = NoiseModel(adc_noise=noise_of(hw).adc_noise)
    x = np.random.default_rng(1).uniform(-100, 100, (1, 100_000, 1))
    error = convert(x.copy(), CODES, chip_of(hw, noise)) - x
    assert sqrt((error**2).mean()) == pytest.approx(2 ** (8 - effective) / sqrt(12), rel=0.01)
    assert noise_of(with_settings(taox64, ("noise.adc_enob=7",))).adc_noise == 0.5


def test_the_widths_of_codes_have_their_spread() -> None:
    """Transitions keep their order; their distances have mean 1 and the stated spread."""
    codes, keys = np.arange(-127, 128)[None, :], np.arange(0, 1 << 31, 1 << 22, dtype=np.uint32)[:, None]
    begins = codes - 0.5 + displaced(codes, keys, 0.2)
    widths = np.diff(begins)
    assert widths.min() >= 0
    assert widths.mean() == pytest.approx(1, abs=1e-2)
    assert widths.std() == pytest.approx(0.2, rel=0.02)
    assert np.abs(np.corrcoef(widths[:20])[0, 1:]).max() < 0.25


def test_a_code_is_that_of_the_last_transition_below() -> None:
    """Second implementation: count the transitions."""
    x = np.random.default_rng(0).uniform(-20, 20, 3000)
    every = np.arange(-30, 31)
    begins = every - 0.5 + displaced(every, np.uint32(7) * np.ones(61, np.uint32), 0.3)
    counted = -31 + (x[:, None] >= begins).sum(1)
    assert (uneven_codes(x, np.full(3000, 7, np.uint32), 0.3) == counted).all()
    assert (uneven_codes(x, np.full(3000, 7, np.uint32), 0.0) == np.floor(x + 0.5)).all()


@pytest.mark.parametrize("preset", ["taox64", "isaac128", "hermes64"])
def test_uneven_codes_in_compiled_loops(preset: str, program_of: Programs, request: pytest.FixtureRequest) -> None:
    """The same transitions: one code in hundreds may differ, at a tie of float32 sums."""
    pytest.importorskip("numba")
    hw = request.getfixturevalue(preset) if preset != "hermes64" else with_settings(_hermes(), ("array.count=0",))
    program = program_of(form="delta", channels=4, n=5, features=6, pool="none")
    x = np.random.default_rng(1).normal(0, 10, (8, 12, 6))
    noise = NoiseModel(adc_dnl=0.6, adc_offset=0.5)
    fast, literal = executors(program, hw, noise)
    assert (fast.run(x) != literal.run(x)).mean() < 0.01
    assert (fast.run(x) != executors(program, hw, replace(noise, adc_dnl=0.0))[0].run(x)).mean() > 0.02


@pytest.mark.parametrize("read", [0.0, 0.03])
@pytest.mark.parametrize("preset", ["taox64", "isaac128"])
def test_noise_of_converters_in_compiled_loops(
    preset: str, read: float, program_of: Programs, request: pytest.FixtureRequest
) -> None:
    """Folded into the variance of the column, or drawn at every conversion: the same moments of the output codes."""
    pytest.importorskip("numba")
    hw = request.getfixturevalue(preset)
    program = program_of(form="direct", channels=2, n=3, pool="none")
    fast, literal = executors(program, hw, NoiseModel(read=read, adc_noise=0.7, adc_gain=0.1))
    x = np.repeat(np.random.default_rng(0).normal(0, 10, (1, 2, 3)), 6000, 0)
    a, b = fast.run(x)[:, 1], literal.run(x)[:, 1]
    error = np.sqrt((a.var(0) + b.var(0)) / len(x)) + 1e-9
    assert (np.abs(a.mean(0) - b.mean(0)) < 5 * error).all()
    assert a.var(0) == pytest.approx(b.var(0), rel=0.12, abs=1e-3)
    assert a.var(0).max() > 0


def executors(program: Program, hw: Hardware, noise: NoiseModel) -> tuple[TileExecutor, TileExecutor]:
    """Fast and literal, on the same chip."""
    lowered = lower(program, hw)
    tiles = assemble(lowered, hw)
    fast, literal = (TileExecutor(lowered.program, tiles, Chip(tiles, hw, noise, 3), flag) for flag in (False, True))
    return fast, literal


def _hermes() -> Hardware:
    from ssmc.hardware.file import load_hardware

    return load_hardware("hermes64")
