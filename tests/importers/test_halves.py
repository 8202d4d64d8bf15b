"""A model in float16 is the same model in float32: its constants, loops, quantizers and ends."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ssmc.data import Samples
from ssmc.importers.onnx_file import import_model
from ssmc.ir.executor import Executor
from ssmc.quantize import quantize
from ssmc.verify import run_onnx
from tests.compiling import program_of
from tests.graph_writer import Graph, signed
from tests.importers.refusing import CODE, decay, end, start

H = 3
X = np.random.default_rng(0).standard_normal((3, 9, 2))


def halved(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same file in float16: tensors, types of values, zeros."""
    model = onnx.ModelProto()
    model.CopyFrom(proto)
    bodies = [a.g for node in model.graph.node for a in node.attribute if a.HasField("g")]
    for graph in (model.graph, *bodies):
        for tensor in graph.initializer:
            if tensor.data_type == TensorProto.FLOAT:
                array = numpy_helper.to_array(tensor).astype(np.float16)
                tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
        for value in (*graph.input, *graph.output, *graph.value_info):
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
    return model


def recurrent(quantized: bool) -> onnx.ModelProto:
    """Codes and steps that float16 holds; a float model without quantizers."""
    g, u = start() if quantized else (Graph(), "x")

    def step(b: Graph, states: list[str], ut: str) -> tuple[list[str], list[str]]:
        new = decay(b, states[0], ut)
        return [b.quant(new, CODE, "s.q") if quantized else new], [states[0]]

    (y,) = g.loop(u, [(H if quantized else 2,)], step)
    return end(g, y) if quantized else g.finish(2, g.op("Mul", y, g.const([2.0, 0.5])), ("batch", "time", 2))


def test_a_quantized_model_gives_the_codes_of_its_float32_twin() -> None:
    proto = recurrent(quantized=True)
    program = program_of(halved(proto))
    assert np.array_equal(Executor(program).run(X), run_onnx(proto, {"x": X.astype(np.float32)})[0])


def test_a_float_model_is_quantized(tmp_path) -> None:
    onnx.save(halved(recurrent(quantized=False)), tmp_path / "m.onnx")
    samples = Samples(X.reshape(-1, 2), np.arange(4) * X.shape[1])
    assert quantize(tmp_path / "m.onnx", samples).fidelity.sqnr_db > 30


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_a_part_in_half_precision(kind: int) -> None:
    g, u = start()
    h = g.op("Cast", g.op("Mul", g.op("Cast", u, to=kind), g.op("Cast", g.const(0.5), to=kind)), to=TensorProto.FLOAT)
    proto = end(g, h)
    casts = [node for node in import_model(proto).graph if node.op_type == "Cast"]
    assert all(node.attributes["to"].as_int() == TensorProto.FLOAT for node in casts)
    plain, v = start()
    twin = end(plain, plain.op("Mul", v, plain.const(0.5)))
    assert np.array_equal(Executor(program_of(proto)).run(X), run_onnx(twin, {"x": X.astype(np.float32)})[0])


def test_inputs_in_half_precision_are_joined() -> None:
    g = Graph("qdq")
    joined = g.op("Concat", "a", "b", axis=2)
    y = g.quant(joined, signed(8, 2.0**-4), "y")
    model = helper.make_model(
        helper.make_graph(
            g.nodes,
            "two",
            [helper.make_tensor_value_info(n, TensorProto.FLOAT16, ["batch", "time", 1]) for n in "ab"],
            [helper.make_tensor_value_info(y, TensorProto.FLOAT16, ["batch", "time", 2])],
            list(g.constants.values()),
        ),
        opset_imports=[helper.make_opsetid("", 21)],
        ir_version=10,
    )
    (source,) = import_model(model).graph.inputs
    assert source.shape is not None
    assert source.shape[2] == 2
