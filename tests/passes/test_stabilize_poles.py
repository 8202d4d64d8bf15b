"""Poles inside the unit circle: checked, refused by name, moved on request, never touched otherwise."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import ssmc
from ssmc.analysis.linear import poles
from ssmc.analysis.stable import into_circle
from ssmc.errors import ModelError
from ssmc.importers.onnx_file import import_model
from ssmc.ir.executor import Executor
from ssmc.ir.operations import StateSpace
from ssmc.ir.program import Program
from ssmc.ir.read_program import read_program
from ssmc.passes.stabilize_poles import StabilizePoles
from ssmc.pipeline import Effect, PassResult
from tests.compiling import lower
from tests.passes.test_prune_structure import X, recurrence

READ = [[1, 1]]
DRIVE = [[1, 0], [0, 1]]


def stabilized(proto: onnx.ModelProto, mode: str = "move") -> PassResult:
    return StabilizePoles(mode).run(lower(proto, "fold-quantization").model)  # type: ignore[arg-type]


def radius(program: Program) -> float:
    return max(float(np.abs(v).max()) for op in program.ops if isinstance(op, StateSpace) for v in poles(op))


def turning(a: int, b: int) -> list[list[int]]:
    return [[a, -b], [b, a]]


@pytest.mark.parametrize("mode", ["refuse", "move"])
@pytest.mark.parametrize("delta", [False, True])
def test_a_stable_kernel_is_not_touched(mode: str, delta: bool) -> None:
    proto = recurrence(turning(-1 if delta else 2, 1), DRIVE, READ, delta=delta)
    text = ir.to_proto(lower(proto, "fold-quantization").model.clone()).SerializeToString(deterministic=True)
    result = stabilized(proto, mode)
    assert result.applied == ()
    assert result.effect is Effect.EXACT
    assert ir.to_proto(result.model).SerializeToString(deterministic=True) == text


@pytest.mark.parametrize(
    ("A", "delta"),
    [(turning(3, 3), False), (turning(0, 1), True), (turning(-1, 3), True), ([[4, 0], [0, 2]], False)],
)
def test_an_unstable_mode_is_refused_by_name_and_moved_on_request(A: list[list[int]], delta: bool) -> None:
    proto = recurrence(A, DRIVE, READ, delta=delta)
    with pytest.raises(ModelError, match=r"SSMC-S06.*scan.*group 0, states 0.*--stabilize"):
        stabilized(proto, "refuse")
    before = radius(read_program(lower(proto, "fold-quantization").model))
    result = stabilized(proto)
    program = read_program(result.model)
    assert before >= 1 > radius(program)
    assert result.applied == (f"scan: group 0, states {'0' if A[0][1] == A[1][0] == 0 else '0, 1'}",)
    assert result.effect is StabilizePoles.effect is Effect.LOSSY
    assert StabilizePoles("refuse").run(result.model).applied == ()
    assert np.isfinite(Executor(program).run(X)).all()


def test_the_point_chosen_is_the_nearest_stable_one() -> None:
    """Direct, in quarters: 3 + 3i has size 1.06; of the points inside the circle 2 + 3i and 3 + 2i are nearest."""
    (op,) = (
        o for o in read_program(stabilized(recurrence(turning(3, 3), DRIVE, READ)).model).ops if hasattr(o, "keep")
    )
    assert isinstance(op, StateSpace)
    assert sorted(np.abs(op.matrix.codes[0, :2, 0]).tolist()) == [2, 3]


def test_a_mode_that_nobody_reads_has_no_say() -> None:
    proto = recurrence([[8, 0], [0, 2]], DRIVE, [[0, 1]])
    assert stabilized(proto, "refuse").applied == ()


def test_a_block_of_another_shape_is_refused_even_so() -> None:
    with pytest.raises(ModelError, match=r"SSMC-S06") as found:
        stabilized(recurrence([[4, 1], [2, 4]], DRIVE, READ))
    assert "--stabilize" not in str(found.value)


def test_into_circle() -> None:
    assert np.array_equal(into_circle(np.array([1.0, 2.0]), 0.25, delta=False), [1.0, 2.0])
    assert np.allclose(into_circle(np.array([0.0, 8.0]), 0.25, delta=False), [0.0, 4.0])
    assert np.allclose(into_circle(np.array([-4.0, 8.0]), 0.25, delta=True), [-4.0, 4.0])


def test_compiling_refuses_keeps_or_moves() -> None:
    proto = recurrence(turning(3, 3), DRIVE, READ)
    with pytest.raises(ModelError, match="SSMC-S06"):
        ssmc.compile(import_model(proto))
    assert radius(ssmc.compile(import_model(proto), poles="keep").compiled.program) > 1
    made = ssmc.compile(import_model(proto), poles="move")
    assert radius(made.compiled.program) < 1
    (facts,) = (p for p in made.report.passes if p.name == "stabilize-poles")
    assert facts.effect == "lossy"
    (row,) = (p for p in made.trace["passes"] if p["name"] == "stabilize-poles")
    assert row["deviation"] > 0
    assert row["moved"] > 0
    assert row["bound"] is None
