"""Files that are no model, and models with the wrong opset, weights, axes or types, are declined."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ssmc.errors import ModelError, UsageError
from ssmc.importers.onnx_file import import_model, load_model
from ssmc.pipeline import run_pipeline
from ssmc.targets.integer.target import IntegerTarget
from tests.graph_writer import Graph
from tests.graphs import Spec, model
from tests.importers.refusing import CODE, end, looped, refusal, start


def test_a_truncated_file(tmp_path: Path) -> None:
    data = model(Spec()).SerializeToString()
    for keep in (0, 1, 10, len(data) // 2, len(data) - 1):
        path = tmp_path / "cut.onnx"
        path.write_bytes(data[:keep])
        with pytest.raises(ModelError) as caught:
            load_model(path)
        assert caught.value.code in {"SSMC-M01", "SSMC-M03"}
        assert caught.value.node == "cut.onnx"


def test_a_file_that_is_not_onnx(tmp_path: Path) -> None:
    path = tmp_path / "picture.onnx"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" * 20)
    with pytest.raises(ModelError) as caught:
        load_model(path)
    assert caught.value.code == "SSMC-M01"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_model(tmp_path / "none.onnx")
    assert (caught.value.code, caught.value.exit_status) == ("SSMC-U01", 2)


def test_an_attribute_that_is_no_utf8() -> None:
    g, u = start("qonnx")
    proto = end(g, u)
    quantizer = next(node for node in proto.graph.node if node.op_type == "Quant")
    next(a for a in quantizer.attribute if a.name == "rounding_mode").s = b"ROU\xed"
    error = refusal(proto)
    assert (error.code, "no UTF-8" in error.fact) == ("SSMC-M01", True)


@pytest.mark.parametrize(("kind", "shape"), [(TensorProto.FLOAT, ["b", "t", 3]), (TensorProto.INT64, ["b", "t"])])
def test_an_output_that_nothing_computes(kind: int, shape: list[str | int]) -> None:
    """Ids too: no node is left that could read them in another shape."""
    x, y = (
        helper.make_tensor_value_info("x", kind, shape),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["b", 2]),
    )
    constant = helper.make_tensor("y", TensorProto.FLOAT, [1, 2], [1.0, 2.0])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["unused"])], "g", [x], [y], [constant])
    error = refusal(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]))
    assert (error.code, error.node) == ("SSMC-Q06", "y")


def test_a_wrong_opset() -> None:
    proto = model(Spec())
    proto.opset_import[0].version = 9
    error = refusal(proto)
    assert (error.code, error.node) == ("SSMC-M02", "model")
    assert "opset 9" in error.fact


def test_an_invalid_graph() -> None:
    g, u = start()
    error = refusal(end(g, g.op("Add", u, "nowhere")))
    assert error.code == "SSMC-M03"
    assert "nowhere" in error.fact


def test_a_flag_that_is_neither_0_nor_1() -> None:
    """onnxruntime takes keepdims = 128 for no, others for yes."""
    g, u = start()
    proto = end(g, g.op("ReduceMean", u, g.const([1], np.int64), keepdims=128))
    error = refusal(proto)
    assert (error.code, error.fact) == ("SSMC-M03", "ReduceMean: keepdims is 128, not 0 or 1")


def test_a_split_into_another_number_of_parts() -> None:
    """Onnx's shape inference aborts the process."""
    g, u = start()
    first = g.op("Split", u, axis=2, num_outputs=2)
    proto = end(g, first)
    split = next(node for node in proto.graph.node if node.op_type == "Split")
    split.output.extend(["second", "third"])
    error = refusal(proto)
    assert (error.code, error.fact) == ("SSMC-M03", "Split has 3 outputs and says 2")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(value: float) -> None:
    g, u = start()
    bias = g.const([0.0, value, 0.0], name="layer.bias")
    error = refusal(end(g, g.op("Add", u, bias)))
    assert (error.code, error.node) == ("SSMC-M04", "layer.bias")


def test_nan_weights_captured_by_a_loop() -> None:
    def step(b: Graph, state: str, u: str) -> tuple[str, str]:
        total = b.op("Mul", state, b.const([0.5, np.nan, 0.5], name="layer.A"))
        return b.quant(b.op("Add", total, u), CODE, "s.q"), state

    error = refusal(looped(step))
    assert (error.code, error.node) == ("SSMC-M04", "layer.A")


def test_an_infinite_clipping_bound_is_harmless() -> None:
    g, u = start()
    h = g.op("Clip", u, g.const(0.0), g.const(np.inf))
    result = run_pipeline(import_model(end(g, h)), IntegerTarget().pipeline())
    assert not any(record.declined for record in result.records)


def _with_input(shape: list[str | int], dtype: int = TensorProto.FLOAT) -> onnx.ModelProto:
    proto = model(Spec(features=2))
    proto.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", dtype, shape))
    return proto


@pytest.mark.parametrize(
    ("shape", "code"),
    [
        (["batch", "time", "features"], "SSMC-M08"),
    ],
)
def test_static_or_missing_axes(shape: list[str | int], code: str) -> None:
    error = refusal(_with_input(shape))
    assert (error.code, error.node) == (code, "x")


def test_a_missing_axis() -> None:
    """The graph is written for three axes, and contradicts the input before anything else can be told."""
    assert refusal(_with_input(["batch", 2])).code == "SSMC-M03"


def test_an_input_that_is_not_float32() -> None:
    error = refusal(_with_input(["batch", "time", 2], TensorProto.INT64))
    assert error.code in {"SSMC-M06", "SSMC-M03"}


def test_two_outputs() -> None:
    proto = model(Spec())
    proto.graph.output.append(onnx.ValueInfoProto(name="u"))
    error = refusal(proto)
    assert error.code in {"SSMC-M06", "SSMC-M03"}


def test_an_unknown_operator_domain() -> None:
    g, u = start()
    proto = end(g, g.op("Magic", u, out="guilty", domain="com.example"))
    proto.opset_import.append(helper.make_opsetid("com.example", 1))
    error = refusal(proto)
    assert (error.code, error.node) == ("SSMC-M07", "guilty")


def test_a_batch_norm_whose_variance_is_not_positive() -> None:
    proto = model(Spec(norm=True))
    name = next(n for n in proto.graph.node if n.op_type == "BatchNormalization").input[4]
    variance = next(tensor for tensor in proto.graph.initializer if tensor.name == name)
    array = onnx.numpy_helper.to_array(variance).copy()
    array[0] = -1
    variance.CopyFrom(onnx.numpy_helper.from_array(array, name))
    error = refusal(proto)
    assert (error.code, error.node) == ("SSMC-M04", "l0.bn")


def test_batch_norm_in_training_mode() -> None:
    proto = model(Spec(norm=True))
    node = next(n for n in proto.graph.node if n.op_type == "BatchNormalization")
    node.attribute.append(helper.make_attribute("training_mode", 1))
    error = refusal(proto)
    assert (error.code, error.node) == ("SSMC-M09", "l0.bn")
