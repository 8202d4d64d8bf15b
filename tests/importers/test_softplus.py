"""torch's softplus takes over the value itself where that is large: a table like any other function."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from ssmc.importers.onnx_file import import_model
from ssmc.ir.build import is_op
from ssmc.verify import run_onnx
from tests.graph_writer import Graph

X = (np.random.default_rng(0).standard_normal((2, 7, 3)) * 30).astype(np.float32)


def softplus(beta: float, threshold: float = 20.0, large: str = "x") -> onnx.ModelProto:
    g = Graph("qdq")
    v = "x" if beta == 1 else g.op("Mul", "x", g.const(beta))
    smooth = g.op("Softplus", v) if beta == 1 else g.op("Div", g.op("Softplus", v), g.const(beta))
    other = "x" if large == "x" else g.op("Neg", "x")
    y = g.op("Where", g.op("Greater", v, g.const(threshold)), other, smooth)
    return g.finish(3, y, ["batch", "time", 3])


@pytest.mark.parametrize("beta", [1.0, 2.0])
def test_it_is_softplus_alone(beta: float) -> None:
    proto = softplus(beta)
    model = import_model(proto)
    assert not any(is_op(node, "Where") for node in model.graph)
    assert np.allclose(run_onnx(model, {"x": X})[0], run_onnx(proto, {"x": X})[0], atol=1e-5)


@pytest.mark.parametrize(("threshold", "large"), [(1.0, "x"), (20.0, "-x")])
def test_other_choices_stay(threshold: float, large: str) -> None:
    """Another value beyond a large threshold would not be seen in a comparison on noise."""
    assert any(is_op(node, "Where") for node in import_model(softplus(1.0, threshold, large)).graph)
