"""A, B and C of a kernel apart: what each placement computes, converts and loses, and that the graph says the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ssmc
from ssmc.errors import ModelError
from ssmc.hardware.model import Hardware
from ssmc.importers.onnx_file import import_model
from ssmc.ir.executor import Executor
from ssmc.ir.operations import StateSpace
from ssmc.ir.program import Program
from ssmc.targets.aimc.cost.totals import cost
from ssmc.targets.aimc.lowering.kernel_places import PLACES, Place
from ssmc.targets.aimc.lowering.partial_sums import Lowered, lower
from ssmc.targets.aimc.target import AimcTarget
from ssmc.targets.aimc.tiles.assemble import assemble
from ssmc.verify import run_onnx
from tests.graphs import Spec, sample
from tests.graphs import model as model_of

Programs = Callable[..., Program]


def kernel_of(lowered: Lowered) -> StateSpace:
    return next(op for op in lowered.program.ops if isinstance(op, StateSpace))


def kinds(lowered: Lowered) -> dict[str, str]:
    return {name: plan.kind for name, plan in lowered.plans.items() if name.startswith("ssm")}


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("analog", {"ssm": "single"}),
        ("analog-split", {"ssm": "single", "ssm.output": "single"}),
        ("digital-poles", {"ssm": "digital", "ssm.input": "single", "ssm.output": "single"}),
        ("digital-states", {"ssm": "digital", "ssm.output": "single"}),
        ("digital", {"ssm": "digital"}),
    ],
)
def test_what_each_placement_converts(
    taox64: Hardware, program_of: Programs, place: Place, expected: dict[str, str]
) -> None:
    """N + p conversions a channel in the first three, p with A and B digital; exact with one 8-bit input."""
    n, p, h = 4, 1, 3
    lowered = lower(program_of(form="delta", n=n, channels=h), taox64, {"ssm": place})
    assert (kinds(lowered), lowered.exact, lowered.places["ssm"]) == (expected, True, place)
    lines = cost(assemble(lowered, taox64), taox64).per_step
    converted = sum(line.count for line in lines if line.op == "ssm" and line.component == "adc")
    assert converted == {"digital": 0, "digital-states": h * p}.get(place, h * (n + p))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_what_is_exact_changes_no_code(shapes: Any, hardwares: Any, program_of: Programs, data: st.DataObject) -> None:
    program, hw, place = program_of(data.draw(shapes)), data.draw(hardwares), data.draw(st.sampled_from(PLACES))
    try:
        lowered = lower(program, hw, place)
    except ModelError:
        return
    x = np.random.default_rng(0).normal(0, 10, (3, 6, program.input_size))
    assert np.array_equal(Executor(lowered.source).run(x), Executor(program).run(x))
    if lowered.exact:
        assert np.array_equal(Executor(lowered.program).run(x), Executor(program).run(x))


@pytest.mark.parametrize("step", ["per_column", "per_array"])
@pytest.mark.parametrize("m", [1, 2, 3])
def test_the_state_is_one_rounding_of_both_sums(taox64: Hardware, program_of: Programs, m: int, step: Any) -> None:
    """``q = clip(round(ratio (A R + s clip(round(B u / s), lo, hi)) + bias))``, in exact rationals."""
    hw = replace(taox64, adc=replace(taox64.adc, bits=5, step=step))
    program = program_of(form="direct", n=3, m=m, channels=2)
    lowered = lower(program, hw, {"ssm": "digital-poles"})
    before, op = next(op for op in program.ops if isinstance(op, StateSpace)), kernel_of(lowered)
    assert not lowered.exact
    assert op.input_sum is not None
    rng = np.random.default_rng(m)
    r, u = rng.integers(-128, 128, (2, 3)), rng.integers(-128, 128, (2, m))
    new, _ = op.step(r, u)
    for h, k in np.ndindex(2, 3):
        row, size = before.matrix.codes[h, k].tolist(), int(op.input_sum.step[h, k])
        window = (int(end.reshape(2, 3)[h, k]) for end in (op.input_sum.requant.lo, op.input_sum.requant.hi))
        lo, hi = window
        assert hi - lo == 31
        driven = Fraction(sum(w * x for w, x in zip(row[3:], u[h].tolist(), strict=True)), size)
        total = sum(w * x for w, x in zip(row[:3], r[h].tolist(), strict=True)) + size * min(max(round(driven), lo), hi)
        index = h * before.matrix.outputs + k
        code = round(before.requant.ratio[index] * total + before.requant.bias[index])
        assert new[h, k] == min(max(code, -128), 127)


def test_the_bound_is_what_the_converter_can_lose(taox64: Hardware, program_of: Programs) -> None:
    """No input makes more of a difference than `InputSum.lost`, and some input comes near."""
    hw = replace(taox64, adc=replace(taox64.adc, bits=4))
    op = kernel_of(lower(program_of(n=3, m=2, channels=2), hw, {"ssm": "digital-poles"}))
    assert op.input_sum is not None
    u = np.stack(np.meshgrid(np.arange(-128, 128), np.arange(-128, 128)), -1).reshape(-1, 1, 2).repeat(2, 1)
    exact = (op.matrix.codes[..., 3:] * u[:, :, None]).sum(-1)
    gap = np.abs(op.input_sum.product(u) - exact).max(0)
    assert (gap <= op.input_sum.lost).all()
    assert (gap >= 0.9 * op.input_sum.lost).all()
    assert op.error_bound() > 0


def test_one_input_loses_nothing_with_as_many_bits(taox64: Hardware, program_of: Programs) -> None:
    """The code is then the input's own, whatever the weight: the step of a column is its weight."""
    op = kernel_of(lower(program_of(n=5, channels=2, code_bits=8), taox64, {"ssm": "digital-poles"}))
    assert op.input_sum is not None
    weights = np.abs(op.matrix.codes[..., -1])
    assert np.array_equal(op.input_sum.step, weights)
    assert not op.input_sum.lost.any()
    u = np.arange(-128, 128).reshape(-1, 1, 1).repeat(2, 1)
    codes = op.input_sum.requant.apply_groups(op.input_sum.matrix.product(u))
    assert np.array_equal(codes, np.where(weights > 0, np.sign(op.matrix.codes[..., -1]) * u, 0))


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("preset", ["taox64", "isaac128", "narrow"])
@pytest.mark.parametrize("place", PLACES)
def test_the_graph_holds_the_same_quantizers(place: Any, preset: str, after: bool, taox64: Hardware) -> None:
    """onnxruntime on the bundle's graph, the integer executor and the ideal chip give the same outputs."""
    hw = replace(taox64, adc=replace(taox64.adc, bits=5)) if preset == "narrow" else preset
    spec = Spec(seed=3, features=2, channels=3, states=2, layers=2, form="delta", after=after)
    bundle = ssmc.compile(import_model(model_of(spec)), AimcTarget(hw, place=place), poles="keep", oracle=False)
    x = sample(spec)
    ours = Executor(bundle.compiled.program).run(x)
    assert np.array_equal(bundle.run(x), ours)
    assert np.array_equal(bundle.compiled.executor(literal=True).run(x), ours)  # type: ignore[attr-defined]
    (theirs,) = run_onnx(onnx.load_model_from_string(bundle.model), {"x": x})
    assert np.array_equal(theirs, ours.astype(np.float32))
