"""What stands around a recurrence, written in many ways: the same program, and always what onnxruntime computes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from ssmc.ir.executor import Executor
from ssmc.ir.operations import Last, Linear, Mean, StateSpace, Table
from ssmc.verify import run_onnx
from tests.compiling import lower, program_of
from tests.graph_writer import Graph, signed, unsigned
from tests.importers.test_spellings import CODE, A, B, F, H, X, equal, start


def tail(build: Callable[[Graph, str], str], shape: tuple[str | int, ...] = ("batch", "time", H)) -> onnx.ModelProto:
    g, u = start("round")
    return g.finish(F, g.quant(build(g, u), CODE, "out"), shape)


def ints(g: Graph, *values: int) -> str:
    return g.const(values, np.int64)


@pytest.mark.parametrize(
    "build",
    [
        lambda g, u: g.op("Relu", u),
        lambda g, u: g.op("Max", g.const(0.25), u),
        lambda g, u: g.op("Pow", g.const(2.0), u),
        lambda g, u: g.op("Clip", u, g.const(-0.5), g.const(0.75)),
        lambda g, u: g.op("Mul", u, g.op("Sigmoid", u)),
        lambda g, u: g.op("Sub", g.const(1.0), u),
        lambda g, u: g.op("Sub", u, g.op("Relu", u)),
        lambda g, u: g.op("Div", u, g.const([2.0, 4.0, 0.5])),
        lambda g, u: g.op("Add", u, g.const([0.5, -0.25, 1.0])),
        lambda g, u: g.op("Mul", u, g.const([[[0.5, -0.25, 0.0]]])),
        lambda g, u: g.op("Tanh", g.op("Mul", u, g.const([0.5, 1.0, 2.0]))),
    ],
)
def test_one_code_in_one_code_out_is_a_table(build: Callable[[Graph, str], str]) -> None:
    ops = equal(tail(build))
    assert sum(isinstance(op, Table) for op in ops) == 1
    assert sum(isinstance(op, Linear) for op in ops) == 1


def _flat(g: Graph, u: str) -> str:
    flat = g.op("Reshape", u, ints(g, -1, H))
    h = g.op("Gemm", flat, g.const(A * 2), g.const([0.5, 0.0, -0.5]), transB=1)
    return g.op("Reshape", h, g.op("Shape", u))


def _flat_time_first(g: Graph, u: str) -> str:
    turned = g.op("Transpose", u, perm=[1, 0, 2])
    flat = g.op("MatMul", g.op("Reshape", turned, ints(g, -1, H)), g.const(A))
    return g.op("Transpose", g.op("Reshape", flat, g.op("Shape", turned)), perm=[1, 0, 2])


def _pointwise(g: Graph, u: str) -> str:
    weight = g.const((A * 2)[:, :, None])
    y = g.op("Conv", g.op("Transpose", u, perm=[0, 2, 1]), weight, g.const([0.5, 0.0, 1.0]), kernel_shape=[1])
    return g.op("Transpose", y, perm=[0, 2, 1])


def _channels_first(g: Graph, u: str) -> str:
    return g.op("Transpose", g.op("MatMul", g.const(A), g.op("Transpose", u, perm=[0, 2, 1])), perm=[0, 2, 1])


def _unsqueezed(g: Graph, u: str) -> str:
    wide = g.op("Unsqueeze", g.op("MatMul", u, g.const(A)), ints(g, 1))
    return g.op("Squeeze", wide, ints(g, 1))


@pytest.mark.parametrize("build", [_flat, _flat_time_first, _pointwise, _channels_first, _unsqueezed])
def test_a_matrix_over_channels_in_any_layout(build: Callable[[Graph, str], str]) -> None:
    ops = equal(tail(build))
    assert sum(isinstance(op, Linear) for op in ops) == 2


@pytest.mark.parametrize("end", [-2, "length"])
def test_a_dense_convolution_that_is_padded_on_both_sides_and_cut(end: int | str) -> None:
    def build(g: Graph, u: str) -> str:
        weight = g.const(np.stack([A * 2, A, -A], -1))
        turned = g.op("Transpose", u, perm=[0, 2, 1])
        y = g.op("Conv", turned, weight, kernel_shape=[3], pads=[2, 2])
        stop = ints(g, -2) if end == -2 else g.op("Shape", turned, start=2, end=3)
        return g.op("Transpose", g.op("Slice", y, ints(g, 0), stop, ints(g, 2)), perm=[0, 2, 1])

    assert sum(isinstance(op, StateSpace) for op in equal(tail(build))) == 1


def test_taking_channels_apart() -> None:
    def build(g: Graph, u: str) -> str:
        first = g.op("Slice", u, ints(g, 0), ints(g, 1), ints(g, 2))
        rest = g.op("Gather", u, ints(g, 1, 2), axis=2)
        product = g.op("Mul", g.op("Gather", rest, ints(g, 0), axis=-1), first)
        return product

    equal(tail(build, ("batch", "time", 1)))


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("axis", [1, -2])
def test_mean_over_time(keep: int, axis: int) -> None:
    proto = tail(lambda g, u: g.op("ReduceMean", u, ints(g, axis), keepdims=keep), ("batch", *([1] if keep else []), H))
    result = lower(proto, oracle=True)
    assert max(record.deviation or 0 for record in result.records) == 0
    program = program_of(proto)
    assert sum(isinstance(op, Mean) for op in program.ops) == 1
    assert np.array_equal(Executor(program).run(X), run_onnx(proto, {"x": X})[0].reshape(len(X), H))


def _by_slice(g: Graph, u: str) -> str:
    return g.op("Squeeze", g.op("Slice", u, ints(g, -1), ints(g, 2**62), ints(g, 1)), ints(g, 1))


@pytest.mark.parametrize("build", [_by_slice, lambda g, u: g.op("Gather", u, g.const(-1, np.int64), axis=1)])
def test_the_last_step(build: Callable[[Graph, str], str]) -> None:
    ops = equal(tail(build, ("batch", H)))
    assert sum(isinstance(op, Last) for op in ops) == 1


@pytest.mark.parametrize("zero", [0, 3, 128])
def test_zero_points(zero: int) -> None:
    g = Graph()
    scale, point = g.const(2.0**-5), g.const(zero, np.uint8)
    u = g.op("DequantizeLinear", g.op("QuantizeLinear", "x", scale, point), scale, point)
    equal(g.finish(F, g.quant(g.op("MatMul", u, g.const(B[:F])), CODE, "out"), ("batch", "time", H)))


def test_ties_of_a_step_that_is_no_power_of_two() -> None:
    """Integers over 6 in float32 are exact where it matters: at ties. Offsets in sixths are exact only as rationals."""
    g = Graph("round")
    u = g.op("Mul", g.quant("x", signed(8, 0.125), "u"), g.const(8.0))
    total = g.op("Add", g.op("MatMul", u, g.const([[1.0, 2.0, 1.0], [3.0, 2.0, -1.0]])), g.const([1.0, 2.0, 3.0]))
    ops = equal(g.finish(F, g.quant(total, signed(8, 6.0), "out"), ("batch", "time", H)))
    (linear,) = (op for op in ops if isinstance(op, Linear))
    assert {r.denominator for r in linear.requant.ratio} <= {2, 3, 6}
    assert linear.requant.bias[0].denominator == 6


def test_wide_weights_of_any_scale() -> None:
    g = Graph()
    stored = g.const([[1000, -3000, 7], [32000, 5, -12]], np.int16)
    weight = g.op("DequantizeLinear", stored, g.const(0.00031))
    u = g.quant("x", signed(8, 0.0371), "u")
    proto = g.finish(F, g.quant(g.op("MatMul", u, weight), signed(8, 0.17), "out"), ("batch", "time", H))
    program = program_of(proto)
    (linear,) = (op for op in program.ops if isinstance(op, Linear))
    assert np.array_equal(linear.matrix.codes[0], [[1, 32], [-600, 1], [7, -12]]) or linear.matrix.weight_bits <= 16
    assert np.array_equal(Executor(program).run(X).astype(np.float32), run_onnx(proto, {"x": X})[0])


def test_an_open_end_keeps_its_accumulator() -> None:
    """Logits need no quantizer; a batch norm may close a channel."""
    g, u = start("round")
    total = g.op("MatMul", u, g.const(A))
    parameters = [g.const(v) for v in ([0.0, 0.5, 1.0], [0.5, 0.0, 1.0], [1.0, 0.0, 0.0], [1.0, 1.0, 1.0])]
    normal = g.op("BatchNormalization", g.op("Transpose", total, perm=[0, 2, 1]), *parameters, epsilon=0.0)
    equal(g.finish(F, g.op("Transpose", normal, perm=[0, 2, 1]), ("batch", "time", H)))


def test_an_unsigned_gate_and_a_branch_used_twice() -> None:
    def build(g: Graph, u: str) -> str:
        gate = g.quant(g.op("Sigmoid", u), unsigned(8, 2.0**-8), "gate")
        product = g.quant(g.op("Mul", u, gate), CODE, "gated")
        return g.op("Add", product, u)

    equal(tail(build))
