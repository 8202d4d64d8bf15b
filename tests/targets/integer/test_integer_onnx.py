"""The integer program as integer ONNX: onnxruntime, free-running, gives the reference executor's codes."""

from __future__ import annotations

import onnx
import pytest
from hypothesis import HealthCheck, assume, given, settings

from ssmc.errors import ModelError
from ssmc.ir.program import Program
from ssmc.targets.integer.executor import Executor
from ssmc.targets.integer.integer_onnx import DOMAIN, integer_onnx
from ssmc.verify import run_onnx
from tests.compiling import program_of
from tests.graphs import Spec, sample
from tests.strategies import specs

REAL = {"Cast", "Div", "Round", "Max", "Min", "Mul"}


def _every_node(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    nodes = list(model.graph.node)
    for function in model.functions:
        nodes += function.node
        nodes += [n for node in function.node for a in node.attribute for n in a.g.node]
    return nodes


def _expressible(program: Program) -> onnx.ModelProto | None:
    try:
        return integer_onnx(program)
    except ModelError:
        return None


@given(specs(free=True))
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_onnxruntime_runs_the_same_codes(spec: Spec) -> None:
    program = program_of(spec)
    x = sample(spec, batch=3, steps=17)
    model = _expressible(program)
    assume(model is not None)
    (got,) = run_onnx(model, {program.input_name: x})
    assert (got == Executor(program).run(x).astype("float32")).all()


def test_only_the_ends_are_real() -> None:
    model = integer_onnx(program_of(Spec()))
    arrays = [onnx.numpy_helper.to_array(t) for t in model.graph.initializer]
    assert {a.dtype.kind for a in arrays if a.ndim > 1} == {"i"}
    kinds = [node.op_type for node in _every_node(model) if node.domain in ("", DOMAIN)]
    assert kinds.count("Round") == 1
    assert "Sqrt" not in kinds


def test_an_unfused_kernel_is_refused_by_name() -> None:
    program = program_of(Spec(), until="prune-structure")
    with pytest.raises(ModelError, match="unfused") as caught:
        integer_onnx(program)
    assert caught.value.code == "SSMC-I01"
