"""Differential pairs with a stuck cell: what the programmer can do about it with the other one."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from ssmc.errors import UsageError
from ssmc.hardware.conductances import Draws, NoiseModel, Real, conductance, draws_of, pair_levels
from ssmc.hardware.file import load_hardware
from ssmc.hardware.model import Hardware
from ssmc.hardware.settings import with_settings

HW = load_hardware("taox64")
TOP = HW.cell.levels - 1
HEALTHY, LOW, HIGH = 0.5, 0.0, 1.0
CLOSEST = NoiseModel(stuck_low=0.01, stuck_high=0.01, stuck_mapping="closest_value")
NONE = NoiseModel(stuck_low=0.01, stuck_high=0.01)


def draws(stuck: float, shape: tuple[int, ...]) -> Draws:
    """Cells that are all healthy, or all stuck."""
    return Draws(np.zeros(shape), np.zeros(shape), np.full(shape, stuck), 0)


def held(digits: Real, both: tuple[Draws, Draws], noise: NoiseModel, hw: Hardware = HW) -> Real:
    """What pairs weigh in the end, in digits."""
    levels = pair_levels(digits, both, hw, noise)
    plus, minus = (conductance(level, draw, hw, noise, 0.0) for level, draw in zip(levels, both, strict=True))
    return plus - minus


@pytest.mark.parametrize(
    ("plus", "minus", "error"),
    [
        (HIGH, HEALTHY, lambda d: np.maximum(-d, 0)),  # g- = g_max - d u: exact from 0 on; below, 0 in place of d
        (HEALTHY, HIGH, lambda d: -np.maximum(d, 0)),
        (LOW, HEALTHY, lambda d: -np.maximum(d, 0)),  # nothing to do: a digit below 0 leaves that cell at g_min
        (HEALTHY, LOW, lambda d: np.maximum(-d, 0)),
        (HIGH, HIGH, lambda d: -d),
        (LOW, LOW, lambda d: -d),
        (HIGH, LOW, lambda d: TOP - d),
        (LOW, HIGH, lambda d: -TOP - d),
        (HEALTHY, HEALTHY, lambda d: 0 * d),
    ],
)
def test_what_is_left_of_a_pair_with_stuck_cells(plus, minus, error) -> None:  # type: ignore[no-untyped-def]
    digits = np.arange(-TOP, TOP + 1.0)
    both = draws(plus, digits.shape), draws(minus, digits.shape)
    np.testing.assert_allclose(held(digits, both, CLOSEST) - digits, error(digits), atol=1e-9)


def test_no_other_level_would_be_closer() -> None:
    """Against all levels of the healthy cell, one by one."""
    for stuck, first, digit in product((LOW, HIGH), (True, False), (-TOP, -40, -1, 0, 1, 40, TOP)):
        digits, at = np.array([float(digit)]), TOP * (stuck == HIGH)
        sides = (stuck, HEALTHY) if first else (HEALTHY, stuck)
        found = held(digits, (draws(sides[0], (1,)), draws(sides[1], (1,))), CLOSEST)
        least = min(abs((at - other if first else other - at) - digit) for other in range(TOP + 1))
        assert abs(found[0] - digit) == pytest.approx(least, abs=1e-9)


@pytest.mark.parametrize("digit", [0, 30, -90])
def test_how_many_pairs_are_off_and_by_how_much(digit: int) -> None:
    """Of the four ways to have one stuck cell three harm a digit, two harm a 0; with the mapping two, and none."""
    low, high, pairs = 0.01, 0.03, 200_000
    rng, digits = np.random.default_rng(0), np.full(pairs, float(digit))
    both = draws_of(digits.shape, rng), draws_of(digits.shape, rng)
    for mapping, chance in (
        ("none", (low if digit else 0) + 2 * high),  # the low cell of the pair may be stuck at g_min
        ("closest_value", (low + high) if digit else 0.0),
    ):
        noise = NoiseModel(stuck_low=low, stuck_high=high, stuck_mapping=mapping)
        off = np.abs(held(digits, both, noise) - digits)
        one = np.isclose(off, abs(digit)) if mapping != "none" and digit else off > 1e-9
        assert one.mean() == pytest.approx(chance, abs=0.004)


def test_healthy_pairs_and_the_draws_of_a_chip_are_the_same_either_way() -> None:
    rng, digits = np.random.default_rng(1), np.random.default_rng(2).integers(-TOP, TOP + 1, 5000).astype(float)
    both = draws_of(digits.shape, rng), draws_of(digits.shape, rng)
    noisy = [
        held(digits, both, NoiseModel(0.02, 0.01, stuck_low=0.01, stuck_high=0.01, stuck_mapping=mapping))
        for mapping in ("none", "closest_value")
    ]
    healthy = np.all([(d.stuck >= 0.01) & (d.stuck < 0.99) for d in both], 0)
    assert np.array_equal(noisy[0][healthy], noisy[1][healthy])
    assert not np.array_equal(noisy[0], noisy[1])
    assert NoiseModel(stuck_mapping="closest_value").silent


def test_cells_without_a_partner_have_no_such_mapping() -> None:
    with pytest.raises(UsageError, match=r"SSMC-H08.*noise\.stuck_mapping: is closest_value with scheme offset_column"):
        with_settings(HW, ("cell.scheme=offset_column",))
    with_settings(HW, ("cell.scheme=offset_column", "noise.stuck_mapping=none"))
