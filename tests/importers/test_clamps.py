"""A clamp between an operation and its quantizer is the quantizer's range."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from ssmc.checking.teacher_forced import ForcedCheck
from ssmc.errors import ModelError
from ssmc.importers.onnx_file import import_model
from ssmc.ir.executor import Executor
from ssmc.ir.operations import Dequantize, Quantize
from ssmc.pipeline import run_pipeline
from ssmc.targets.integer.target import IntegerTarget
from ssmc.verify import run_onnx
from tests.compiling import program_of
from tests.graph_writer import Floats, Graph, signed

CLAMPS = {
    "relu": lambda g, x: g.op("Relu", x),
    "relu6": lambda g, x: g.op("Clip", x, g.const(0.0), g.const(0.75)),
    "one-sided": lambda g, x: g.op("Clip", x, g.const(-0.5)),
    "max, min": lambda g, x: g.op("Min", g.op("Max", x, g.const(0.3)), g.const(0.8)),
    "relu of relu": lambda g, x: g.op("Relu", g.op("Relu", x)),
}
SOURCES = ["matrix", "product", "sum", "mean"]


def clamped(clamp: str, source: str, scale: Floats | float = 2.0**-5) -> onnx.ModelProto:
    rng = np.random.default_rng(5)
    g = Graph()
    x = g.quant("x", signed(8, 2.0**-5), "xq")
    shape: list[str | int] = ["batch", "time", 3]
    if source == "matrix":
        h = g.op("MatMul", x, g.weight(rng.integers(-7, 8, (3, 3)), 2.0**-3, "W"))
    elif source == "mean":
        h, shape = g.op("ReduceMean", x, g.const([1], np.int64), keepdims=0), ["batch", 3]
    else:
        h = g.op({"product": "Mul", "sum": "Add"}[source], x, g.quant(g.op("Tanh", x), signed(6, 2.0**-5), "t"))
    return g.finish(3, g.quant(CLAMPS[clamp](g, h), signed(6, scale), "y"), shape)


def sample() -> Floats:
    return np.random.default_rng(1).normal(0, 1.5, (4, 8, 3)).astype(np.float32)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("clamp", CLAMPS)
def test_it_costs_nothing_and_changes_no_code(clamp: str, source: str) -> None:
    model, x = clamped(clamp, source), sample()
    program = program_of(model)
    between = [op for op in program.ops if not isinstance(op, Quantize | Dequantize)]
    assert len(between) == (1 if source in ("matrix", "mean") else 2), "the clamp is no operation of its own"
    (want,) = run_onnx(model, {"x": x})
    assert np.array_equal(Executor(program).run(x), want)
    assert want.min() >= {"relu": 0.0, "relu6": 0.0, "one-sided": -0.5, "max, min": 0.25, "relu of relu": 0.0}[clamp]


@pytest.mark.parametrize("op", ["Max", "Min"])
def test_the_largest_or_smallest_of_one_value_is_that_value(op: str) -> None:
    g = Graph()
    h = g.op("MatMul", g.quant("x", signed(8, 2.0**-5), "xq"), g.weight(np.eye(3, dtype=int), 2.0**-3, "W"))
    model = g.finish(3, g.quant(g.op(op, h), signed(6, 2.0**-5), "y"), ["batch", "time", 3])
    assert np.array_equal(Executor(program_of(model)).run(sample()), run_onnx(model, {"x": sample()})[0])


def test_free_scales_teacher_forced() -> None:
    check = ForcedCheck()
    model = clamped("relu6", "matrix", np.float32(0.0371))
    run_pipeline(import_model(model), IntegerTarget().pipeline(), oracle=False, after=check.see)
    found = check.compare({"x": sample()})
    assert (found.wrong, found.unseen) == (0, [])
    assert found.compared > 100


@pytest.mark.parametrize("clamp", CLAMPS)
def test_at_zero_the_scales_may_differ_elsewhere_not(clamp: str) -> None:
    model = clamped(clamp, "matrix", np.asarray([0.25, 0.5, 0.03125], np.float32))
    if clamp in ("relu", "relu of relu"):
        (want,) = run_onnx(model, {"x": sample()})
        assert np.array_equal(Executor(program_of(model)).run(sample()), want)
        return
    with pytest.raises(ModelError, match="channels differ in scale") as refused:
        program_of(model)
    assert refused.value.code == "SSMC-T02"
