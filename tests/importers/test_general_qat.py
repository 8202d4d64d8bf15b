"""What other people's quantizers write around the same arithmetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import ssmc
from ssmc.data import Samples
from ssmc.importers.onnx_file import import_model
from ssmc.ir.executor import Executor
from ssmc.quantize import QuantizeConfig, quantize
from ssmc.verify import run_onnx
from tests.compiling import program_of
from tests.graph_writer import Graph
from tests.importers.refusing import CODE, codes, start
from tests.quantize.floats import FEATURES, float_model

X = np.random.default_rng(0).standard_normal((3, 7, 2)).astype(np.float32)


def test_integer_weights_behind_a_clip() -> None:
    """Brevitas' QCDQ clips constant codes too; bounds that cut are applied."""
    g = Graph()
    x = g.quant("x", CODE, "xq")
    stored = g.const(codes(2, 3) * 40, np.int8)
    clipped = g.op("Clip", stored, g.const(-70, np.int8), g.const(70, np.int8))
    weight = g.op("DequantizeLinear", clipped, g.const(0.25), g.const(0, np.int8), out="W")
    proto = g.finish(2, g.quant(g.op("MatMul", x, weight), CODE, "out"), ("batch", "time", 3))
    assert np.array_equal(Executor(program_of(proto)).run(X), run_onnx(proto, {"x": X})[0])


def test_a_constant_behind_two_quantizers() -> None:
    """Of two values to add one is a constant that is quantized, limited, and quantized again."""
    g = Graph()
    x = g.quant("x", CODE, "xq")
    limited = g.op("Relu", g.quant(g.const([0.3, -1.07]), CODE, "first"))
    bias = g.quant(limited, CODE, "bias")
    proto = g.finish(2, g.quant(g.op("Add", x, bias), CODE, "out"), ("batch", "time", 2))
    assert np.array_equal(Executor(program_of(proto)).run(X), run_onnx(proto, {"x": X})[0])


@pytest.mark.parametrize("time_first", [False, True])
def test_a_linear_layer_through_a_reshape(time_first: bool) -> None:
    """Batch and time merge into one axis, in either order, and part again; compared teacher-forced."""
    g, u = start()
    turned = g.op("Transpose", u, perm=[1, 0, 2]) if time_first else u
    flat = g.op("Reshape", turned, g.const([-1, 3], np.int64))
    h = g.quant(g.op("Gemm", g.quant(flat, CODE, "f"), g.weight(codes(4, 3), 0.25, "W"), transB=1), CODE, "h")
    ends = g.op("Shape", turned, start=0, end=2)
    back = g.op("Reshape", h, g.op("Concat", ends, g.const([4], np.int64), axis=0), out="out")
    out = g.op("Transpose", back, perm=[1, 0, 2], out="y") if time_first else back
    proto = g.finish(2, out, ("batch", "time", 4))
    bundle = ssmc.compile(import_model(proto))
    assert bundle.trace["teacher_forced"]["compared"] > 0
    assert np.array_equal(bundle.run(X), run_onnx(proto, {"x": X})[0])


@pytest.mark.parametrize("opset", [13, 14, 15])
def test_old_spellings_of_reductions_and_split(opset: int) -> None:
    """Axes as an attribute, a Split that counts its outputs itself."""
    g, u = start()
    wide = g.quant(g.op("MatMul", u, g.weight(codes(3, 4), 0.25, "W")), CODE, "wide")
    halves = ["a", "b"]
    g.nodes.append(onnx.helper.make_node("Split", [wide], halves, name="split", axis=2))
    mean = g.op("ReduceMean", g.quant(g.op("Add", *halves), CODE, "sum"), axes=[1], keepdims=0)
    proto = g.finish(2, g.quant(mean, CODE, "out"), ("batch", 2), opset)
    assert import_model(proto).graph.opset_imports[""] == 21
    assert np.array_equal(Executor(program_of(proto)).run(X), run_onnx(proto, {"x": X})[0])


def test_sixteen_bit_weights_at_an_old_opset(tmp_path: Path) -> None:
    """What ``ssmc quantize`` writes states the opset that its own nodes need."""
    proto = float_model()
    for node in proto.graph.node:
        if node.op_type == "ReduceMean":
            del node.input[1:]
            node.attribute.append(onnx.helper.make_attribute("axes", [1]))
    proto.opset_import[0].version = 17
    path = tmp_path / "float.onnx"
    onnx.save(proto, path)
    x = np.random.default_rng(0).standard_normal((4, 20, FEATURES)).astype(np.float32)
    samples = Samples(x.reshape(-1, FEATURES), np.arange(5) * 20)
    made = quantize(path, samples, QuantizeConfig(weight_bits=12))
    real, close = (run_onnx(model, {"x": x})[0] for model in (proto, made.model))
    assert np.linalg.norm(close - real) < 0.1 * np.linalg.norm(real)
