"""Several layers in one step, and what stands before and behind them: in a Scan's body, and in a one-step model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ssmc.errors import ModelError
from ssmc.importers.onnx_file import import_model
from ssmc.ir.executor import Executor
from ssmc.ir.operations import StateSpace
from ssmc.verify import run_onnx
from tests.compiling import program_of
from tests.graph_writer import Graph
from tests.importers.refusing import CODE, H, codes

X = np.random.default_rng(0).standard_normal((3, 7, 2)).astype(np.float32)
Step = Callable[[Graph, list[str], str], tuple[list[str], str]]


def decay(b: Graph, state: str, u: str) -> str:
    return b.op("Add", b.op("Mul", state, b.const(0.5)), u)


def layer(b: Graph, state: str, u: str, name: str) -> tuple[str, str]:
    """A decaying state and what reads it, quantized."""
    new = b.quant(decay(b, state, u), CODE, f"{name}.next")
    return new, b.quant(b.op("Mul", new, b.const([1.0, 2.0, -1.0])), CODE, f"{name}.y")


def two_layers(b: Graph, s: list[str], u: str) -> tuple[list[str], str]:
    """Encoder, layer, ReLU, residual, layer, decoder."""
    u = b.quant(b.op("MatMul", u, b.weight(codes(2, H), 0.25, "enc")), CODE, "u")
    first, y = layer(b, s[0], u, "first")
    h = b.quant(b.op("Add", b.quant(b.op("Relu", y), CODE, "act"), u), CODE, "h")
    second, y = layer(b, s[1], h, "second")
    return [first, second], b.quant(b.op("MatMul", y, b.weight(codes(H, 4), 0.25, "dec")), CODE, "out.step")


def read_before(b: Graph, s: list[str], u: str) -> tuple[list[str], str]:
    """y is the ReLU of the state before its update."""
    u = b.quant(b.op("MatMul", u, b.weight(codes(2, H), 0.25, "enc")), CODE, "u")
    read = b.quant(b.op("Relu", s[0]), CODE, "act")
    return [b.quant(decay(b, s[0], u), CODE, "next")], read


STEPS: dict[str, tuple[Step, int, int]] = {"two layers": (two_layers, 2, 4), "before the update": (read_before, 1, H)}


def scan(step: Step, states: int, size: int) -> onnx.ModelProto:
    g = Graph()
    xq = g.quant("x", CODE, "xq")
    (y,) = g.loop(xq, [(H,)] * states, lambda b, s, u: (lambda new, y: (new, [y]))(*step(b, s, u)))
    return g.finish(2, y, ("batch", "time", size))


def one_step(step: Step, states: int, size: int, batch: str | int = "batch", rank: int = 2) -> onnx.ModelProto:
    g, names = Graph(), [f"s{i}" for i in range(states)]
    x = g.quant("x", CODE, "xq")
    if rank == 3:
        x = g.op("Squeeze", x, g.const([1], np.int64))
    new, y = step(g, names, x)
    g.op("Unsqueeze", y, g.const([1], np.int64), out="y") if rank == 3 else g.op("Identity", y, out="y")
    keep = [1] if rank == 3 else []
    ins = {"x": [batch, *keep, 2], **{name: [batch, H] for name in names}}
    outs = {"y": [batch, *keep, size], **{f"{name}_next": [batch, H] for name in names}}
    for value, name in zip(new, names, strict=True):
        g.op("Identity", value, out=f"{name}_next")
    return with_ends(g, ins, outs)


def with_ends(g: Graph, ins: dict[str, list[str | int]], outs: dict[str, list[str | int]]) -> onnx.ModelProto:
    sides = [[helper.make_tensor_value_info(k, TensorProto.FLOAT, d) for k, d in side.items()] for side in (ins, outs)]
    graph = helper.make_graph(g.nodes, "model", *sides, list(g.constants.values()))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def stepped(proto: onnx.ModelProto) -> np.ndarray:
    """Outputs (N, T, size) of onnxruntime, step by step, one sequence after the other."""
    every, states = [], [value.name for value in proto.graph.input][1:]
    shapes = [[d.dim_value or 1 for d in v.type.tensor_type.shape.dim] for v in proto.graph.input]
    for x in X:
        carried, outputs = [np.zeros(shape, np.float32) for shape in shapes[1:]], []
        for step in x:
            y, *carried = run_onnx(proto, {"x": step.reshape(shapes[0]), **dict(zip(states, carried, strict=True))})
            outputs.append(y.ravel())
        every.append(np.stack(outputs))
    return np.stack(every)


@pytest.mark.parametrize("name", STEPS)
def test_a_body_of_a_scan(name: str) -> None:
    step, states, size = STEPS[name]
    proto = scan(step, states, size)
    program = program_of(proto)
    assert np.array_equal(Executor(program).run(X), run_onnx(proto, {"x": X})[0])
    kernels = [op for op in program.ops if isinstance(op, StateSpace)]
    assert [(op.matrix.groups, op.n_state) for op in kernels] == [(H, 1)] * states


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("batch", ["batch", 1])
@pytest.mark.parametrize("name", STEPS)
def test_a_one_step_model_of_any_batch_with_and_without_an_axis_of_time(name: str, batch: str | int, rank: int) -> None:
    proto = one_step(*STEPS[name], batch, rank)
    program = program_of(proto)
    assert np.array_equal(Executor(program).run(X), stepped(proto))
    assert sum(isinstance(op, StateSpace) for op in program.ops) == STEPS[name][1]


@pytest.mark.parametrize("reads", ["gather", "gather kept", "slice", "split"])
def test_the_states_of_all_layers_in_one_tensor(reads: str) -> None:
    g = Graph()
    if reads == "split":
        g.nodes.append(helper.make_node("Split", ["s"], ["s.0", "s.1"], axis=0, num_outputs=2, name="taken"))
        states = [g.op("Squeeze", f"s.{i}", g.const([0], np.int64)) for i in range(2)]
    elif reads == "gather":
        states = [g.op("Gather", "s", g.const(i, np.int64), axis=0) for i in range(2)]
    elif reads == "slice":
        zero = g.const([0], np.int64)
        wide = [g.op("Slice", "s", g.const([i], np.int64), g.const([i + 1], np.int64), zero) for i in range(2)]
        states = [g.op("Squeeze", value, zero) for value in wide]
    else:
        wide = [g.op("Gather", "s", g.const([i], np.int64), axis=0) for i in range(2)]
        states = [g.op("Squeeze", value, g.const([0], np.int64)) for value in wide]
    new, y = two_layers(g, states, g.quant("x", CODE, "xq"))
    g.op("Concat", *(g.op("Unsqueeze", value, g.const([0], np.int64)) for value in new), axis=0, out="s_next")
    g.op("Identity", y, out="y")
    proto = with_ends(g, {"x": ["n", 2], "s": [2, "n", H]}, {"y": ["n", 4], "s_next": [2, "n", H]})
    assert np.array_equal(Executor(program_of(proto)).run(X), stepped(proto))


def test_a_batch_that_only_declares_to_be_free() -> None:
    g = Graph()
    new, y = two_layers(g, ["s0", "s1"], g.op("Reshape", g.quant("x", CODE, "xq"), g.const([1, 2], np.int64)))
    for value, name in ((y, "y"), *zip(new, ("s0_next", "s1_next"), strict=True)):
        g.op("Identity", value, out=name)
    proto = with_ends(g, {"x": [1, 2], "s0": [1, H], "s1": [1, H]}, {"y": [1, 4], "s0_next": [1, H], "s1_next": [1, H]})
    with pytest.raises(ModelError, match=r"SSMC-M14.*batch is fixed at 1"):
        import_model(proto)
