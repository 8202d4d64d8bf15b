"""A loop that an exporter wrote out step by step becomes one Scan, whatever the spelling, for every length."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_ir import to_proto

from ssmc.errors import ModelError
from ssmc.importers.onnx_file import import_model
from ssmc.ir.build import is_op
from ssmc.passes.can_compile import can_compile
from ssmc.verify import run_onnx
from tests.graph_writer import Graph

T, H = 6, 4
RNG = np.random.default_rng(0)
A, B, C = RNG.uniform(0.5, 0.95, (2, H)), RNG.standard_normal((2, H)), RNG.standard_normal((2, H))


def reads(g: Graph, x: str, spelling: str) -> list[str]:
    """What every step reads of x (batch, T, H): (batch, H), or (batch, 1, H)."""
    if spelling == "gather":
        return [g.op("Gather", x, g.const(t, np.int64), axis=1) for t in range(T)]
    if spelling == "slice":
        axis = g.const([1], np.int64)
        return [g.op("Slice", x, g.const([t], np.int64), g.const([t + 1], np.int64), axis) for t in range(T)]
    parts = [f"{x}.part{t}" for t in range(T)]
    g.nodes.append(helper.make_node("Split", [x], parts, name=f"{x}.split", axis=1, num_outputs=T))
    if spelling == "split":
        return parts
    return [g.op("Squeeze", part, g.const([1], np.int64)) for part in parts]


def layer(g: Graph, x: str, k: int, spelling: str, end: str, after: bool) -> str:
    """s' = a s + b x; y = c s or c s': a sequence, or the last step's y."""
    a, b, c = (g.const(w[k]) for w in (A, B, C))
    ys, state = [], ""
    for u in reads(g, x, spelling):
        driven = g.op("Mul", b, u)
        new = g.op("Add", g.op("Mul", a, state), driven) if state else driven
        read = new if after or not state else state
        ys.append(g.op("Add", g.op("Mul", c, read), u))
        state = new
    if end == "last":
        return ys[-1]
    kept = spelling in ("slice", "split")
    if not kept:
        ys = [g.op("Unsqueeze", y, g.const([1], np.int64)) for y in ys]
    return g.op("Concat", *ys, axis=1)


def unrolled(
    spelling: str, end: str, after: bool, layers: int = 1, spoil: bool = False, time: int | str = T
) -> onnx.ModelProto:
    g = Graph()
    h = g.op("Mul", "x", g.const(2.0))
    for k in range(layers):
        h = layer(g, h, k, spelling, end if k == layers - 1 else "stack", after)
    if spoil:
        for node in [n for n in g.nodes if n.op_type == "Mul"][-3:-2]:
            node.input[0] = g.const(C[1])
    g.op("Mul", h, g.const(0.5), out="y")
    shape = ["batch", H] if end == "last" and spelling != "slice" and spelling != "split" else ["batch", "t", H]
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", time, H])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
    graph = helper.make_graph(g.nodes, "model", [source], [result], list(g.constants.values()))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def expected(x: np.ndarray, end: str, after: bool, layers: int) -> np.ndarray:
    h = 2.0 * x
    for k in range(layers):
        state, ys = np.zeros_like(h[:, 0]), []
        for t in range(h.shape[1]):
            new = A[k] * state + B[k] * h[:, t]
            read = new if after or not t else state
            ys.append(C[k] * read + h[:, t])
            state = new
        h = np.stack(ys, 1)
    return 0.5 * (h[:, -1] if end == "last" else h)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("end", ["stack", "last"])
@pytest.mark.parametrize("spelling", ["gather", "slice", "split", "unbind"])
def test_the_copies_become_one_scan_a_layer(spelling: str, end: str, layers: int) -> None:
    model = import_model(unrolled(spelling, end, True, layers))
    assert sum(is_op(node, "Scan") for node in model.graph) == layers
    for steps in (1, T, 11):
        x = np.random.default_rng(steps).standard_normal((3, steps, H)).astype(np.float32)
        (y,) = run_onnx(to_proto(model), {"x": x})
        assert np.allclose(y.reshape(expected(x, end, True, layers).shape), expected(x, end, True, layers), atol=1e-4)


def test_a_last_output_that_reads_the_old_state() -> None:
    model = import_model(unrolled("gather", "last", True))
    x = np.random.default_rng(1).standard_normal((2, 9, H)).astype(np.float32)
    assert np.allclose(run_onnx(to_proto(model), {"x": x})[0], expected(x, "last", True, 1), atol=1e-4)


def test_nodes_without_names() -> None:
    proto = unrolled("gather", "stack", True, layers=2)
    for node in proto.graph.node:
        node.ClearField("name")
    assert sum(is_op(node, "Scan") for node in import_model(proto).graph) == 2


def test_a_first_step_that_is_no_copy_of_the_others_is_seen() -> None:
    """y of the first step reads the new state, of the others the old one: from zero that is no recurrence."""
    with pytest.raises(Exception, match=r"SSMC-(V08|M17)"):
        import_model(unrolled("gather", "stack", False))


def test_inputs_outside_a_logarithm_are_no_difference() -> None:
    """The trial's normal inputs give NaN in the file and in its Scan."""
    proto = unrolled("gather", "stack", True)
    first = proto.graph.node[0]
    first.op_type = "Log"
    del first.input[1]
    assert sum(is_op(node, "Scan") for node in import_model(proto).graph) == 1


def test_copies_that_differ_are_refused_with_the_step() -> None:
    with pytest.raises(ModelError, match=r"SSMC-M17.*unrolled into 6 steps, and step \d.*Scan"):
        import_model(unrolled("gather", "stack", True, spoil=True))


@pytest.mark.parametrize("spelling", ["gather", "slice"])
@pytest.mark.parametrize("begin", [0, 1])
@pytest.mark.parametrize("end", ["stack", "last"])
def test_a_mean_that_starts_at_the_first_step(spelling: str, begin: int, end: str) -> None:
    """``m = x[0]``, then over all steps, or over those behind the first."""
    g = Graph()
    us = reads(g, g.op("Mul", "x", g.const(2.0)), spelling)
    mean, means = us[0], us[:begin]
    for u in us[begin:]:
        mean = g.op("Add", mean, g.op("Mul", g.op("Sub", u, mean), g.const(0.25)))
        means.append(mean)
    axis = [] if spelling == "slice" else [g.const([1], np.int64)]
    stacked = [g.op("Unsqueeze", m, *axis) if axis else m for m in means]
    result = mean if end == "last" else g.op("Concat", *stacked, axis=1)
    g.op("Mul", result, g.const(0.5), out="y")
    shape = ["batch", H] if end == "last" and axis else ["batch", "t", H]
    proto = g.finish(H, "y", tuple(shape))
    proto.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", T, H]))
    model = import_model(proto)
    assert [is_op(node, "Scan") for node in model.graph].count(True) == 1
    can_compile(model)
    x = np.random.default_rng(1).standard_normal((2, 9, H)).astype(np.float32)
    want, m = [], x[:, 0]
    for t in range(9):
        m = m + (x[:, t] - m) / 4
        want.append(m)
    found = run_onnx(to_proto(model), {"x": x})[0]
    assert np.allclose(found.reshape(2, -1), m if end == "last" else np.stack(want, 1).reshape(2, -1), atol=1e-6)


@pytest.mark.parametrize("spelling", ["gather", "slice"])
def test_a_loop_of_fixed_length_in_a_model_of_any_length_is_refused(spelling: str) -> None:
    """``dynamic_axes`` says that time is dynamic, and the exporter unrolled the loop at the length of its example."""
    with pytest.raises(ModelError, match=r"SSMC-M17.*unrolled into 6 steps, though.*export with time fixed at 6"):
        import_model(unrolled(spelling, "stack", True, time="time"))


def test_a_mean_that_starts_at_the_second_step_is_refused() -> None:
    g = Graph()
    us = reads(g, "x", "gather")
    mean, means = us[1], []
    for u in us:
        mean = g.op("Add", mean, g.op("Mul", g.op("Sub", u, mean), g.const(0.25)))
        means.append(g.op("Unsqueeze", mean, g.const([1], np.int64)))
    g.op("Concat", *means, out="y", axis=1)
    proto = g.finish(H, "y", ("batch", "t", H))
    proto.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", T, H]))
    with pytest.raises(ModelError, match="SSMC-M17"):
        import_model(proto)
