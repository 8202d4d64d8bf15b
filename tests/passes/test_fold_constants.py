from __future__ import annotations

import numpy as np
import pytest

from ssmc.importers.onnx_file import import_model
from ssmc.ir.functions import attach_functions
from ssmc.passes.canonicalize_quantizers import CanonicalizeQuantizers
from ssmc.passes.fold_constants import FoldConstants
from ssmc.verify import run_onnx
from tests.graph_writer import Graph, signed

X = np.random.default_rng(0).standard_normal((2, 4, 2)).astype(np.float32)


def test_constant_chains_fold() -> None:
    g = Graph()
    w = g.op("Transpose", g.op("Neg", g.op("Add", g.const([[1.0, 2.0]]), g.const([[3.0], [5.0]]))), perm=[1, 0])
    proto = g.finish(2, g.op("MatMul", "x", w), ("batch", "time", 2))
    result = FoldConstants().run(import_model(proto))
    assert len(result.applied) == 3
    assert [n.op_type for n in result.model.graph] == ["MatMul"]
    assert np.array_equal(run_onnx(result.model, {"x": X})[0], run_onnx(proto, {"x": X})[0])


def test_constants_inside_a_loop_fold() -> None:
    g = Graph("round")
    u = g.quant("x", signed(8, 0.125), "u")

    def step(b: Graph, states: list[str], ut: str) -> tuple[list[str], list[str]]:
        decay = b.op("Mul", b.const(0.5), b.const([0.5, 1.0]), out="inner.constant")
        return [b.quant(b.op("Add", b.op("Mul", states[0], decay), ut), signed(8, 0.125), "s")], [states[0]]

    (y,) = g.loop(u, [(2,)], step)
    model = CanonicalizeQuantizers().run(import_model(g.finish(2, y, ("batch", "time", 2)))).model
    result = FoldConstants().run(model)
    assert result.applied == ("inner.constant",)
    attach_functions(result.model)


def test_shapes_of_signals_and_signals_stay() -> None:
    g = Graph()
    proto = g.finish(2, g.op("Reshape", g.op("Relu", "x"), g.op("Shape", "x")), ("batch", "time", 2))
    result = FoldConstants().run(import_model(proto))
    assert result.applied == ()
    assert len(list(result.model.graph)) == 3


@pytest.mark.parametrize("spelling", ["qdq", "qonnx"])
def test_integer_weights_stay_visible(spelling: str) -> None:
    """``ssmc::Dequant`` is not folded: its codes are the weights."""
    g = Graph(spelling)
    w = g.weight(np.array([[1, -2], [3, 4]]), 0.25, "w")
    model = CanonicalizeQuantizers().run(import_model(g.finish(2, g.op("MatMul", "x", w), ("batch", "time", 2)))).model
    result = FoldConstants().run(model)
    assert result.applied == ()
    assert [n.op_type for n in result.model.graph] == ["Dequant", "MatMul"]
