"""Every spelling of a quantizer becomes one; numbers do not move; what is no quantizer stays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from ssmc.importers.onnx_file import import_model
from ssmc.ir.build import constant_array
from ssmc.ir.functions import attach_functions
from ssmc.passes.canonicalize_quantizers import CanonicalizeQuantizers
from ssmc.passes.fold_constants import FoldConstants
from ssmc.verify import run_onnx
from tests.graph_writer import QONNX, Graph, signed, unsigned

X = (np.arange(-60, 60, dtype=np.float32) / 8).reshape(2, 30, 2)
TIES = np.float32([[[-1.5, -0.5], [0.5, 1.5], [2.5, 100.0], [-100.0, 0.25]]])
Tail = Callable[[Graph], str]


def canonical(proto: onnx.ModelProto) -> tuple[ir.Model, tuple[str, ...]]:
    result = CanonicalizeQuantizers().run(import_model(proto))
    attach_functions(result.model)
    return result.model, result.applied


def quant_of(model: ir.Model) -> dict[str, np.ndarray]:
    """Constants of the only ``ssmc::Quant``."""
    (node,) = (n for n in model.graph if n.op_type == "Quant")
    assert node.domain == "ssmc"
    named = zip(("scale", "out_scale", "lo", "hi"), node.inputs[1:], strict=True)
    return {key: np.asarray(constant_array(value)) for key, value in named}


def only(tail: Tail, x: np.ndarray = TIES) -> dict[str, np.ndarray]:
    """Canonicalize one quantizer; its real values are the same bits before and after."""
    g = Graph()
    proto = g.finish(2, tail(g), ("batch", "time", 2))
    before = run_onnx(import_model(proto), {"x": x})[0]
    model, applied = canonical(proto)
    assert len(applied) == 1
    assert np.array_equal(run_onnx(model, {"x": x})[0], before)
    return quant_of(model)


def qdq(g: Graph, zero: int, dtype: type, scale: object = 0.5, **attributes: object) -> str:
    s, z = g.const(scale), g.const(np.full(np.shape(scale), zero), dtype)
    return g.op("DequantizeLinear", g.op("QuantizeLinear", "x", s, z, **attributes), s, z, **attributes)


@pytest.mark.parametrize(
    ("zero", "dtype", "lo", "hi"),
    [
        (0, np.int8, -128, 127),
        (0, np.uint8, 0, 255),
        (128, np.uint8, -128, 127),
        (3, np.int8, -131, 124),
        (-7, np.int16, -32761, 32774),
    ],
)
def test_codes_are_counted_from_the_zero_point(zero: int, dtype: type, lo: int, hi: int) -> None:
    found = only(lambda g: qdq(g, zero, dtype))
    assert (int(found["lo"]), int(found["hi"]), float(found["scale"])) == (lo, hi, 0.5)


def test_a_clip_between_narrows_the_range() -> None:
    def tail(g: Graph) -> str:
        s, z = g.const(0.5), g.const(0, np.int8)
        q = g.op("Clip", g.op("QuantizeLinear", "x", s, z), g.const(-3, np.int8), g.const(4, np.int8))
        return g.op("DequantizeLinear", q, s, z)

    found = only(tail)
    assert (int(found["lo"]), int(found["hi"])) == (-3, 4)


@pytest.mark.parametrize("axis", [2, -1])
def test_a_scale_per_channel(axis: int) -> None:
    found = only(lambda g: qdq(g, 0, np.int8, [0.5, 0.25], axis=axis))
    assert found["scale"].tolist() == [0.5, 0.25]


def test_a_scale_per_inner_axis_broadcasts_from_the_right() -> None:
    def tail(g: Graph) -> str:
        turned = g.op("Transpose", "x", perm=[0, 2, 1])
        s, z = g.const([0.5, 0.25]), g.const([0, 0], np.int8)
        q = g.op("QuantizeLinear", turned, s, z, axis=1)
        return g.op("Transpose", g.op("DequantizeLinear", q, s, z, axis=1), perm=[0, 2, 1])

    assert only(tail)["scale"].shape == (2, 1)


def test_another_scale_on_the_way_back() -> None:
    def tail(g: Graph) -> str:
        z = g.const(0, np.int8)
        return g.op("DequantizeLinear", g.op("QuantizeLinear", "x", g.const(0.5), z), g.const(2.0), z)

    found = only(tail)
    assert (float(found["scale"]), float(found["out_scale"])) == (0.5, 2.0)


@pytest.mark.parametrize("spelling", ["round", "minmax"])
@pytest.mark.parametrize("scale", [0.25, 0.3])
def test_rounding_arithmetic_keeps_its_divisor_as_the_scale(spelling: str, scale: float) -> None:
    def tail(g: Graph) -> str:
        g.spelling = spelling
        return g.quant("x", signed(4, scale), "q")

    found = only(tail)
    assert float(found["scale"]) == float(np.float32(scale))
    assert (int(found["lo"]), int(found["hi"])) == (-8, 7)


@pytest.mark.parametrize(("wide", "lo", "hi"), [(signed(5, 0.5), -16, 15), (unsigned(5, 0.5), 0, 31)])
def test_qonnx(wide: object, lo: int, hi: int) -> None:
    def tail(g: Graph) -> str:
        g.spelling = "qonnx"
        return g.quant("x", wide, "q")  # type: ignore[arg-type]

    found = only(tail)
    assert (int(found["lo"]), int(found["hi"])) == (lo, hi)


@pytest.mark.parametrize(
    ("options", "lo", "hi"), [({"signed": 1, "narrow": 1}, -7, 7), ({"signed": 0, "narrow": 1}, 0, 14), ({}, -8, 7)]
)
def test_qonnx_narrow_ranges(options: dict[str, int], lo: int, hi: int) -> None:
    found = only(lambda g: g.op("Quant", "x", g.const(0.5), g.const(0), g.const(4), domain=QONNX, **options))
    assert (int(found["lo"]), int(found["hi"])) == (lo, hi)


def test_infinite_and_fractional_bounds_become_codes() -> None:
    def tail(g: Graph) -> str:
        rounded = g.op("Round", g.op("Div", "x", g.const(0.5)))
        return g.op("Min", g.op("Max", rounded, g.const(-3.0)), g.const(2.0))

    found = only(tail)
    assert (int(found["lo"]), int(found["hi"])) == (-3, 2)


def test_ordinary_arithmetic_is_left_alone() -> None:
    g = Graph()
    h = g.op("Clip", g.op("Div", g.op("Relu", "x"), g.const(0.5)), g.const(-1.0), g.const(1.0))
    model, applied = canonical(g.finish(2, h, ("batch", "time", 2)))
    assert applied == ()
    assert [n.op_type for n in model.graph] == ["Relu", "Div", "Clip"]


def test_a_constant_becomes_its_codes() -> None:
    g = Graph("round")
    w = g.quant(g.const([[0.3, -0.9], [10.0, 0.1249]]), signed(4, 0.25), "w")
    model, applied = canonical(g.finish(2, g.op("MatMul", "x", w), ("batch", "time", 2)))
    assert len(applied) == 2
    (dequant,) = (n for n in model.graph if n.op_type == "Dequant")
    assert np.asarray(constant_array(dequant.inputs[0])).tolist() == [[1, -4], [7, 0]]


def test_a_constant_that_is_computed_becomes_its_codes_after_folding() -> None:
    """Weights are often written as functions of parameters: exp(log A)."""
    g = Graph("round")
    w = g.quant(g.op("Exp", g.const([[0.0, -1.0], [-2.0, -9.0]])), signed(8, 2.0**-6), "w")
    proto = g.finish(2, g.op("MatMul", "x", w), ("batch", "time", 2))
    model, _ = canonical(proto)
    folded = FoldConstants().run(model)
    attach_functions(folded.model)
    (dequant,) = (n for n in folded.model.graph if n.op_type == "Dequant")
    assert np.asarray(constant_array(dequant.inputs[0])).tolist() == [[64, 24], [9, 0]]
    assert np.array_equal(run_onnx(folded.model, {"x": X})[0], run_onnx(proto, {"x": X})[0])


def test_quantizers_inside_loops() -> None:
    g = Graph("round")
    u = g.quant("x", signed(8, 0.125), "u")

    def step(b: Graph, states: list[str], ut: str) -> tuple[list[str], list[str]]:
        return [b.quant(b.op("Add", states[0], ut), signed(8, 0.125), "s")], [states[0]]

    (y,) = g.loop(u, [(2,)], step)
    model, applied = canonical(g.finish(2, y, ("batch", "time", 2)))
    assert sorted(applied) == ["s.round", "u.round"]
    body = next(n for n in model.graph if n.op_type == "Scan").attributes["body"].as_graph()
    assert [n.op_type for n in body].count("Quant") == 1
