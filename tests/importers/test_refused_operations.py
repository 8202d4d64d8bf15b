"""Operations that mix time steps, and operations on values without a quantizer, are declined at their node."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto

from ssmc.errors import ModelError
from ssmc.folding.operands import signal_of
from ssmc.folding.signals import Raw
from tests.graph_writer import Graph
from tests.importers.refusing import CODE, H, codes, end, looped, plain, refusal, start


def _cumulative(g: Graph, u: str) -> str:
    return g.op("CumSum", u, g.const(1, np.int64), out="guilty")


def _shifted(g: Graph, u: str) -> str:
    return g.op("Slice", u, g.const([1], np.int64), g.const([2**31], np.int64), g.const([1], np.int64), out="guilty")


def _first(g: Graph, u: str) -> str:
    return g.op("Gather", u, g.const([0], np.int64), axis=1, out="guilty")


def _convolved(g: Graph, u: str) -> str:
    turned = g.op("Transpose", u, perm=[0, 2, 1])
    y = g.op("Conv", turned, g.const(codes(H, H, 3) / 4), pads=[1, 1], out="guilty")
    return g.op("Transpose", y, perm=[0, 2, 1])


def _padded(g: Graph, u: str) -> str:
    turned = g.op("Transpose", u, perm=[0, 2, 1])
    y = g.op("Conv", turned, g.const(codes(H, H, 1) / 4), pads=[2, 0], out="guilty")
    return g.op("Transpose", y, perm=[0, 2, 1])


def _shuffled(g: Graph, u: str) -> str:
    """(T, N, C) read as (N, T, C): moves samples into each other."""
    shape = g.op("Shape", u)
    return g.op("Reshape", g.op("Transpose", u, perm=[1, 0, 2]), shape, out="guilty")


def _flattened(g: Graph, u: str) -> str:
    """(N, T, C) through (N, C, T) without moving data."""
    return g.op("Reshape", g.op("Reshape", u, g.const([0, H, -1], np.int64), out="guilty"), g.op("Shape", u))


def _attention(g: Graph, u: str) -> str:
    scores = g.op("MatMul", u, g.op("Transpose", u, perm=[0, 2, 1]), out="guilty")
    return g.op("MatMul", scores, u)


def _softmax(g: Graph, u: str) -> str:
    return g.op("Softmax", u, axis=1, out="guilty")


@pytest.mark.parametrize(
    ("op", "code"),
    [
        (_cumulative, "SSMC-T02"),
        (_shifted, "SSMC-T01"),
        (_first, "SSMC-T01"),
        (_convolved, "SSMC-T01"),
        (_padded, "SSMC-T01"),
        (_shuffled, "SSMC-T01"),
        (_flattened, "SSMC-T01"),
        (_attention, "SSMC-T02"),
        (_softmax, "SSMC-T02"),
    ],
)
def test_an_operation_that_mixes_time(op: Callable[[Graph, str], str], code: str) -> None:
    g, u = start()
    error = refusal(end(g, op(g, u)))
    assert (error.code, error.node) == (code, "guilty")


def test_a_mean_over_channels() -> None:
    g, u = start()
    mean = g.op("ReduceMean", u, g.const([2], np.int64), keepdims=1, out="guilty")
    error = refusal(end(g, g.op("Add", u, mean)))
    assert (error.code, error.node) == ("SSMC-T01", "guilty")


def test_unquantized_weights() -> None:
    g, u = start()
    weights = g.const(np.random.default_rng(0).standard_normal((H, H)))
    error = refusal(end(g, g.op("MatMul", u, weights, out="float.linear")))
    assert (error.code, error.node) == ("SSMC-Q05", "float.linear")


def test_unquantized_weights_of_a_recurrence() -> None:
    rng = np.random.default_rng(0)

    def step(b: Graph, state: str, u: str) -> tuple[str, str]:
        total = b.op("MatMul", state, b.const(rng.standard_normal((H, H))))
        return b.quant(b.op("Add", total, u), CODE, "s.q"), state

    error = refusal(looped(step))
    assert (error.code, error.node) == ("SSMC-Q05", "scan")


def test_a_matrix_on_an_unquantized_input() -> None:
    g = Graph()
    y = g.op("MatMul", "x", g.const(codes(2, H)), out="raw.linear")
    error = refusal(end(g, y))
    assert (error.code, error.node) == ("SSMC-Q06", "raw.linear")


def test_two_matrices_without_a_quantizer_between() -> None:
    g, u = start()
    first = g.op("MatMul", u, g.const(codes(H, H)), out="first")
    error = refusal(end(g, g.op("MatMul", first, g.const(codes(H, H)), out="second")))
    assert (error.code, error.node) == ("SSMC-Q06", "second")


def test_a_product_with_an_unquantized_factor() -> None:
    g, u = start()
    gate = g.op("MatMul", u, g.const(codes(H, H)), out="gate.linear")
    error = refusal(end(g, g.op("Mul", u, gate, out="gate.product")))
    assert (error.code, error.node) == ("SSMC-Q06", "gate.product")


def test_a_sum_with_an_unquantized_term() -> None:
    g, u = start()
    branch = g.op("MatMul", u, g.const(codes(H, H)), out="branch")
    error = refusal(end(g, g.op("Add", u, branch, out="residual")))
    assert (error.code, error.node) == ("SSMC-Q06", "residual")


def test_a_function_of_an_unquantized_value() -> None:
    g, u = start()
    branch = g.op("MatMul", u, g.const(codes(H, H)))
    error = refusal(end(g, g.op("Gelu", branch, out="gelu")))
    assert (error.code, error.node) == ("SSMC-Q06", "gelu")


@pytest.mark.parametrize("op", ["Max", "Min"])
def test_a_comparison_of_two_signals(op: str) -> None:
    g, u = start()
    other = g.quant(g.op("Neg", u), CODE, "v")
    error = refusal(end(g, g.op(op, u, other, out="compare")))
    assert (error.code, error.node) == ("SSMC-T02", "compare")


def test_the_input_of_a_recurrence_is_quantized() -> None:
    g, u = start()
    raw = g.op("MatMul", u, g.const(codes(H, H)))
    (y,) = g.loop(raw, [(H,)], lambda b, s, ut: ([plain(b, s[0], ut)[0]], s))
    error = refusal(end(g, y))
    assert (error.code, error.node) == ("SSMC-Q06", "scan")


def test_an_output_that_does_not_depend_on_the_input() -> None:
    g, _ = start()
    error = refusal(g.finish(2, g.op("Identity", g.const([[1.0]]), out="constant"), ("batch", 1)))
    assert error.code in {"SSMC-Q06", "SSMC-M05"}


def test_an_operation_whose_data_is_a_constant_and_whose_shape_is_a_signal() -> None:
    data, shape = ir.val("data"), ir.val("shape")
    node = ir.node("Reshape", [data, shape], name="guilty")
    signal = Raw(("N", "T", "C"), H, np.ones(H))
    assert signal_of(node, [None, signal], 1) is signal
    with pytest.raises(ModelError) as caught:
        signal_of(node, [None, signal])
    assert (caught.value.code, caught.value.node) == ("SSMC-T02", "guilty")


@pytest.mark.parametrize("kind", [TensorProto.INT8, TensorProto.BOOL, TensorProto.INT32])
def test_a_cast_that_changes_values(kind: int) -> None:
    g, u = start()
    error = refusal(end(g, g.op("Cast", g.op("Cast", u, to=kind, out="guilty"), to=TensorProto.FLOAT)))
    assert (error.code, error.node) == ("SSMC-T02", "guilty")


def test_a_constant_that_would_widen_a_single_channel() -> None:
    g, u = start()
    one = g.op("MatMul", u, g.op("Transpose", g.weight(codes(1, H), 0.25, "W"), perm=[1, 0]))
    error = refusal(end(g, g.op("Add", one, g.const([0.5, 0.25, 1.0]), out="guilty")))
    assert (error.code, error.node) == ("SSMC-T02", "guilty")


def test_a_cast_in_a_loop_that_changes_values() -> None:
    def step(b: Graph, state: str, u: str) -> tuple[str, str]:
        cut = b.op("Cast", b.op("Cast", u, to=TensorProto.INT8, out="guilty"), to=TensorProto.FLOAT)
        return plain(b, state, cut)

    error = refusal(looped(step))
    assert (error.code, error.node) == ("SSMC-S01", "guilty")


def test_a_function_that_is_undefined_at_some_codes() -> None:
    g, u = start()
    error = refusal(end(g, g.op("Sqrt", u)))
    assert (error.code, error.node) == ("SSMC-T02", "out")
    assert "undefined at code -128" in error.fact
