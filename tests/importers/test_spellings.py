"""The same recurrence written in many ways is the same program, and always what onnxruntime computes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from ssmc.importers.onnx_file import import_model
from ssmc.ir.executor import Executor
from ssmc.ir.operations import StateSpace
from ssmc.recognition.axes import name_axes
from ssmc.verify import run_onnx
from tests.compiling import lower, program_of
from tests.graph_writer import Graph, signed

CODE = signed(8, 2.0**-5)
H, F = 3, 2
A = np.array([[2, -1, 0], [1, 2, -1], [0, 1, 3]]) / 4
B = np.array([[1, 0, 2], [-1, 1, 0], [0, 2, 1]]) / 2
C = np.array([[1, -1, 2], [0, 1, 1], [2, 0, -1]]) / 2
X = np.random.default_rng(0).standard_normal((3, 11, F)).astype(np.float32)
Sum = Callable[[Graph, str, str], str]


def start(spelling: str = "qdq") -> tuple[Graph, str]:
    g = Graph(spelling)
    weight = g.weight(np.array([[1, -2], [3, 1], [2, 2]]), 0.25, "enc.W")
    turned = g.op("Transpose", weight, perm=[1, 0])
    return g, g.quant(g.op("MatMul", g.quant("x", CODE, "xq"), turned), CODE, "u")


def equal(proto: onnx.ModelProto) -> list[object]:
    """Operations of the program, whose outputs are onnxruntime's."""
    program = program_of(proto)
    (expected,) = run_onnx(proto, {"x": X})
    assert np.array_equal(Executor(program).run(X), expected.reshape(len(X), *expected.shape[1:]))
    assert np.abs(expected).max() > 0
    return list(program.ops)


def dense(sums: Sum, opset: int = 21) -> onnx.ModelProto:
    """``s' = Q(sums(s, u))``, ``y = Q(C s)``."""
    g, u = start("round")

    def step(b: Graph, states: list[str], ut: str) -> tuple[list[str], list[str]]:
        return [b.quant(sums(b, states[0], ut), CODE, "s.q")], [b.op("MatMul", states[0], b.const(C.T))]

    (y,) = g.loop(u, [(H,)], step)
    return g.finish(F, g.quant(y, CODE, "out"), ("batch", "time", H), opset)


def _matmul(b: Graph, s: str, u: str) -> str:
    return b.op("Add", b.op("MatMul", s, b.const(A.T)), b.op("MatMul", u, b.const(B.T)))


def _matmul_left(b: Graph, s: str, u: str) -> str:
    last = b.const([-1], np.int64)
    left, right = (b.op("MatMul", b.const(m), b.op("Unsqueeze", v, last)) for m, v in ((A, s), (B, u)))
    return b.op("Squeeze", b.op("Add", left, right), last)


def _joined(b: Graph, s: str, u: str) -> str:
    return b.op("MatMul", b.op("Concat", s, u, axis=-1), b.const(np.concatenate([A, B], 1).T))


def _gemm(b: Graph, s: str, u: str) -> str:
    return b.op("Gemm", u, b.const(B), b.op("Gemm", s, b.const(A), transB=1), transB=1)


def _einsum(b: Graph, s: str, u: str) -> str:
    total = b.op("Einsum", s, b.const(A), equation="nj,ij->ni")
    return b.op("Add", total, b.op("Einsum", b.const(B), u, equation="ij,nj->ni"))


def _products(b: Graph, s: str, u: str) -> str:
    minus = b.const([-2], np.int64)
    wide = [b.op("Mul", b.op("Unsqueeze", v, minus), b.const(m)) for m, v in ((A, s), (B, u))]
    return b.op("ReduceSum", b.op("Add", *wide), b.const([-1], np.int64), keepdims=0)


def _sliced(b: Graph, s: str, u: str) -> str:
    """Column by column, through Slice, Gather, Mul, Neg, Sub."""
    total = b.op("Neg", b.op("MatMul", u, b.const(-B.T)))
    for j in range(H):
        column = b.op("Slice", s, b.const([j], np.int64), b.const([j + 1], np.int64), b.const([1], np.int64))
        if j == 1:
            column = b.op("Gather", s, b.const([1], np.int64), axis=1)
        total = b.op("Sub", total, b.op("Mul", column, b.const(-A[:, j])))
    return total


def _halved(b: Graph, s: str, u: str) -> str:
    return b.op("Div", _matmul(b, b.op("Mul", s, b.const(2.0)), b.op("Add", u, u)), b.const(2.0))


def _split(b: Graph, s: str, u: str) -> str:
    names = [f"{s}.{j}" for j in range(H)]
    b.nodes.append(onnx.helper.make_node("Split", [s], names, name="split", axis=1, num_outputs=H))
    return _matmul(b, b.op("Concat", *names, axis=1), b.op("Reshape", u, b.const([-1, H], np.int64)))


SPELLINGS = [_matmul, _matmul_left, _joined, _gemm, _einsum, _products, _sliced, _halved, _split]


@pytest.mark.parametrize("sums", SPELLINGS, ids=lambda f: f.__name__[1:])
def test_a_dense_recurrence_in_any_spelling(sums: Sum) -> None:
    ops = equal(dense(sums))
    (kernel,) = (op for op in ops if isinstance(op, StateSpace))
    assert kernel.matrix.groups == 1
    real = np.array([float(r) for r in kernel.requant.ratio])[:, None] * kernel.matrix.codes[0]
    expected = np.block([[A, B], [C, np.zeros((H, H))]])
    assert np.array_equal(real, expected)


@pytest.mark.parametrize("opset", [17, 18, 20, 22])
def test_opsets(opset: int) -> None:
    g, u = start("minmax")
    (y,) = g.loop(u, [(H,)], lambda b, s, ut: ([b.quant(_matmul(b, s[0], ut), CODE, "s.q")], [s[0]]))
    h = g.quant(y, CODE, "h")
    axes = {"axes": [1]} if opset < 18 else {}
    more = [] if opset < 18 else [g.const([1], np.int64)]
    pooled = g.quant(g.op("ReduceMean", h, *more, keepdims=0, **axes), CODE, "out")
    equal(g.finish(F, pooled, ("batch", H), opset))


def test_a_mean_over_constant_axes_inside_a_loop_before_opset_18() -> None:
    def sums(b: Graph, s: str, u: str) -> str:
        doubled = b.op("Mul", b.op("Unsqueeze", s, b.const([-1], np.int64)), b.const([[0.5, 0.25]]))
        return b.op("Add", b.op("ReduceMean", doubled, axes=[2], keepdims=0), u)

    equal(dense(sums, opset=17))


def scanned(
    step: Callable[[Graph, str, str], tuple[str, str]], shape: tuple[int, ...] = (H,), **more: object
) -> onnx.ModelProto:
    g, u = start("round")

    def build(b: Graph, states: list[str], ut: str) -> tuple[list[str], list[str]]:
        new, y = step(b, states[0], ut)
        return [new], [y]

    (y,) = g.loop(u, [shape], build, **more)  # type: ignore[arg-type]
    return g.finish(F, g.quant(y, CODE, "out"), ("batch", "time", H))


def per_channel(b: Graph, s: str, u: str) -> str:
    return b.op("Add", b.op("Mul", s, b.const([0.5, -0.75, 0.25])), u)


def test_channels_that_do_not_mix_are_groups() -> None:
    ops = equal(scanned(lambda b, s, u: (b.quant(per_channel(b, s, u), CODE, "s.q"), s)))
    (kernel,) = (op for op in ops if isinstance(op, StateSpace))
    assert kernel.matrix.codes.shape == (H, 2, 2)


@pytest.mark.parametrize("value", [0.5, -4.0, 3.96875])
def test_an_initial_state_on_the_grid(value: float) -> None:
    ops = equal(scanned(lambda b, s, u: (b.quant(per_channel(b, s, u), CODE, "s.q"), s), start=value))
    (kernel,) = (op for op in ops if isinstance(op, StateSpace))
    assert kernel.register0.ravel().tolist() == [value * 32] * H


def test_a_constant_drive() -> None:
    equal(
        scanned(
            lambda b, s, u: (b.quant(b.op("Add", per_channel(b, s, u), b.const([0.5, -0.25, 1.0])), CODE, "s.q"), s)
        )
    )


def test_an_output_quantizer_that_sees_one_state_is_no_read_out() -> None:
    """``y = Q(3/4 s)``: no power of two, and not how the matrix reads the state."""

    def step(b: Graph, s: str, u: str) -> tuple[str, str]:
        y = b.quant(b.op("Mul", s, b.const([0.75, -0.5, 0.0])), signed(6, 2.0**-3), "y.q")
        return b.quant(per_channel(b, s, u), CODE, "s.q"), y

    equal(scanned(step))


def test_an_output_quantizer_that_repeats_the_read_out() -> None:
    read = signed(6, 2.0**-3)

    def step(b: Graph, s: str, u: str) -> tuple[str, str]:
        drive = b.quant(s, read, "s.R")
        moved = b.op("Add", s, b.quant(per_channel(b, drive, u), CODE, "s.q"))
        return b.op("Clip", moved, b.const(-4.0), b.const(4.0)), b.quant(s, read, "y.q")

    equal(scanned(step))


def test_saturation_bounds_per_channel() -> None:
    """Max and Min with an array: once read as its largest entry."""

    def step(b: Graph, s: str, u: str) -> tuple[str, str]:
        moved = b.op("Add", s, b.quant(per_channel(b, s, u), CODE, "s.q"))
        top = np.array([1.0, 0.5, 2.0])
        return b.op("Min", b.op("Max", moved, b.const(-top)), b.const(top)), s

    ops = equal(scanned(step))
    (kernel,) = (op for op in ops if isinstance(op, StateSpace))
    assert kernel.register_hi.ravel().tolist() == [32, 16, 64]
    assert kernel.register_lo.ravel().tolist() == [-32, -16, -64]


def test_weights_computed_from_parameters_and_captured() -> None:
    """A = exp(log A), quantized outside of the loop that reads it."""
    g, u = start("round")
    decay = g.quant(g.op("Exp", g.const([-1.0, -0.5, -0.1])), signed(8, 2.0**-7), "decay")

    def step(b: Graph, states: list[str], ut: str) -> tuple[list[str], list[str]]:
        return [b.quant(b.op("Add", b.op("Mul", states[0], decay), ut), CODE, "s.q")], [states[0]]

    (y,) = g.loop(u, [(H,)], step)
    equal(g.finish(F, g.quant(y, CODE, "out"), ("batch", "time", H)))


def test_weights_computed_inside_the_loop() -> None:
    def step(b: Graph, s: str, u: str) -> tuple[str, str]:
        decay = b.quant(b.op("Exp", b.const([-1.0, -0.5, -0.1])), signed(8, 2.0**-7), "decay")
        return b.quant(b.op("Add", b.op("Mul", s, decay), u), CODE, "s.q"), s

    equal(scanned(step))


def test_names_that_the_compiler_would_choose_itself() -> None:
    """A loop called scan whose outputs are called scan.y and scan.registers."""
    proto = scanned(lambda b, s, u: (b.quant(per_channel(b, s, u), CODE, "s.q"), s))
    for node in proto.graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = {"scan.out0": "scan.y", "scan.end0": "scan.registers"}.get(name, name)
    equal(proto)
    lower(proto, oracle=True)


def test_axes_are_measured() -> None:
    proto = scanned(lambda b, s, u: (b.quant(per_channel(b, s, u), CODE, "s.q"), s))
    axes = name_axes(import_model(proto))
    assert axes.roles["x"] == ("N", "T", "C")
    assert axes.roles["scan.u"] == ("T", "N", "C")
    assert axes.roles["scan.out0"] == ("T", "N", "C")
    assert axes.roles["scan.init0"] == ("N", "C")
    assert axes.shapes["out"] == (3, 5, H)
