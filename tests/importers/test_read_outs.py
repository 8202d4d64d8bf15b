"""Linear operations behind a float Scan that stacks its states: rows of the kernel, or one matrix behind it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import ssmc
from ssmc.data import Samples
from ssmc.importers.onnx_file import import_model
from ssmc.ir.build import is_op
from ssmc.ir.functions import attach_functions
from ssmc.ir.operations import StateSpace
from ssmc.ir.read_program import constants
from ssmc.passes.canonicalize_quantizers import CanonicalizeQuantizers
from ssmc.passes.fold_constants import FoldConstants
from ssmc.passes.raise_recurrences import RaiseRecurrences
from ssmc.quantize import quantize
from ssmc.verify import run_onnx
from tests.graph_writer import Graph

H, n = 4, 3
RNG = np.random.default_rng(0)
A, B, C = RNG.uniform(0.5, 0.9, (H, n)), RNG.standard_normal((H, n)), RNG.standard_normal((H, n))
X = RNG.standard_normal((5, 30, H)).astype(np.float32)


def diagonal(read: str) -> onnx.ModelProto:
    """Channels of n states; their sums with C in the body, or behind the Scan by einsum or a product and a sum."""
    g = Graph()

    def step(b: Graph, s: list[str], u: str) -> tuple[list[str], list[str]]:
        wide = b.op("Unsqueeze", u, b.const([2], np.int64))
        new = b.op("Add", b.op("Mul", s[0], b.const(A)), b.op("Mul", wide, b.const(B)))
        inside = b.op("ReduceSum", b.op("Mul", new, b.const(C)), b.const([2], np.int64), keepdims=0)
        return [new], [inside if read == "inside" else new]

    g.loop("x", [(H, n)], step)
    g.nodes.pop()  # its Transpose is of three axes
    if read == "inside":
        y = g.op("Transpose", "scan.out0", perm=[1, 0, 2])
    elif read == "einsum":
        y = g.op("Einsum", "scan.out0", g.const(C), equation="tbhn,hn->bth")
    else:
        product = g.op("Mul", g.op("Transpose", "scan.out0", perm=[1, 0, 2, 3]), g.const(C))
        y = g.op("ReduceSum", product, g.const([3], np.int64), keepdims=0)
    return g.finish(H, g.op("Gelu", y, out="out"), ["batch", "time", H])


def raised(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    model = import_model(proto)
    for step in (CanonicalizeQuantizers(), FoldConstants(), RaiseRecurrences(quantized=False)):
        model = step.run(model).model
        attach_functions(model)
    (node,) = (node for node in model.graph if is_op(node, "StateSpace", domain="ssmc"))
    return constants(node)


@pytest.mark.parametrize("read", ["einsum", "product"])
def test_a_read_out_behind_the_scan_is_that_of_the_kernel(read: str) -> None:
    ours, inside = raised(diagonal(read)), raised(diagonal("inside"))
    assert ours["W_y"].shape == (H, 1, n + 1)
    assert all(np.allclose(ours[key], inside[key], atol=1e-6) for key in ("W", "W_y"))


def pairs(constant: float) -> onnx.ModelProto:
    """S5: complex modes as two states that the Scan stacks, y = 2 Re(C x) + d behind it."""
    g, P = Graph(), 3
    re, im = RNG.uniform(0.5, 0.8, P), RNG.uniform(0.1, 0.4, P)
    drives = [g.op("MatMul", "x", g.const(RNG.standard_normal((H, 2 * P)) / H))]

    def step(b: Graph, s: list[str], u: str) -> tuple[list[str], list[str]]:
        parts = [b.op("Slice", u, *(b.const([v], np.int64) for v in (i * P, i * P + P, 1))) for i in range(2)]
        turn = [[b.op("Mul", state, b.const(w)) for w in (re, im)] for state in s]
        first = b.op("Add", b.op("Sub", turn[0][0], turn[1][1]), parts[0])
        second = b.op("Add", b.op("Add", turn[0][1], turn[1][0]), parts[1])
        return [first, second], [first, second]

    r, i = g.loop(drives[0], [(P,), (P,)], step)
    parts = [g.op("MatMul", states, g.const(RNG.standard_normal((P, H)))) for states in (r, i)]
    real = g.op("Sub", *parts)
    y = g.op("Add", g.op("Mul", real, g.const(2.0)), g.const(constant * np.arange(H)))
    return g.finish(H, g.op("Gelu", y, out="out"), ["batch", "time", H])


@pytest.mark.parametrize("constant", [0.0, 0.5])
def test_several_outputs_are_read_by_one_matrix(constant: float, tmp_path: Path) -> None:
    proto = pairs(constant)
    onnx.save(proto, tmp_path / "m.onnx")
    quantized = quantize(tmp_path / "m.onnx", Samples(X.reshape(-1, H), np.arange(6) * 30)).model
    bundle = ssmc.compile(import_model(quantized), target="int")
    assert sum(isinstance(op, StateSpace) for op in bundle.compiled.program.ops) == 1
    real = run_onnx(proto, {"x": X})[0]
    assert np.linalg.norm(bundle.run(X) - real) < 0.05 * np.linalg.norm(real)


def test_one_channel_loses_its_axis(tmp_path: Path) -> None:
    g = Graph()
    (y,) = g.loop("x", [(H,)], lambda b, s, u: ([b.op("Add", b.op("Mul", s[0], b.const(A[:, 0])), u)], [s[0]]))
    single = g.op("MatMul", g.op("Gelu", y), g.const(RNG.standard_normal((H, 1))))
    proto = g.finish(H, g.op("Squeeze", single, g.const([-1], np.int64), out="out"), ["batch", "time"])
    onnx.save(proto, tmp_path / "m.onnx")
    quantized = quantize(tmp_path / "m.onnx", Samples(X.reshape(-1, H), np.arange(6) * 30)).model
    real = run_onnx(proto, {"x": X})[0]
    y = ssmc.compile(import_model(quantized), target="int").run(X)
    assert np.linalg.norm(y.reshape(real.shape) - real) < 0.05 * np.linalg.norm(real)
