"""One answer for export, quantize and compile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import ssmc
from ssmc.bundle.compile import lower
from ssmc.data import Samples
from ssmc.errors import ModelError
from ssmc.importers.onnx_file import import_model
from ssmc.passes.can_compile import can_compile
from ssmc.quantize import quantize
from ssmc.targets.integer.target import IntegerTarget
from tests.graph_writer import Graph
from tests.graphs import Spec
from tests.graphs import model as quantized_model
from tests.quantize.floats import FEATURES, float_model

SHAPES = [{}, {"dense": True}, {"after": True}, {"pool": "last"}, {"every": 3}]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_float_model_lacks_its_quantizers_and_stays_as_it_is(shape: dict[str, object]) -> None:
    model = import_model(float_model(**shape))  # type: ignore[arg-type]
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    ready = can_compile(model)
    assert ready.quantizers == 0
    assert {"x", "scan", "mean" if shape.get("pool") != "last" else "res"} <= set(ready.missing)
    assert ready.way_out.endswith(" more: 'ssmc quantize MODEL --data FILE.npz' adds them")
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("spec", [Spec(seed=1), Spec(seed=2, form="delta"), Spec(seed=3, layout="dense", free=True)])
def test_a_quantized_model_lacks_nothing(spec: Spec) -> None:
    ready = can_compile(import_model(quantized_model(spec)))
    assert ready.missing == ()
    assert ready.quantizers > 3
    assert ready.way_out == ""


def test_a_model_that_gives_its_input_back() -> None:
    """Whatever it has between nodes that nobody reads."""
    g = Graph("qdq")
    proto = g.finish(FEATURES, g.op("MatMul", "x", g.const(np.eye(FEATURES))), ["batch", "time", FEATURES])
    proto.graph.output[0].name = "x"
    with pytest.raises(ModelError, match=r"SSMC-Q06.*x: the output is not quantized"):
        ssmc.compile(import_model(proto), oracle=False)


def over_time() -> onnx.ModelProto:
    """A matrix over the steps: found when quantizers are in place, and no step of theirs mends it."""
    g = Graph("qdq")
    h = g.op("MatMul", "x", g.const(np.eye(FEATURES)))
    return g.finish(FEATURES, g.op("CumSum", h, g.const(1, np.int64)), ["batch", "time", FEATURES])


def product_over_time() -> onnx.ModelProto:
    g = Graph("qdq")
    h = g.op("MatMul", "x", g.const(np.eye(FEATURES)))
    return g.finish(FEATURES, g.op("ReduceProd", h, g.const([1], np.int64), keepdims=0), ["batch", FEATURES])


def part_of_the_time() -> onnx.ModelProto:
    """Steps 1 to 3 alone: the planner puts its quantizers, the fold refuses."""
    g = Graph("qdq")
    ends = [g.const([k], np.int64) for k in (1, 3, 1)]
    h = g.op("Slice", g.op("Relu", "x"), *ends)
    return g.finish(FEATURES, g.op("ReduceMean", h, g.const([1], np.int64), keepdims=0), ["batch", FEATURES])


@pytest.mark.parametrize("made", [over_time, product_over_time, part_of_the_time])
def test_quantize_and_compile_refuse_with_one_word_before_any_data_are_seen(made, tmp_path: Path) -> None:
    proto = made()
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(ModelError) as first:
        can_compile(import_model(proto))
    stages: list[str] = []
    data = Samples(np.zeros((20, FEATURES), np.float32), np.array([0, 20]))
    with pytest.raises(ModelError) as second:
        quantize(tmp_path / "m.onnx", data, progress=stages.append)
    assert str(second.value) == str(first.value)
    assert stages == ["raise"]
    with pytest.raises(ModelError):
        ssmc.compile(tmp_path / "m.onnx")


def test_compile_names_what_is_missing_only_where_quantizers_are_all_that_is() -> None:
    with pytest.raises(ModelError, match="adds them") as caught:
        lower(import_model(float_model()), IntegerTarget())
    assert caught.value.code == "SSMC-Q06"
    with pytest.raises(ModelError) as other:
        lower(import_model(part_of_the_time()), IntegerTarget())
    assert "adds them" not in str(other.value)


def test_export_refuses_what_no_quantizer_mends(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from ssmc.export import export_onnx

    class Sorted(torch.nn.Module):
        def forward(self, x):
            return torch.cumsum(x, 1)

    with pytest.raises(ModelError, match="SSMC-T02"):
        export_onnx(Sorted(), torch.zeros(2, 20, 3), tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()
