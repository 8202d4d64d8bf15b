"""Norms that exporters write out as means and roots are one node, and the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_ir import to_proto

from ssmc.importers.onnx_file import import_model
from ssmc.verify import run_onnx
from tests.graph_writer import Graph

F = 4
X = np.random.default_rng(0).standard_normal((3, 5, F)).astype(np.float32)


GAIN = [1.0, 2.0, 3.0, 4.0]


def written_out(
    g: Graph, centred: bool, root: str, square: str, x: str = "x", epsilon: float = 1e-3, gain: object = None
) -> str:
    axis = g.const([-1], np.int64)
    d = g.op("Sub", x, g.op("ReduceMean", x, axis, keepdims=1)) if centred else x
    squared = g.op("Mul", d, d) if square == "Mul" else g.op("Pow", d, g.const(2.0))
    mean = g.op("Add", g.op("ReduceMean", squared, axis, keepdims=1), g.const(epsilon))
    d = d if gain is None else g.op("Mul", g.const(gain), d)
    if root == "Div":
        return g.op("Div", d, g.op("Sqrt", mean))
    inverse = g.op("Pow", mean, g.const(-0.5)) if root == "Pow" else g.op("Reciprocal", g.op("Sqrt", mean))
    return g.op("Mul", inverse, d)


@pytest.mark.parametrize("square", ["Mul", "Pow"])
@pytest.mark.parametrize("root", ["Div", "Reciprocal", "Pow"])
@pytest.mark.parametrize("centred", [True, False])
def test_every_spelling_becomes_one_node(centred: bool, root: str, square: str) -> None:
    g = Graph()
    normed = g.op("Mul", written_out(g, centred, root, square), g.const(GAIN))
    proto = g.finish(F, normed, ("batch", "time", F))
    model = import_model(proto)
    kind = "LayerNormalization" if centred else "RMSNormalization"
    assert [node.op_type for node in model.graph] == [kind, "Mul"]
    assert np.allclose(run_onnx(to_proto(model), {"x": X})[0], run_onnx(proto, {"x": X})[0], atol=1e-5)


@pytest.mark.parametrize("gain", [GAIN, 2.0])
@pytest.mark.parametrize("root", ["Div", "Reciprocal"])
@pytest.mark.parametrize("centred", [True, False])
def test_a_gain_in_front_of_the_root_is_the_norms_own(centred: bool, root: str, gain: object) -> None:
    """``w * x * rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)``."""
    g = Graph()
    proto = g.finish(F, written_out(g, centred, root, "Pow", gain=gain), ("batch", "time", F))
    model = import_model(proto)
    assert [node.op_type for node in model.graph] == ["LayerNormalization" if centred else "RMSNormalization"]
    assert np.allclose(run_onnx(to_proto(model), {"x": X})[0], run_onnx(proto, {"x": X})[0], atol=1e-5)


def test_a_mean_over_time_is_no_norm() -> None:
    g = Graph()
    mean = g.op("ReduceMean", g.op("Mul", "x", "x"), g.const([1], np.int64), keepdims=1)
    y = g.op("Div", "x", g.op("Sqrt", g.op("Add", mean, g.const(1e-3))))
    model = import_model(g.finish(F, y, ("batch", "time", F)))
    assert "RMSNormalization" not in {node.op_type for node in model.graph}


@pytest.mark.parametrize("centred", [True, False])
def test_behind_a_loop_whose_axes_are_constants_of_the_main_graph(centred: bool) -> None:
    """onnx infers no shapes from axes that lie outside of the body."""
    g = Graph()

    def step(b: Graph, states: list[str], u: str) -> tuple[list[str], list[str]]:
        axis = b.const([-1], np.int64)
        new = b.op("Add", b.op("Mul", states[0], b.const(0.5)), b.op("Unsqueeze", u, axis))
        return [new], [b.op("ReduceSum", new, axis, keepdims=0)]

    (h,) = g.loop("x", [(F, 1)], step)
    normed = written_out(g, centred, "Div", "Mul", h)
    model = import_model(g.finish(F, normed, ("batch", "time", F)))
    assert [node.op_type for node in model.graph][-1] == ("LayerNormalization" if centred else "RMSNormalization")
