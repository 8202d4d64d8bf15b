"""However a recurrence is spelled, one kernel gives one ``ssmc::StateSpace``: the same structure, the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ssmc.importers.onnx_file import import_model
from ssmc.ir.build import is_op
from ssmc.ir.functions import attach_functions
from ssmc.ir.read_program import constants
from ssmc.passes.canonicalize_quantizers import CanonicalizeQuantizers
from ssmc.passes.fold_constants import FoldConstants
from ssmc.passes.raise_recurrences import RaiseRecurrences
from tests.graph_writer import Graph

H, T = 5, 6
RNG = np.random.default_rng(0)
P, Q = RNG.uniform(0.5, 0.9, H), RNG.uniform(0.05, 0.4, H)
A = np.stack([np.stack([P, -Q], -1), np.stack([Q, P], -1)], 1)
B, C, D = RNG.standard_normal((H, 2)), RNG.standard_normal((H, 2)), RNG.standard_normal(H)

Step = Callable[[Graph, list[str], str], tuple[list[str], str]]
Write = Callable[[Graph, Graph, str], tuple[str, str]]  # what a step hands on, and what it begins with


def pairs(b: Graph, s: list[str], u: str) -> tuple[list[str], str]:
    """Real and imaginary parts in tensors of their own, (batch, H)."""

    def term(w: np.ndarray, x: str) -> str:
        return b.op("Mul", b.const(w), x)

    re = b.op("Add", b.op("Sub", term(P, s[0]), term(Q, s[1])), term(B[:, 0], u))
    im = b.op("Add", b.op("Add", term(Q, s[0]), term(P, s[1])), term(B[:, 1], u))
    y = b.op("Add", b.op("Add", term(C[:, 0], s[0]), term(C[:, 1], s[1])), term(D, u))
    return [re, im], y


def blocks(b: Graph, s: list[str], u: str) -> tuple[list[str], str]:
    """One tensor (batch, H, 2), a block of A a channel."""
    last = b.const([-1], np.int64)
    wide = b.op("Unsqueeze", u, last)
    turned = b.op("Squeeze", b.op("MatMul", b.const(A), b.op("Unsqueeze", s[0], last)), last)
    new = b.op("Add", turned, b.op("Mul", b.const(B), wide))
    read = b.op("ReduceSum", b.op("Mul", b.const(C), s[0]), last, keepdims=0)
    return [new], b.op("Add", read, b.op("Mul", b.const(D), u))


def dense(b: Graph, s: list[str], u: str) -> tuple[list[str], str]:
    """One tensor (batch, 2 H), one matrix of zeros but for the blocks."""
    whole, inputs, read = np.zeros((2 * H, 2 * H)), np.zeros((2 * H, H)), np.zeros((H, 2 * H))
    for h in range(H):
        at = slice(2 * h, 2 * h + 2)
        whole[at, at], inputs[at, h], read[h, at] = A[h], B[h], C[h]
    new = b.op("Add", b.op("MatMul", s[0], b.const(whole.T)), b.op("MatMul", u, b.const(inputs.T)))
    y = b.op("Add", b.op("MatMul", s[0], b.const(read.T)), b.op("MatMul", u, b.const(np.diag(D))))
    return [new], y


STEPS: dict[str, tuple[Step, list[list[int]]]] = {
    "pairs": (pairs, [[H], [H]]), "blocks": (blocks, [[H, 2]]), "dense": (dense, [[2 * H]])
}  # fmt: skip


def finish(g: Graph, x: Sequence[object], y: str, out: Sequence[object]) -> onnx.ModelProto:
    source, result = (helper.make_tensor_value_info(n, TensorProto.FLOAT, d) for n, d in (("x", x), (y, out)))
    graph = helper.make_graph(g.nodes, "model", [source], [result], list(g.constants.values()))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def scan(step: Step, shapes: list[list[int]]) -> onnx.ModelProto:
    g = Graph()
    g.loop("x", shapes, lambda b, s, u: (lambda new, y: (new, [y]))(*step(b, s, u)))
    return finish(g, ["batch", "time", H], "scan.out0.batch", ["batch", "time", H])


def channels_first(step: Step, shapes: list[list[int]]) -> onnx.ModelProto:
    g = Graph()
    turned = g.op("Transpose", "x", perm=[0, 2, 1])
    (y,) = g.loop(turned, shapes, lambda b, s, u: (lambda new, y: (new, [y]))(*step(b, s, u)))
    return finish(g, ["batch", H, "time"], g.op("Transpose", y, perm=[0, 2, 1]), ["batch", H, "time"])


def time_first(step: Step, shapes: list[list[int]]) -> onnx.ModelProto:
    g = Graph()
    turned = g.op("Transpose", "x", perm=[1, 0, 2])
    (y,) = g.loop(turned, shapes, lambda b, s, u: (lambda new, y: (new, [y]))(*step(b, s, u)))
    return finish(g, ["time", "batch", H], g.op("Transpose", y, perm=[1, 0, 2]), ["time", "batch", H])


def zeros(g: Graph, shape: list[int]) -> str:
    size = g.op("Concat", g.op("Shape", "x", start=0, end=1), g.const(shape, np.int64), axis=0)
    return g.op("ConstantOfShape", size)


def loop(step: Step, shapes: list[list[int]]) -> onnx.ModelProto:
    """Reads by Gather, outputs stacked."""
    return looped(step, shapes, lambda b: b.op("Gather", "x", "i", axis=1), lambda g, b, y: (y, ""))


def loop_of_slices(step: Step, shapes: list[list[int]]) -> onnx.ModelProto:
    """Reads x[:, i : i + 1], and appends every output to a tensor."""

    def read(b: Graph) -> str:
        zero, one = b.const([0], np.int64), b.const([1], np.int64)
        start = b.op("Unsqueeze", "i", zero)
        return b.op("Squeeze", b.op("Slice", "x", start, b.op("Add", start, one), one), one)

    def write(g: Graph, b: Graph, y: str) -> tuple[str, str]:
        size = g.op("Concat", g.op("Shape", "x", start=0, end=1), g.const([0, H], np.int64), axis=0)
        g.op("ConstantOfShape", size, out="none")
        return b.op("Concat", "kept", b.op("Unsqueeze", y, b.const([1], np.int64)), axis=1), "none"

    return looped(step, shapes, read, write)


def loop_of_entries(step: Step, shapes: list[list[int]]) -> onnx.ModelProto:
    """Reads entries of a sequence, and appends every output to another."""

    def write(g: Graph, b: Graph, y: str) -> tuple[str, str]:
        wide = b.op("Unsqueeze", y, b.const([1], np.int64))
        return b.op("SequenceInsert", "kept", wide), g.op("SequenceEmpty", out="none")

    return looped(step, shapes, lambda b: b.op("SequenceAt", "entries", "i"), write)


def looped(step: Step, shapes: list[list[int]], read: Callable[[Graph], str], write: Write) -> onnx.ModelProto:
    g = Graph()
    g.op("SplitToSequence", "x", axis=1, keepdims=0, out="entries")
    states = [f"s{i}" for i in range(len(shapes))]
    starts = [zeros(g, shape) for shape in shapes]
    steps = g.op("Squeeze", g.op("Shape", "x", start=1, end=2))
    b = g.inner("in.")
    new, y = step(b, states, read(b))
    out, first = write(g, b, y)
    values = [
        helper.make_tensor_value_info("i", TensorProto.INT64, []),
        helper.make_tensor_value_info("go", TensorProto.BOOL, []),
    ]
    floats = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in states]
    kind = helper.make_tensor_sequence_value_info if out.startswith("in.sequence") else helper.make_tensor_value_info
    floats += [kind("kept", TensorProto.FLOAT, None)] if first else []
    ends = [b.op("Identity", value) for value in new]
    outs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ends]
    outs.append(kind(out, TensorProto.FLOAT, None))
    on = helper.make_tensor_value_info(b.op("Identity", "go"), TensorProto.BOOL, [])
    body = helper.make_graph(b.nodes, "body", [*values, *floats], [on, *outs])
    names = [*(f"end{i}" for i in range(len(shapes))), "ys"]
    given = [steps, "", *starts, *([first] if first else [])]
    g.nodes.append(helper.make_node("Loop", given, names, name="loop", body=body))
    if not first:
        result = g.op("Transpose", "ys", perm=[1, 0, 2])
    else:
        result = g.op("ConcatFromSequence", "ys", axis=1) if "sequence" in out else "ys"
    return finish(g, ["batch", "time", H], g.op("Identity", result, out="y"), ["batch", "time", H])


def one_step(step: Step, shapes: list[list[int]]) -> onnx.ModelProto:
    g = Graph()
    new, y = step(g, [f"s{i}" for i in range(len(shapes))], "x")
    proto = finish(g, ["batch", H], g.op("Identity", y, out="y"), ["batch", H])
    for i, (shape, value) in enumerate(zip(shapes, new, strict=True)):
        proto.graph.node.append(helper.make_node("Identity", [value], [f"s{i}_next"], name=f"next{i}"))
        proto.graph.input.append(helper.make_tensor_value_info(f"s{i}", TensorProto.FLOAT, ["batch", *shape]))
        proto.graph.output.append(helper.make_tensor_value_info(f"s{i}_next", TensorProto.FLOAT, ["batch", *shape]))
    return proto


def unrolled(step: Step, shapes: list[list[int]]) -> onnx.ModelProto:
    g = Graph()
    states, ys = [zeros(g, shape) for shape in shapes], []
    for t in range(T):
        states, y = step(g, states, g.op("Gather", "x", g.const(t, np.int64), axis=1))
        ys.append(g.op("Unsqueeze", y, g.const([1], np.int64)))
    return finish(g, ["batch", T, H], g.op("Concat", *ys, axis=1), ["batch", T, H])


def second_axis(step: Step, shapes: list[list[int]]) -> onnx.ModelProto:
    """A Scan that walks the second axis, and stacks along the last but one."""
    proto = scan(step, shapes)
    back = next(node for node in proto.graph.node if node.op_type == "Transpose" and node.input[0] == "scan.out0")
    node = next(node for node in proto.graph.node if node.op_type == "Scan")
    node.attribute.extend(
        [helper.make_attribute("scan_input_axes", [1]), helper.make_attribute("scan_output_axes", [-2])]
    )
    node.input[-1] = "x"
    back.CopyFrom(helper.make_node("Identity", ["scan.out0"], list(back.output)))
    return proto


def fixed_batch(step: Step, shapes: list[list[int]]) -> onnx.ModelProto:
    """Exported for a batch of 1: the states start from constants of that size, and the body says it."""
    proto = scan(step, shapes)
    node = next(node for node in proto.graph.node if node.op_type == "Scan")
    for index, shape in enumerate(shapes):
        zero = numpy_helper.from_array(np.zeros((1, *shape), np.float32), f"zero{index}")
        proto.graph.initializer.append(zero)
        node.input[index] = zero.name
    body = next(attribute.g for attribute in node.attribute if attribute.name == "body")
    for value, shape in zip(body.input, [*shapes, [H]], strict=True):
        value.type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, [1, *shape]))
    for value in (proto.graph.input[0], proto.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    return proto


FORMS = {f.__name__: f for f in (scan, loop, one_step, unrolled, channels_first, time_first, second_axis, fixed_batch)}


@pytest.mark.parametrize("spelling", STEPS)
@pytest.mark.parametrize("form", FORMS)
def test_every_spelling_is_the_same_kernel(form: str, spelling: str) -> None:
    model = import_model(FORMS[form](*STEPS[spelling]))
    for step in (CanonicalizeQuantizers(), FoldConstants(), RaiseRecurrences(quantized=False)):
        model = step.run(model).model
        attach_functions(model)
    (node,) = (node for node in model.graph if is_op(node, "StateSpace", domain="ssmc"))
    c = constants(node)
    top, bottom = np.concatenate([A, B[..., None]], 2), np.concatenate([C, D[:, None]], 1)[:, None]
    assert c["W"].shape == top.shape
    assert c["W_y"].shape == bottom.shape
    assert np.allclose(c["W"], top, atol=1e-6)
    assert np.allclose(c["W_y"], bottom, atol=1e-6)
