"""Channels side by side: two kernels, several scanned inputs, and as many channels as states."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import ssmc
from ssmc.importers.onnx_file import import_model
from ssmc.ir.executor import Executor
from ssmc.ir.operations import Concat, StateSpace
from ssmc.native.fast import fast_executor
from ssmc.verify import run_onnx
from tests.compiling import program_of
from tests.graph_writer import Graph, signed
from tests.importers.refusing import CODE, H, codes, decay, end, refusal, start

X = np.random.default_rng(0).standard_normal((3, 7, 2)).astype(np.float32)
FINE = signed(8, 2.0**-6)


def kernel(g: Graph, u: str, name: str, factor: float) -> str:
    def step(b: Graph, states: list[str], ut: str) -> tuple[list[str], list[str]]:
        sums = b.op("Add", b.op("Mul", states[0], b.const(factor)), ut)
        return [b.quant(sums, CODE, f"{name}.q")], states

    (y,) = g.loop(u, [(H,)], step, name)
    return y


def side_by_side() -> onnx.ModelProto:
    g, u = start()
    a = g.quant(kernel(g, u, "k", 0.5), CODE, "k.y")
    b = g.quant(kernel(g, u, "l", 0.25), FINE, "l.y")
    h = g.op("Concat", a, b, u, axis=2, out="all")
    return end(g, g.op("MatMul", g.quant(h, CODE, "h"), g.weight(codes(3 * H, H), 0.25, "W")))


@pytest.mark.parametrize("target", ["int", "c", "aimc"])
def test_two_kernels_side_by_side(target: str, tmp_path: Path) -> None:
    """Parts with steps of their own; the same codes on every target."""
    proto = side_by_side()
    bundle = ssmc.compile(import_model(proto), target)
    assert sum(isinstance(op, Concat) for op in bundle.compiled.program.ops) == 2
    assert np.array_equal(bundle.run(X), run_onnx(proto, {"x": X})[0])
    assert np.array_equal(ssmc.load(bundle.save(tmp_path / "b")).run(X), bundle.run(X))


def test_native_code_joins_as_the_reference_does() -> None:
    program = program_of(side_by_side())
    assert np.array_equal(fast_executor(program).run(X), Executor(program).run(X))


def test_only_channels_are_joined() -> None:
    g, u = start()
    error = refusal(end(g, g.op("Concat", u, u, axis=1, out="all")))
    assert (error.code, error.node) == ("SSMC-T01", "all")


def test_two_scanned_inputs() -> None:
    """B u computed outside of the loop, beside u for the direct path."""
    g, u = start()
    bu = g.quant(g.op("MatMul", u, g.weight(codes(H, H), 0.25, "B")), FINE, "bu")

    def step(b: Graph, states: list[str], ut: str) -> tuple[list[str], list[str]]:
        new = b.quant(b.op("Add", b.op("Mul", states[0], b.const(0.5)), "scan.bu"), CODE, "s.q")
        return [new], [b.op("Add", states[0], ut)]

    (y,) = g.loop(u, [(H,)], step)
    proto = end(g, y)
    scan = next(node for node in proto.graph.node if node.op_type == "Scan")
    first = helper.make_node("Transpose", [bu], ["bu.first"], name="bu.first", perm=[1, 0, 2])
    proto.graph.node.insert(list(proto.graph.node).index(scan), first)
    scan.input.append("bu.first")
    body = next(a for a in scan.attribute if a.name == "body").g
    body.input.append(helper.make_tensor_value_info("scan.bu", onnx.TensorProto.FLOAT, None))
    next(a for a in scan.attribute if a.name == "num_scan_inputs").i = 2
    program = program_of(proto)
    assert np.array_equal(Executor(program).run(X), run_onnx(proto, {"x": X})[0])
    assert any(isinstance(op, Concat) for op in program.ops)


@pytest.mark.parametrize("channels_last", [True, False])
def test_as_many_channels_as_states(channels_last: bool) -> None:
    """Which axis of a square state is the channels' follows from what mixes."""
    g, u = start()
    at = [1] if channels_last else [2]

    def step(b: Graph, states: list[str], ut: str) -> tuple[list[str], list[str]]:
        new = b.quant(decay(b, states[0], b.op("Unsqueeze", ut, b.const(at, np.int64))), CODE, "s.q")
        return [new], [b.op("ReduceSum", states[0], b.const(at, np.int64), keepdims=0)]

    (y,) = g.loop(u, [(H, H)], step)
    proto = end(g, y)
    program = program_of(proto)
    (found,) = (op for op in program.ops if isinstance(op, StateSpace))
    assert (found.matrix.groups, found.n_state) == (H, H)
    assert np.array_equal(Executor(program).run(X), run_onnx(proto, {"x": X})[0])
