"""Moments and drift curves of every cell model equal the formula of its source, typed in again here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ssmc.hardware.conductances import (
    IDEAL,
    NoiseModel,
    column_factors,
    conductance,
    draws_of,
    noise_of,
    programming_sigma,
)
from ssmc.hardware.devices import DAY_S, DEVICES
from ssmc.hardware.model import Hardware
from ssmc.targets.aimc.lowering.mapping import Bank, Tile
from ssmc.targets.aimc.simulation.chip import Chip
from ssmc.targets.aimc.tiles.instructions import TileProgram

CELLS = 40_000
LEVELS = np.array([0.1, 0.35, 0.7, 1.0])


def published(name: str, g: float) -> float:
    """sigma in microsiemens at the source's own range, g = G / G_max."""
    match name:
        case "pcm":  # aihwkit pcm.py, 25 uS
            return 0.26348 + 1.9650 * g - 1.1731 * g**2
        case "hermes1":  # aihwkit hermes.py, 10.35 uS
            return 0.15781817 + 2.32443916 * g - 2.16310839 * g**2 + 0.68841818 * g**3
        case "hermes2":  # 20.7 uS
            return 0.16603222 + 4.71806468 * g - 8.48101252 * g**2 + 4.68961419 * g**3
        case "pcm_joshi":  # CrossSim, G = 25 g
            return -0.00178767 * (25 * g) ** 2 + 0.07585724 * 25 * g + 0.28638599
        case "reram_wan":  # aihwkit reram.py at 1 s, 40 uS
            return 0.348 + 16.030 * g - 43.853 * g**2 + 45.393 * g**3 - 16.815 * g**4
        case "reram_milo":  # CrossSim, G = 225 g
            return -0.009107 * 225 * g + 4.782321
    raise KeyError(name)


def array(hw: Hardware, g_max: float) -> Hardware:
    """A thousand levels from 0 to the source's own range."""
    low = replace(hw.cell.g_min_us, value=0.0, low=0.0)
    top = replace(hw.cell.g_max_us, value=g_max)
    return replace(hw, cell=replace(hw.cell, levels=1001, g_min_us=low, g_max_us=top))


def cells(name: str, hw: Hardware, relative: float, time_s: float, seed: int = 0) -> Any:
    """Conductances in microsiemens of many cells written to the same level."""
    levels = np.full(CELLS, 1000.0 * relative)
    draws = draws_of(levels.shape, np.random.default_rng(seed))
    return conductance(levels, draws, hw, NoiseModel(device=name), time_s) * hw.level_us


@pytest.mark.parametrize("relative", LEVELS)
@pytest.mark.parametrize("name", sorted(DEVICES))
def test_programming_spread_is_the_published_one(name: str, relative: float, taox64: Hardware) -> None:
    device = DEVICES[name]
    expected = published(name, float(relative))
    assert device.programming_sigma(np.array(relative)) * device.g_ref_us == pytest.approx(expected, rel=1e-12)
    hw, bare = array(taox64, device.g_ref_us), replace(device, flicker=None, nu=None)
    levels = np.full(CELLS, 1000.0 * relative)
    draws = draws_of(levels.shape, np.random.default_rng(1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DEVICES, name, bare)
        g = conductance(levels, draws, hw, NoiseModel(device=name), 0.0) * hw.level_us
    if relative * device.g_ref_us > 4 * expected:  # else the clip at zero moves the moments
        assert g.mean() == pytest.approx(relative * device.g_ref_us, abs=4 * expected / np.sqrt(CELLS))
        assert g.std() == pytest.approx(expected, rel=4 / np.sqrt(2 * CELLS))


@pytest.mark.parametrize(("time_s", "coefficients"), [
    (1.0, [0.348, 16.030, -43.853, 45.393, -16.815]),
    (DAY_S, [0.701, 22.086, -50.773, 47.095, -16.458]),
    (2 * DAY_S, [0.782, 20.274, -43.507, 37.062, -11.934]),
])  # fmt: skip
def test_wan_relaxes_through_its_three_published_times(time_s: float, coefficients: list[float]) -> None:
    g = LEVELS
    expected = sum(c * g**k for k, c in enumerate(coefficients)) / 40.0
    assert DEVICES["reram_wan"].programming_sigma(g, time_s) == pytest.approx(np.maximum(expected, 0), rel=1e-9)
    between = DEVICES["reram_wan"].programming_sigma(g, 3600.0)
    ends = [DEVICES["reram_wan"].programming_sigma(g, t) for t in (1.0, DAY_S)]
    assert (np.minimum(*ends) <= between).all()
    assert (between <= np.maximum(*ends)).all()


def nu_of(name: str, g: float) -> tuple[float, float]:
    log = np.log(g)
    if name == "pcm":
        return float(np.clip(-0.0155 * log + 0.0244, 0.049, 0.1)), float(np.clip(-0.0125 * log - 0.0059, 0.008, 0.045))
    low = float(np.clip(-0.0387 * log - 0.0182, 0.072, 0.13))
    mean = low if g < 0.0945 else -0.0436 * g**2 - 0.0126 * g + 0.0736
    if name == "hermes1":
        low = float(np.clip(-0.0120 * log - 0.0023, 0.0124, 0.04))
        return mean, low if g < 0.3039 else -0.0165 * g**2 + 0.0116 * g + 0.0104
    low = float(np.clip(-0.0117 * log - 0.0057, 0.0091, 0.04))
    return mean, low if g < 0.3055 else -0.0118 * g**2 + 0.0093 * g + 0.0073


@pytest.mark.parametrize("time_s", [3600.0, DAY_S, 30 * DAY_S])
@pytest.mark.parametrize("relative", LEVELS)
@pytest.mark.parametrize("name", ["pcm", "hermes1", "hermes2"])
def test_drift_follows_the_published_power_law(name: str, relative: float, time_s: float) -> None:
    """ln g falls by nu ln((t + t_0) / t_0), nu of the published mean and spread."""
    device, (mean, spread) = DEVICES[name], nu_of(name, float(relative))
    z = np.random.default_rng(2).standard_normal(CELLS)
    decades = np.log((time_s + device.t0_s) / device.t0_s)
    nu = -np.log(device.drift(np.full(CELLS, relative), z, time_s)) / decades
    folded = np.abs(mean + spread * np.random.default_rng(3).standard_normal(400_000))
    assert nu.mean() == pytest.approx(folded.mean(), abs=5 * spread / np.sqrt(CELLS))
    assert nu.std() == pytest.approx(folded.std(), rel=0.02)


@pytest.mark.parametrize("time_s", [0.0, DAY_S])
@pytest.mark.parametrize(("name", "q", "t_read", "t_0"), [
    ("pcm", lambda g: min(0.0088 / g**0.65, 0.2), 250e-9, 20.0),
    ("hermes1", lambda g: 0.0664 * g**3 - 0.1352 * g**2 + 0.0768 * g + 0.0088, 512e-9, 200.0),
    ("hermes2", lambda g: 0.0069 * g**3 - 0.0280 * g**2 + 0.0211 * g + 0.0123, 512e-9, 300.0),
])  # fmt: skip
def test_low_frequency_noise_is_the_published_one(name: str, q: Any, t_read: float, t_0: float, time_s: float) -> None:
    flicker = DEVICES[name].flicker
    assert flicker is not None
    for g in (0.35, 0.7, 1.0):
        expected = q(g) * np.sqrt(np.log((time_s + t_0 + t_read) / (2 * t_read)))
        assert flicker.sigma(np.array(g), time_s + t_0) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("read", [0.0, 0.0167, 0.5])
@pytest.mark.parametrize("name", ["pcm", "hermes2"])
def test_fresh_read_noise_is_part_of_the_published_1_f_noise(name: str, read: float, taox64: Hardware) -> None:
    """Fresh and lasting variance add up to the published one; fresh noise above it leaves nothing that lasts."""
    device = replace(DEVICES[name], sigma_p=((0.0, np.zeros_like),), nu=None)
    hw, levels = array(taox64, device.g_ref_us), np.full(CELLS, 700.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DEVICES, name, device)
        draws = draws_of(levels.shape, np.random.default_rng(1))
        g = conductance(levels, draws, hw, NoiseModel(device=name, read=read), DAY_S) * hw.level_us
    assert device.flicker is not None
    published = float(device.flicker.sigma(np.array(0.7), DAY_S + device.t0_s))
    lasting = g.std() / (0.7 * device.g_ref_us)
    assert np.hypot(lasting, read) == pytest.approx(max(published, read), rel=0.01)
    assert (lasting == 0) == (read > published)


def test_the_same_cells_drift(taox64: Hardware) -> None:
    """Two times of one chip: programming error and exponent of a cell stay; low-frequency noise is new."""
    hw = array(taox64, 25.0)
    start, later, again = (cells("pcm", hw, 0.7, t) for t in (0.0, DAY_S, DAY_S))
    assert (later == again).all()
    assert np.corrcoef(start, later)[0, 1] > 0.3
    assert later.mean() < 0.75 * start.mean()
    quarter = cells("pcm", hw, 0.7, DAY_S, seed=1)
    assert abs(np.corrcoef(later, quarter)[0, 1]) < 0.02


def test_generic_spread(taox64: Hardware) -> None:
    """sqrt(independent^2 + (proportional g)^2), and a spread of its own at level 0."""
    relative, noise = np.array([0.0, 0.5, 1.0]), NoiseModel(0.03, 0.01, proportional=0.04)
    found = programming_sigma(np.array([0, 5, 9]), relative, noise)
    assert found == pytest.approx([0.01, np.hypot(0.03, 0.02), np.hypot(0.03, 0.04)])


def test_stuck_cells(taox64: Hardware) -> None:
    levels = np.full((200, 200), 30.0)
    draws = draws_of(levels.shape, np.random.default_rng(0))
    g = conductance(levels, draws, taox64, NoiseModel(stuck_low=0.1, stuck_high=0.02), 0.0) * taox64.level_us
    low, high = taox64.cell.g_min_us.value, taox64.cell.g_max_us.value
    assert np.isclose(g, low).mean() == pytest.approx(0.1, abs=0.006)
    assert np.isclose(g, high).mean() == pytest.approx(0.02, abs=0.003)
    assert np.isclose(g, low + 30 * taox64.level_us).mean() == pytest.approx(0.88, abs=0.007)


def test_writable_levels(taox64: Hardware) -> None:
    """As many distinct conductances as can be written, each the nearest."""
    levels = np.arange(taox64.cell.levels, dtype=float)
    draws = draws_of(levels.shape, np.random.default_rng(0))
    g = conductance(levels, draws, taox64, NoiseModel(writable_levels=16), 0.0)
    step = (taox64.cell.levels - 1) / 15
    base = taox64.cell.g_min_us.value / taox64.level_us
    assert len(np.unique(g.round(9))) == 16
    assert np.abs(g - base - levels).max() <= step / 2 + 1e-9


def bank_of(codes: np.ndarray[Any, Any]) -> TileProgram:
    outputs, rows = codes.shape
    bank = Bank("b", "b", (0, rows), (1,), (Tile(0, 0, (0, outputs)),), codes[None, None])
    return TileProgram("t", {"b": bank}, {}, {}, {}, (), ())


@pytest.mark.parametrize("compensation", ["none", "tile", "column"])
def test_drift_compensation_restores_the_scale(compensation: str, taox64: Hardware) -> None:
    """A pure power law of one exponent is undone exactly; the fit's spread of exponents is not."""
    tiles = bank_of(np.random.default_rng(0).integers(-99, 100, (20, 30)))
    noise = NoiseModel(device="pcm_joshi", compensation=compensation)
    first, later = (Chip(tiles, taox64, noise, 1, t).banks["b"] for t in (0.0, DAY_S))
    gain = 1.0 if later.converters is None else later.converters.gain[0]
    expected = 1.0 if compensation != "none" else ((DAY_S + 20) / 20) ** -0.06
    assert gain * later.weight == pytest.approx(expected * first.weight, rel=1e-5)


def test_a_column_is_scaled_to_the_least_error(taox64: Hardware) -> None:
    """No factor of a column brings its cells closer to what was written than its own; one of a tile is further off."""
    codes = np.random.default_rng(0).integers(-99, 100, (20, 30))
    codes[7] = 0
    left = {}
    for compensation in ("tile", "column"):
        noise = NoiseModel(device="pcm", compensation=compensation)
        first, later = (Chip(bank_of(codes), taox64, noise, 1, t).banks["b"] for t in (0.0, 30 * DAY_S))
        assert later.converters is not None
        gain = later.converters.gain[0]
        assert gain[7] == 1 or compensation == "tile"

        def error(factor: float, by: Any = gain, old: Any = first.weight[0], new: Any = later.weight[0]) -> Any:
            return ((factor * by * new - old) ** 2).sum(0)

        left[compensation] = error(1.0)
        if compensation == "column":
            assert (error(1.0) <= np.minimum(error(0.999), error(1.001))).all()
    assert (left["column"] <= left["tile"]).all()
    assert left["column"].sum() < 0.95 * left["tile"].sum()


def test_a_column_that_turned_over_is_silent() -> None:
    found = column_factors(
        np.array([[1.0, 0.0], [2.0, 2.0], [0.0, 0.0]]), np.array([[-0.5, 0.0], [1.0, 1.0], [0.0, 0.0]])
    )
    assert found.tolist() == [0.0, 2.0, 1.0]


def test_converters_have_their_spreads(taox64: Hardware) -> None:
    """Offset, gain and bow between converters; columns that share one share its errors."""
    wide = replace(taox64, array=replace(taox64.array, columns=8192), adc=replace(taox64.adc, columns_per_adc=4))
    tiles = bank_of(np.ones((4096, 1), int))
    found = Chip(tiles, wide, NoiseModel(adc_offset=0.7, adc_gain=0.03, adc_inl=1.2), 5).banks["b"].converters
    assert found is not None
    for values, spread in ((found.offset, 0.7), (found.gain - 1, 0.03), (found.bow, 1.2)):
        pairs = values[0].reshape(2, -1).T  # 2,048 converters, interleaved
        assert (pairs[:, 0] == pairs[:, 1]).all()
        assert pairs[:, 0].std() == pytest.approx(spread, rel=0.07)
    x = np.array([-128.0, -0.5, 127.0])
    one = replace(found, gain=np.ones((1, 3)), offset=np.zeros((1, 3)), bow=np.full((1, 3), 2.0))
    assert one.distort(x[None, None], 0.0, -128.0, 127.0)[0, 0] - x == pytest.approx([0, 2, 0])


def test_the_hardware_file_and_the_caller_choose(taox64: Hardware) -> None:
    noise = noise_of(taox64, device="pcm", wire_ohm=1.5)
    assert (noise.device, noise.wire_ohm, noise.read) == ("pcm", 1.5, taox64.noise.read_sigma_relative.value)
    figures = replace(taox64.noise, device="hermes2", writable_levels=9)
    assert noise_of(replace(taox64, noise=figures)).device == "hermes2"
    assert NoiseModel(compensation="none").silent
    assert IDEAL.silent
    assert not NoiseModel(device="pcm").silent
