"""Lowering to converters: what is lossless loses nothing, what is not says so, what does not fit is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmc.conversion.cuts import drive_planes, outputs_per_tile, slice_gains, slices
from ssmc.errors import ModelError
from ssmc.hardware.model import Hardware
from ssmc.ir.executor import Executor
from ssmc.ir.matrix import Matrix
from ssmc.ir.operations import Dequantize, Linear, Quantize
from ssmc.ir.program import Program
from ssmc.ir.quant import Codes, QuantType
from ssmc.ir.requant import make_requant
from ssmc.targets.aimc.lowering.mapping import make_banks
from ssmc.targets.aimc.lowering.partial_conversions import whole_window
from ssmc.targets.aimc.lowering.partial_sums import lower

Programs = Callable[..., Program]


@given(st.integers(2, 12), st.sampled_from([2, 3, 4, 16, 100]), st.integers(0, 999))
def test_slices_stand_for_the_codes_and_fit_the_cells(taox64: Hardware, bits: int, levels: int, seed: int) -> None:
    hw = replace(taox64, cell=replace(taox64.cell, levels=levels))
    top = (1 << (bits - 1)) - 1
    codes = np.random.default_rng(seed).integers(-top, top + 1, (2, 3, 4))
    gains = slice_gains(codes, hw)
    digits = slices(codes, gains)
    assert (sum(gain * digit for gain, digit in zip(gains, digits, strict=True)) == codes).all()
    assert max(int(np.abs(digit).max()) for digit in digits) <= hw.largest_digit


@given(st.integers(-300, 0), st.integers(0, 300))
def test_planes_stand_for_the_drive(isaac128: Hardware, lo: int, hi: int) -> None:
    planes = drive_planes("m", (np.array([[lo]]), np.array([[hi]])), isaac128)
    for code in {lo, hi, lo // 2, hi // 2, 0}:
        assert sum(gain * ((code >> bit) & 1) for bit, gain in planes) == code


@given(st.integers(-5000, 5000), st.integers(0, 5000), st.integers(1, 12), st.booleans())
def test_a_lossless_range_covers_all_sums_or_there_is_none(
    taox64: Hardware, low: int, width: int, bits: int, offset: bool
) -> None:
    hw = replace(taox64, adc=replace(taox64.adc, bits=bits, offset=offset))
    window, levels = whole_window(low, low + width, hw), 1 << bits
    signed = -levels // 2 <= low and low + width < levels // 2
    assert (window is not None) == ((offset and width < levels) or signed or (low >= 0 and low + width < levels))
    if window is not None:
        assert window[1] - window[0] == levels - 1
        assert window[0] <= low <= low + width <= window[1]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_lossless_lowering_changes_no_code(
    shapes: Any, hardwares: Any, program_of: Programs, data: st.DataObject
) -> None:
    program, hw = program_of(data.draw(shapes)), data.draw(hardwares)
    lowered = try_lower(program, hw)
    if lowered is None or not lowered.exact:
        return
    x = np.random.default_rng(0).normal(0, 10, (3, 6, program.input_size))
    assert np.array_equal(Executor(program).run(x), Executor(lowered.program).run(x))


def try_lower(program: Program, hw: Hardware) -> Any:
    """None where the hardware is too small for the program: random pairs may not fit."""
    try:
        return lower(program, hw)
    except ModelError as refused:
        if refused.code not in {"SSMC-A01", "SSMC-A02"}:
            raise
        return None


def test_presets_are_exact_on_an_8_bit_program(taox64: Hardware, isaac128: Hardware, program_of: Programs) -> None:
    program = program_of(form="delta")
    kinds = {hw.name: {plan.kind for plan in lower(program, hw).plans.values()} for hw in (taox64, isaac128)}
    assert kinds == {"taox64": {"single"}, "isaac128": {"lossless"}}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"array": {"rows": 2}}, "3 inputs, 2 rows"),
        ({"cell": {"levels": 16}}, "8-bit weights, 16 cell levels"),
        ({"dac": {"bits": 1, "bit_serial": True}}, "bit-serial drive"),
        ({"adc": {"bits": 6}}, "8-bit outputs, 6-bit converter"),
        ({"adc": {"offset": False}}, "converter without programmable offset"),
        ({"adc": {"step": "per_array"}}, "outputs with unlike steps, adc.step = per_array"),
    ],
)
def test_the_reason_why_a_matrix_is_not_converted_once(
    taox64: Hardware, program_of: Programs, change: dict[str, dict[str, Any]], why: str
) -> None:
    parts = {name: replace(getattr(taox64, name), **fields) for name, fields in change.items()}
    plan = lower(program_of(channels=1, n=2, m=1), replace(taox64, **parts)).plans["ssm"]
    assert plan.why == why
    assert plan.kind in {"lossless", "lossy"}


def linear(ratios: list[Fraction], outputs: int, bias: Fraction = Fraction(0), weight: int = 3) -> Program:
    """x -> W x with one ratio per output."""
    code = QuantType(-128, 127, np.asarray(1.0))
    matrix = Matrix(np.full((1, outputs, 2), weight))
    requant = make_requant(ratios, [bias] * outputs, -128, 127, (-40_000, 40_000))
    ops = (
        Quantize("q", ("x",), "u", code),
        Linear("w", ("u",), "y", matrix, requant),
        Dequantize("o", ("y",), "out", np.asarray(1.0)),
    )
    return Program("x", 2, "out", outputs, ops, {"u": Codes(2, code, "step"), "y": Codes(outputs, code, "step")})


@pytest.mark.parametrize(
    ("step", "weight", "kind"),
    [
        ("per_column", 100, "single"),
        ("per_adc", 100, "single"),
        ("per_array", 100, "lossy"),
        ("per_array", 3, "single"),
    ],
)
def test_outputs_share_a_step_as_far_as_the_converter_does(taox64: Hardware, step: Any, weight: int, kind: str) -> None:
    """Ratios 1/4 and 1/5 of small codes are those of one step: cells hold 40 and 32 times the codes."""
    adc = replace(taox64.adc, step=step, columns_per_adc=4, offset=False)
    program = linear([Fraction(1, 4)] * 2 + [Fraction(1, 5)] * 2, 4, weight=weight)
    plan = lower(program, replace(taox64, adc=adc)).plans["w"]
    assert plan.kind == kind
    if step == "per_array" and kind == "single":
        assert [int(factor) for factor in plan.factor] == [40, 40, 32, 32]


@pytest.mark.parametrize("bias", [Fraction(0), Fraction(7, 3)])
def test_fewer_converter_bits_are_the_quantizers_range_in_coarser_steps(taox64: Hardware, bias: Fraction) -> None:
    """``q = clip(2^k clip(round((ratio acc + bias) / 2^k), -8, 7), lo, hi)`` with k = 8 - 4."""
    hw = replace(taox64, adc=replace(taox64.adc, bits=4))
    lowered = lower(linear([Fraction(1, 6)], 1, bias), hw)
    plan = lowered.plans["w"]
    assert (plan.kind, plan.why, lowered.exact) == ("lossy", "8-bit outputs, 4-bit converter", False)
    x = np.stack(np.meshgrid(np.arange(-128.0, 128), [-128.0, -9.0, 0.0, 5.0, 127.0]), -1).reshape(-1, 1, 2)
    real = [Fraction(3 * int(row.sum()), 6) + bias for row in x[:, 0]]
    codes = np.clip([round(value / 16) for value in real], -8, 7)
    assert Executor(lowered.program).run(x).ravel().tolist() == np.clip(16 * codes, -128, 127).tolist()


@pytest.mark.parametrize("step", ["per_column", "per_array"])
@pytest.mark.parametrize("change", [{}, {"rows": 2}, {"levels": 4}])
def test_ideal_converters_change_no_code(
    taox64: Hardware, program_of: Programs, change: dict[str, int], step: Any
) -> None:
    """``adc.bits = 0``, whatever is split: of fewer bits some code changes."""
    array, cell = (
        replace(taox64.array, rows=change.get("rows", 64)),
        replace(taox64.cell, levels=change.get("levels", 256)),
    )
    program = program_of(form="delta", n=4, channels=3, features=5)
    x = np.random.default_rng(0).normal(0, 10, (3, 6, 5))
    expected = trace(program, x)
    for bits, same in ((0, True), (3, False)):
        hw = replace(taox64, array=array, cell=cell, adc=replace(taox64.adc, bits=bits, step=step, offset=False))
        for place in ("analog", "digital-poles"):
            found = trace(lower(program, hw, place).program, x)  # type: ignore[arg-type]
            assert all(np.array_equal(found[name], codes) for name, codes in expected.items()) == same


def trace(program: Program, x: Any) -> dict[str, Any]:
    executor = Executor(program)
    state = executor.init(len(x))
    return {f"{name} {t}": codes for t in range(6) for name, codes in executor.step_codes(state, x[:, t]).items()}


def test_what_does_not_fit_is_refused_with_the_matrix_named(taox64: Hardware, program_of: Programs) -> None:
    program = program_of()
    narrow = replace(taox64, dac=replace(taox64.dac, bits=6))
    with pytest.raises(ModelError, match=r"SSMC-A02.*encoder: inputs -128\.\.127 have 8 bits.*takes 6"):
        lower(program, narrow)
    thin = replace(taox64, array=replace(taox64.array, columns=2), cell=replace(taox64.cell, levels=4))
    with pytest.raises(ModelError, match=r"SSMC-A01.*encoder: one output needs 8 columns.*has 2"):
        lower(program, thin)
    few = replace(taox64, array=replace(taox64.array, count=2))
    with pytest.raises(ModelError, match=r"SSMC-A03.*needs 4 arrays, 'taox64' has 2"):
        make_banks(lower(program, few).plans, few)


def test_digital_matrices_take_no_arrays(taox64: Hardware, program_of: Programs) -> None:
    lowered = lower(program_of(), taox64, {"ssm": "digital"})
    assert {plan.name: plan.kind for plan in lowered.plans.values()} == {
        "encoder": "single",
        "ssm": "digital",
        "decoder": "single",
    }
    assert {bank.op for bank in make_banks(lowered.plans, taox64)} == {"encoder", "decoder"}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_code_has_its_cells_once(shapes: Any, hardwares: Any, program_of: Programs, data: st.DataObject) -> None:
    hw = data.draw(hardwares)
    lowered = try_lower(program_of(data.draw(shapes)), hw)
    if lowered is None:
        return
    banks = make_banks(lowered.plans, hw)
    tiles = [tile for bank in banks for tile in bank.tiles]
    assert [tile.array for tile in tiles] == list(range(len(tiles)))
    for bank in banks:
        assert max(bank.rows_of(tile, hw) for tile in bank.tiles) <= hw.array.rows
        live = (bank.codes != 0).any((1, 3))
        spans = [(tile.group, j) for tile in bank.tiles for j in bank.outputs_in(tile).tolist()]
        assert sorted(spans) == [(g, j) for g, j in np.argwhere(live).tolist()]
        assert max(len(bank.outputs_in(tile)) for tile in bank.tiles) <= outputs_per_tile(len(bank.gains), hw)
    for plan in lowered.plans.values():
        rows = [row for bank in banks if bank.name.split("[")[0] == plan.name for row in range(*bank.rows)]
        assert rows == list(range(plan.matrix.inputs))
