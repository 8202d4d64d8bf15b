"""Quantizers without an exact meaning are declined at their node."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.graph_writer import Graph
from tests.importers.refusing import end, looped, plain, refusal, start


def _qdq(g: Graph, u: str, **changes: object) -> str:
    """A QuantizeLinear-DequantizeLinear pair with some parts replaced."""
    parts = {"scale": g.const(0.25), "zero": g.const(0, np.int8), "back": None, "back_zero": None} | changes
    inputs = [v for v in (parts["scale"], parts["zero"]) if v is not None]
    q = g.op("QuantizeLinear", u, *inputs, out="guilty.q")
    back = [parts["back"] or parts["scale"], parts["back_zero"] or parts["zero"]]
    return g.op("DequantizeLinear", q, *[v for v in back if v is not None], out="guilty")


def test_a_scale_that_is_not_constant() -> None:
    g, u = start()
    scale = g.op("ReduceMax", g.op("Abs", u), keepdims=0)
    error = refusal(end(g, _qdq(g, u, scale=scale)))
    assert error.code == "SSMC-Q02"
    assert error.node.startswith("guilty")


@pytest.mark.parametrize("value", [0.0, -1.0, 1e-40, 3.4e38])
def test_a_scale_that_is_not_positive(value: float) -> None:
    g, u = start()
    error = refusal(end(g, _qdq(g, u, scale=g.const(value))))
    assert error.code == "SSMC-Q02"
    assert error.node.startswith("guilty")


@pytest.mark.parametrize(
    ("lo", "hi", "fact"),
    [
        (-127.5, 127.5, "between two codes"),
        (0.0, 15.25, "between two codes"),
        (-(2.0**30), 2.0**30, "wider than"),
        (1e30, 1e30, "wider than"),
        (5.0, -5.0, "holds no code"),
    ],
)
def test_a_clip_whose_bounds_are_no_codes(lo: float, hi: float, fact: str) -> None:
    g, u = start()
    rounded = g.op("Round", g.op("Div", u, g.const(0.25)))
    error = refusal(end(g, g.op("Mul", g.op("Clip", rounded, g.const(lo), g.const(hi), out="guilty"), g.const(0.25))))
    assert (error.code, error.node) == ("SSMC-Q03", "guilty")
    assert fact in error.fact


def test_a_division_by_minus_zero_before_rounding() -> None:
    g, u = start()
    rounded = g.op("Round", g.op("Div", u, g.const(-0.0), out="guilty"))
    error = refusal(end(g, g.op("Clip", rounded, g.const(-8), g.const(7))))
    assert (error.code, error.node) == ("SSMC-Q02", "guilty")


def test_a_missing_scale() -> None:
    g, u = start()
    g.nodes.append(helper.make_node("QuantizeLinear", [u], ["guilty.q"], name="guilty"))
    g.nodes.append(helper.make_node("DequantizeLinear", ["guilty.q", g.const(0.5)], ["back"]))
    error = refusal(end(g, "back"))
    assert (error.code, error.node) == ("SSMC-Q01", "guilty")


def test_a_missing_scale_inside_a_loop() -> None:
    def step(b: Graph, state: str, u: str) -> tuple[str, str]:
        b.nodes.append(helper.make_node("DequantizeLinear", [state], ["guilty.real"], name="guilty"))
        return plain(b, state, u)

    error = refusal(looped(step))
    assert (error.code, error.node) == ("SSMC-Q01", "guilty")


def test_zero_points_of_a_pair_differ() -> None:
    g, u = start()
    error = refusal(end(g, _qdq(g, u, back_zero=g.const(1, np.int8))))
    assert (error.code, error.node) == ("SSMC-Q03", "guilty")


def test_a_range_that_is_not_constant() -> None:
    """Once ignored in silence."""
    g, u = start()
    q = g.op("QuantizeLinear", u, g.const(0.25), g.const(0, np.int8))
    top = g.op("ReduceMax", q, keepdims=0)
    clipped = g.op("Clip", q, "", top, out="guilty.clip")
    error = refusal(end(g, g.op("DequantizeLinear", clipped, g.const(0.25), g.const(0, np.int8))))
    assert (error.code, error.node) == ("SSMC-Q02", "guilty.clip")


def test_a_pair_that_is_torn_apart() -> None:
    g, u = start()
    q = g.op("QuantizeLinear", u, g.const(0.25), g.const(0, np.int8), out="guilty.q")
    error = refusal(end(g, g.op("Cast", q, to=TensorProto.FLOAT)))
    assert (error.code, error.node) == ("SSMC-Q03", "guilty.q")


def test_rounding_without_a_range() -> None:
    g, u = start()
    error = refusal(end(g, g.op("Round", u, out="guilty")))
    assert (error.code, error.node) == ("SSMC-Q04", "guilty")


@pytest.mark.parametrize(
    ("bits", "options", "zero"),
    [
        (8, {"rounding_mode": "FLOOR"}, 0),
        (2.5, {}, 0),
        (8, {}, 1),
        (1, {"signed": 1}, 0),
        (8, {"signed": 2}, 0),
        (8, {"narrow": -1}, 0),
        (1e10, {}, 0),
        (-3, {}, 0),
    ],
)
def test_qonnx_quantizers_without_an_exact_meaning(bits: float, options: dict[str, object], zero: int) -> None:
    g, u = start("qonnx")
    given = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"} | options
    out = g.op(
        "Quant", u, g.const(0.25), g.const(zero), g.const(bits), out="guilty", domain="qonnx.custom_op.general", **given
    )
    error = refusal(end(g, out))
    assert (error.code, error.node) == ("SSMC-Q03", "guilty")
