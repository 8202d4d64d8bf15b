"""One array by itself: exact without noise, the exact moments with it, for one vector and for many."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

from ssmc.hardware.conductances import IDEAL, NoiseModel
from ssmc.hardware.model import Hardware
from ssmc.targets.aimc.simulation.gauss import derive, fill_normals, lane_keys
from ssmc.targets.aimc.simulation.single_array import Crossbar

WIDE = {"lo": -(1 << 23), "hi": 1 << 23}


@pytest.mark.parametrize("shape", [(1, 1), (129, 129), (32, 7), (5, 40)])
@pytest.mark.parametrize("batch", [1, 3, 64])
def test_noiseless_is_exact(shape: tuple[int, int], batch: int) -> None:
    """A power-of-two ratio: every float32 operation is exact, ties included."""
    rng = np.random.default_rng(0)
    weight, drive = rng.integers(-127, 128, shape), rng.integers(-128, 128, (batch, shape[1]))
    found = Crossbar(weight, None, 2.0**-9).convert(drive.astype(np.float32))
    assert (found == np.clip(np.rint(drive @ weight.T / 512), -128, 127)).all()


def test_feedback_is_convert_and_add() -> None:
    rng = np.random.default_rng(1)
    weight, u = rng.integers(-127, 128, (33, 33)), rng.integers(-20, 21, (50, 33)).astype(np.float32)
    bar, x = Crossbar(weight, None, 2.0**-10), np.zeros(33, np.float32)
    for row in u:
        x = np.clip(bar.convert(x[None])[0] + row, -128, 127)
    assert (bar.feedback(np.zeros(33, np.float32), u) == x).all()


@pytest.mark.parametrize("batch", [1, 64])
def test_read_noise_has_the_exact_moments(batch: int) -> None:
    """Mean, variance, and no correlation between columns or products."""
    rng, draws = np.random.default_rng(2), 6400
    weight, variance, v = rng.integers(-99, 100, (21, 17)), rng.uniform(0.5, 2, (21, 17)), rng.integers(-99, 100, 17)
    bar = Crossbar(weight, variance, 1.0, **WIDE)
    drive = np.repeat(v[None], batch, 0).astype(np.float32)
    y = np.concatenate([bar.convert(drive) for _ in range(draws // batch)]).astype(float)
    spread = variance @ v**2 + 1 / 12
    assert (np.abs(y.mean(0) - weight @ v) < 4.5 * np.sqrt(spread / draws)).all()
    assert y.var(0) == pytest.approx(spread, rel=5 * np.sqrt(2 / draws))
    noise = (y - weight @ v) / np.sqrt(spread)
    others = np.corrcoef(noise.T) - np.eye(21)
    assert np.abs(others).max() < 5 / np.sqrt(draws)
    assert abs((noise[1:] * noise[:-1]).mean()) < 5 / np.sqrt(noise.size)


def test_noisy_feedback_draws_what_single_products_draw() -> None:
    rng = np.random.default_rng(3)
    weight, u = rng.integers(-9, 10, (12, 12)), rng.integers(-20, 21, (30, 12)).astype(np.float32)
    one, other = (Crossbar(weight, np.full((12, 12), 0.5), 0.25, seed=5) for _ in range(2))
    x = np.zeros(12, np.float32)
    for row in u:
        x = np.clip(one.convert(x[None])[0] + row, -128, 127)
    assert (other.feedback(np.zeros(12, np.float32), u) == x).all()


def test_programmed_from_a_hardware_file(taox64: Hardware) -> None:
    codes = np.random.default_rng(0).integers(-99, 100, (20, 30))
    ideal = Crossbar.programmed(codes, taox64, IDEAL, 2.0**-8)
    drive = np.random.default_rng(1).integers(-128, 128, (7, 30)).astype(np.float32)
    assert (ideal.convert(drive) == np.clip(np.rint(drive @ codes.T / 256), -128, 127)).all()
    real = Crossbar.programmed(codes, taox64, NoiseModel(0.02, 0.002, 0.01), 2.0**-8, seed=4)
    assert (real.convert(drive) != ideal.convert(drive)).any()


def test_draws_are_normal() -> None:
    """Moments to the fourth, tails, and independence of lanes, pairs and counters."""
    out = np.empty((2000, 1000), np.float32)
    fill_normals(lane_keys(derive(9, 2), np.arange(1000)), 0, out)
    n, z = out.size, out.astype(float)
    for power, moment in ((1, 0), (2, 1), (3, 0), (4, 3)):
        spread = np.sqrt({1: 1, 2: 2, 3: 15, 4: 96}[power] / n)
        assert abs((z**power).mean() - moment) < 5 * spread
    for limit, share in ((1, 0.3173105), (2, 0.0455003), (3, 0.0026998), (4, 6.334e-5)):
        assert (np.abs(z) > limit).mean() == pytest.approx(share, abs=5 * np.sqrt(share / n))
    for a, b in ((z[0::2], z[1::2]), (z[:, :-1], z[:, 1:]), (z[2:], z[:-2]), (z[0::2] ** 2 - 1, z[1::2] ** 2 - 1)):
        assert abs((a * b).mean()) < 5 * np.sqrt((a**2).mean() * (b**2).mean() / a.size)


def test_draws_have_an_address() -> None:
    """The same key and counter, the same draw, whatever else is drawn."""
    keys = lane_keys(derive(1), np.arange(40))
    whole, part = np.empty((10, 40), np.float32), np.empty((2, 5), np.float32)
    fill_normals(keys, 100, whole)
    fill_normals(keys[7:12], 103, part)
    assert (part == whole[6:8, 7:12]).all()
    assert derive(1, 2) != derive(2, 1) != derive(1, 2, 0)
