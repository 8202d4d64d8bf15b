"""Whole numbers and truth values that a file computes of constants, and the choices that depend on them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from ssmc.importers.onnx_file import import_model
from ssmc.ir.build import graphs, is_op
from ssmc.verify import run_onnx
from tests.graph_writer import Graph

X = np.random.default_rng(0).standard_normal((2, 7, 3)).astype(np.float32)


def lerp(weight: float, other: str = "same") -> onnx.ModelProto:
    """``s' = lerp(s, u, weight)`` as torch writes it: near the end that the weight is nearer to."""
    g = Graph("qdq")

    def step(b: Graph, s: list[str], u: str) -> tuple[list[str], list[str]]:
        way = b.op("Sub", u, s[0])
        from_start = b.op("Add", s[0], b.op("Mul", b.const(weight), way))
        from_end = b.op("Sub", u, b.op("Mul", way, b.const(1 - weight)))
        near = b.op("Less", b.const(weight), b.const(0.5))
        ends = (from_start, from_end) if other == "same" else (from_start, b.const(0.0))
        new = b.op("Where", near, *ends)
        return [new], [b.op("Identity", new)]

    (y,) = g.loop("x", [(3,)], step)
    return g.finish(3, y, ["batch", "time", 3])


@pytest.mark.parametrize(("weight", "other"), [(0.25, "same"), (0.75, "same"), (0.25, "one number")])
def test_a_choice_that_is_always_the_same_is_made(weight: float, other: str) -> None:
    proto = lerp(weight, other)
    model = import_model(proto)
    assert not any(is_op(node, "Where", "Less") for graph in graphs(model.graph) for node in graph)
    assert np.array_equal(run_onnx(model, {"x": X})[0], run_onnx(proto, {"x": X})[0])


def test_a_choice_that_would_be_made_wider_stays() -> None:
    """The condition holds, and what it takes is one number, where the result has as many as the signal."""
    g = Graph("qdq")
    y = g.op("Where", g.const(True, np.bool_), g.const(0.5), "x")
    model = import_model(g.finish(3, y, ["batch", "time", 3]))
    assert any(is_op(node, "Where") for node in model.graph)
