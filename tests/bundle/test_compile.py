"""What is given stays as it was; the trace says what was measured; nothing lossy calls itself exact."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import ssmc
from ssmc.bundle.compile import lower
from ssmc.bundle.pruning import find_cuts
from ssmc.bundle.stages import split_at_folded
from ssmc.conversion.ranges import input_range
from ssmc.hardware.file import load_hardware
from ssmc.importers.onnx_file import import_model
from ssmc.ir.matrix import Matrix
from ssmc.ir.operations import Linear
from ssmc.ir.requant import Requant
from ssmc.report.summary import summary
from ssmc.targets.aimc.target import AimcTarget
from ssmc.targets.integer.target import IntegerTarget
from tests.bundle.test_stages import SPEC, budget
from tests.graphs import Spec, model

EIGHT = Spec(seed=1, form="delta", code_bits=8)


def written(graph: ir.Model) -> bytes:
    return ir.to_proto(graph).SerializeToString(deterministic=True)


def test_the_callers_model_stays_as_it_was() -> None:
    graph = import_model(model(SPEC))
    before = written(graph)
    ssmc.compile(graph, oracle=False, poles="keep")
    assert written(graph) == before
    lower(graph, IntegerTarget(), poles="keep", oracle=False)
    assert written(graph) == before
    find_cuts(graph, split_at_folded(IntegerTarget().pipeline(), "a test")[0], budget(10.0))
    assert written(graph) == before
    ssmc.compile(graph, prune=budget(10.0), poles="keep")
    assert written(graph) == before


def test_a_model_in_memory_compiles_as_its_file(tmp_path: Path) -> None:
    onnx.save(model(SPEC), tmp_path / "main.onnx")
    from_file = ssmc.compile(tmp_path / "main.onnx", oracle=False, poles="keep")
    in_memory = ssmc.compile(import_model(model(SPEC)), oracle=False, poles="keep")
    assert in_memory.model == from_file.model
    assert in_memory.files()["weights.npz"] == from_file.files()["weights.npz"]


@pytest.mark.parametrize("oracle", [True, False])
def test_the_trace_says_whether_anything_was_measured(oracle: bool) -> None:
    trace = ssmc.compile(import_model(model(SPEC)), oracle=oracle, poles="keep").trace
    assert trace["oracle"] is oracle
    assert all((row["deviation"] is not None) == oracle for row in trace["passes"])
    assert (trace["teacher_forced"]["compared"] is not None) == oracle


def headline(bundle: ssmc.Bundle) -> tuple[str, str]:
    """Value and note of the card about exactness."""
    ((value, note),) = ((v, n) for v, label, n in summary(bundle.report) if label == "operations proven exact")
    return value, note


def test_a_lossy_lowering_does_not_call_itself_exact() -> None:
    hw = load_hardware("taox64")
    narrow = replace(hw, adc=replace(hw.adc, bits=6))
    exact, lossy = (
        ssmc.compile(import_model(model(EIGHT)), AimcTarget(chip), oracle=False, poles="keep") for chip in (hw, narrow)
    )
    assert headline(exact) == ("all", "")
    assert exact.compiled.lowered.exact  # type: ignore[attr-defined]
    plans = lossy.compiled.lowered.plans.values()  # type: ignore[attr-defined]
    losing = {plan.op for plan in plans if plan.kind == "lossy"}
    assert losing
    assert {op.name for op in lossy.report.ops if op.bound} == losing
    value, note = headline(lossy)
    assert value == f"all but {len(losing)}"
    assert note.endswith("insert-partial-sums is lossy")
    assert all(op.exactness.startswith("bounded(") for op in lossy.report.ops if op.name in losing)
    assert ">all<" in exact.files()["report.html"].decode()
    assert ">all<" not in lossy.files()["report.html"].decode()


def test_the_bound_of_a_lossy_operation_holds() -> None:
    """Codes before rounding, on the sums that its converters make of random inputs within their ranges."""
    hw = load_hardware("taox64")
    narrow = replace(hw, adc=replace(hw.adc, bits=6))
    made = ssmc.compile(import_model(model(EIGHT)), AimcTarget(narrow), oracle=False, poles="keep")
    bounds = {op.name: op.bound for op in made.report.ops}
    rng, program = np.random.default_rng(0), made.compiled.program
    lossy = [op for op in program.ops if isinstance(op, Linear) and op.matrix.is_lowered]
    assert lossy
    for op in lossy:
        low, high = input_range(program, op)
        v = rng.integers(low, high + 1, (500, 1, op.matrix.inputs))
        exact = made.compiled.lowered.plans[op.name].exact  # type: ignore[attr-defined]
        whole = in_codes(exact, Matrix(op.matrix.codes).product(v)[:, 0])
        off = np.abs(in_codes(op.requant, op.matrix.product(v)[:, 0]) - whole)
        assert 0 < off.max() <= bounds[op.name]


def in_codes(requant: Requant, sums: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Codes before rounding, within their range."""
    ratio, bias = (np.array([float(x) for x in exact]) for exact in (requant.ratio, requant.bias))
    return np.clip(ratio * sums + bias, requant.lo, requant.hi)


def test_a_pass_that_was_not_exact_is_named_beside_the_headline() -> None:
    bundle = ssmc.compile(import_model(model(SPEC)), prune=budget(25.0), oracle=False, poles="keep")
    assert headline(bundle) == ("all", "prune-budget is lossy")
