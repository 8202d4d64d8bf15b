"""Whole numbers and truth values that a file computes of constants, and the choices that depend on them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import onnx
import pytest

from ssmc.errors import ModelError
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


def test_halves_that_are_computed_from_the_number_of_channels() -> None:
    """``x.chunk(2, -1)`` as torch's older exporter writes it."""
    g = Graph("qdq")
    size = g.op("Gather", g.op("Shape", "x"), g.const(-1, np.int64), axis=0)
    half = g.op("Div", g.op("Add", size, g.const([1], np.int64)), g.const([2], np.int64))
    last = g.const([-1], np.int64)
    ends = (g.const([0], np.int64), half, g.op("Reshape", size, g.const([1], np.int64)))
    parts = [g.op("Slice", "x", start, stop, last) for start, stop in pairwise(ends)]
    proto = g.finish(3, g.op("Concat", *reversed(parts), axis=-1), ["batch", "time", 3])
    model = import_model(proto)
    assert not any(is_op(node, "Shape", "Gather", "Div") for node in model.graph)
    assert np.array_equal(run_onnx(model, {"x": X})[0], X[..., [2, 0, 1]])


def test_a_division_by_zero_is_left_to_onnxruntime() -> None:
    g = Graph("qdq")
    start = g.op("Div", g.const([3], np.int64), g.const([0], np.int64))
    y = g.op("Slice", "x", start, g.const([9], np.int64), g.const([1], np.int64))
    with pytest.raises(ModelError, match=r"SSMC-M05.*division by zero"):
        import_model(g.finish(3, y, ["batch", "time", 3]))
