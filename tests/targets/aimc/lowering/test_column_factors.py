"""What the cells of a column hold: whole multiples of its codes, the same codes behind, and less noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmc.conversion.column_factors import MOST_TRIES, Factors, digit_errors
from ssmc.conversion.column_sums import Inputs
from ssmc.hardware.components import Quantity
from ssmc.hardware.conductances import IDEAL, noise_of
from ssmc.hardware.file import load_hardware, preset_names
from ssmc.hardware.model import Hardware
from ssmc.hardware.settings import with_settings
from ssmc.ir.matrix import Matrix
from ssmc.ir.program import Program
from ssmc.ir.requant import Requant, make_requant
from ssmc.ir.rounding import IntArray
from ssmc.targets.aimc.lowering.conversion_plan import MatrixPlan, analog_plan
from ssmc.targets.aimc.lowering.mapping import Bank, Tile, make_banks
from ssmc.targets.aimc.lowering.partial_sums import lower
from ssmc.targets.aimc.simulation.noise import program_cells, read_variance

Programs = Callable[..., Program]
#: what factors do not weigh
UNWEIGHED = {"stuck_low": 0.0, "stuck_high": 0.0, "wire_ohm": 0.0}
ONE_SLICE = ("analogai", "hermes64", "neurram", "taox64")


def inputs_of(codes: IntArray) -> Inputs:
    shape = codes.shape[0], codes.shape[2]
    return Inputs((np.full(shape, -128), np.full(shape, 127)))


def requant_of(codes: IntArray, ratio: list[Fraction]) -> Requant:
    low, high = (end.ravel() for end in Matrix(codes).reach(*inputs_of(codes).ends))
    return make_requant(ratio, [Fraction(0)] * len(ratio), -128, 127, (low, high))


def planned(codes: IntArray, ratio: list[Fraction], hw: Hardware) -> MatrixPlan:
    return analog_plan("m", "m", Matrix(codes), requant_of(codes, ratio), inputs_of(codes), hw)


def every_drive(codes: IntArray, count: int = 400) -> IntArray:
    return np.random.default_rng(0).integers(-128, 128, (count, codes.shape[0], codes.shape[2]))


@pytest.mark.parametrize("scheme", ["differential_columns", "offset_column"])
@pytest.mark.parametrize("name", preset_names())
def test_the_error_of_a_digit_is_that_of_the_cells_that_are_drawn(name: str, scheme: Any) -> None:
    """Against chips of the simulator: squared deviation of the weight plus variance of a read."""
    hw = load_hardware(name)
    hw = replace(hw, cell=replace(hw.cell, scheme=scheme))
    expected, top = digit_errors(hw), hw.largest_digit
    digits = np.unique(np.linspace(-top, top, 5).round()).astype(np.int64)
    codes = np.broadcast_to(digits, (3000, 1, 1, len(digits))).copy()
    tiles = tuple(Tile(group, group, (0, 1)) for group in range(len(codes)))
    bank = Bank("b", "b", (0, len(digits)), (1,), tiles, codes)
    noise = noise_of(hw, **UNWEIGHED)
    cells = program_cells(bank, hw, noise, np.random.default_rng(1))
    own, common = read_variance(cells, noise)
    found = ((cells.weight - codes) ** 2 + own + common).mean((0, 1, 2))
    for code, error, law in zip(digits, found, expected[digits + top], strict=True):
        assert abs(error - law) <= (0.12 if code else 0.45) * law + 1e-9  # at 0 the share of 1/f noise is not small


def test_cells_that_can_be_written_to_few_levels_are_off_by_what_is_rounded() -> None:
    hw = load_hardware("taox64")
    none = replace(hw.noise.read_sigma_relative, value=0.0)
    sigmas = ("programming_sigma_relative", "programming_sigma_off_relative", "read_sigma_relative")
    noise = replace(hw.noise, device="gaussian", writable_levels=2, **dict.fromkeys(sigmas, none))
    errors = digit_errors(replace(hw, noise=noise))
    assert np.allclose(errors[[127, 127 + 50, 127 + 100, 0]], [0, 50**2, 27**2, 0])


@pytest.mark.parametrize("name", ONE_SLICE)
def test_a_column_takes_the_factor_of_least_error(name: str) -> None:
    """Published cells are off by less than in proportion: the largest number that they hold."""
    hw = load_hardware(name)
    codes = np.array([[[2, -1, 0], [127, 1, 0], [0, 0, 0], [-50, 3, 9]]])
    factors = Factors(codes, [Fraction(1)] * 4, np.arange(4), hw)
    assert factors.own.tolist() == [63, 1, 1, 2]
    assert np.isinf(factors.errors[0, 63:]).all()


def test_cells_without_noise_and_slices_keep_their_codes() -> None:
    hw, codes = load_hardware("taox64"), np.array([[[2, -1]]])
    none = replace(hw.noise.read_sigma_relative, value=0.0)
    zero = {key: none for key, value in vars(hw.noise).items() if isinstance(value, Quantity)}
    silent = replace(hw, noise=replace(hw.noise, **zero))
    assert replace(noise_of(silent), stuck_mapping=IDEAL.stuck_mapping) == IDEAL
    assert Factors.of(codes, [Fraction(1)], silent).own.tolist() == [1]
    wide = np.array([[[2, -1], [100, 1]]])
    assert Factors.of(wide, [Fraction(1)] * 2, load_hardware("isaac128")).own.tolist() == [1, 1]


@pytest.mark.parametrize("name", ONE_SLICE)
def test_the_noise_of_a_code_is_that_of_the_law(name: str) -> None:
    """Columns of small codes on many chips: the spread of what the converter sees, in codes of the quantizer."""
    hw = load_hardware(name)
    hw = replace(hw, adc=replace(hw.adc, step="per_column", offset=True))
    codes, ratio = np.array([[[2, -1, 0], [90, -1, 30]]]), [Fraction(1, 2), Fraction(1, 90)]
    plan = planned(codes, ratio, hw)
    assert plan.kind == "single"
    bank = make_banks({"m": plan}, hw)[0]
    drive, found = np.array([100.0, -50, 60]), []
    for seed in range(1500):
        cells = program_cells(bank, hw, noise_of(hw, **UNWEIGHED), np.random.default_rng(seed))
        held = cells.weight[0, 0] @ drive
        fresh = np.sqrt(sum(read_variance(cells, noise_of(hw)))[0, 0] @ drive**2)
        held += fresh * np.random.default_rng([seed, 1]).standard_normal(2)
        found.append(held * np.array([float(r) for r in plan.at_converter.ratio]))
    error, factor = digit_errors(hw), np.array([63, 1])
    spread = [(error[k * row + 127] * drive**2).sum() for k, row in zip(factor, codes[0], strict=True)]
    expected = np.sqrt(spread) / factor * np.array([float(r) for r in ratio])
    exact = codes[0] @ drive * np.array([float(r) for r in ratio])
    np.testing.assert_allclose(np.sqrt(((np.array(found) - exact) ** 2).mean(0)), expected, rtol=0.08)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from(["per_column", "per_adc", "per_array"]), st.sampled_from(ONE_SLICE))
def test_the_converter_gives_the_codes_of_the_matrix(seed: int, step: Any, name: str) -> None:
    """From what the cells hold, in exact integers; converters that are the quantizer lose nothing."""
    hw, rng = load_hardware(name), np.random.default_rng(seed)
    hw = replace(hw, adc=replace(hw.adc, step=step, offset=bool(seed % 2)))
    top = rng.integers(1, 128, (2, 5, 1))
    codes = rng.integers(-127, 128, (2, 5, 6)) * top // 127
    shared = Fraction(int(rng.integers(1, 50)), 4096)
    ratio = [shared * int(k) for k in rng.integers(1, 4, 10)]
    plan = planned(codes, ratio, hw)
    assert np.abs(plan.cells).max() <= hw.largest_digit
    v = every_drive(codes)
    held = Matrix(plan.cells).product(v)
    if plan.matrix.parts:
        total = np.zeros(held.shape, np.int64)
        for part, by in zip(plan.matrix.parts, plan.steps, strict=True):
            total += part.weight * np.clip(np.rint(held / by).astype(np.int64), part.lo, part.hi)
        assert np.array_equal(total, plan.matrix.product(v))
        return
    found = plan.at_converter.apply_groups(held)
    if plan.matrix.converter is not None:
        assert np.array_equal(found, plan.matrix.product(v))
        found = plan.requant.apply_groups(found)
    expected = plan.requant.apply_groups(plan.matrix.product(v))
    assert np.array_equal(found, expected)
    if plan.kind == "single":
        assert np.array_equal(expected, requant_of(codes, ratio).apply_groups(Matrix(codes).product(v)))
        live = codes.any(-1).ravel()
        steps = np.array(plan.at_converter.ratio)[live]
        assert step != "per_array" or all(len(set(half)) <= 1 for half in np.split(steps, [live[:5].sum()]))


def test_columns_of_one_scale_share_a_step_although_codes_were_divided() -> None:
    """64, -32 and 127, 3 on one grid are read as 2, -1 and 127, 3 in unlike steps; their cells hold 64, -32 again."""
    hw = load_hardware("hermes64")
    codes, ratio = np.array([[[2, -1], [127, 3]]]), [Fraction(32, 500), Fraction(1, 500)]
    plan = planned(codes, ratio, hw)
    assert plan.kind == "single"
    assert plan.cells.tolist() == [[[64, -32], [127, 3]]]
    assert len(set(plan.at_converter.ratio)) == 1


@pytest.mark.parametrize("step", ["per_column", "per_array"])
def test_inputs_that_are_converted_apart_fill_their_cells(step: Any, taox64: Hardware, program_of: Programs) -> None:
    """With one input every cell of B has the largest conductance, and the digital unit multiplies by the weight."""
    hw = replace(taox64, adc=replace(taox64.adc, step=step))
    lowered = lower(program_of(n=5, channels=2), hw, {"ssm": "digital-poles"})
    plan, weights = lowered.plans["ssm.input"], lowered.plans["ssm.input"].matrix.codes
    assert plan.kind == "single"
    assert np.array_equal(plan.cells, 127 * np.sign(weights))


def test_blocks_share_an_array_if_the_steps_of_their_cells_are_equal() -> None:
    """Two groups of one ratio: held 2 and 5 times their step for 2 times and once."""
    hw = load_hardware("hermes64")
    codes = np.array([[[63, 10]], [[25, 7]], [[60, 1]]])
    plan = planned(codes, [Fraction(1, 100)] * 3, hw)
    steps = [plan.step_of(group, (0, 1), hw) for group in range(3)]
    assert [int(f) for f in plan.factor] == [2, 5, 2]
    assert steps[0] == steps[2] != steps[1]


def test_many_levels_are_weighed_at_even_distances() -> None:
    """Cells of 65,536 levels would have 32,767 factors of a ternary column."""
    hw = with_settings(load_hardware("taox64"), ("cell.levels=65536",))
    codes = np.array([[[1, -1, 0], [1, 0, 1]]])
    factors = Factors.of(codes, [Fraction(1, 2)] * 2, hw)
    assert len(factors.tries) == MOST_TRIES
    assert factors.tries[0] == 1
    assert factors.tries[-1] == factors.most.max() == hw.largest_digit
    assert (factors.own == hw.largest_digit).all()
