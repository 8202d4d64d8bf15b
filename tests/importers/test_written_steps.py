"""A python loop that fills a tensor step by step, as torch's exporters write it out, becomes one Scan."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_ir import to_proto

from ssmc.errors import ModelError
from ssmc.importers.onnx_file import import_model
from ssmc.ir.build import is_op
from ssmc.verify import run_onnx
from tests.graph_writer import Graph

T, H = 6, 4
A = np.random.default_rng(0).uniform(0.5, 0.95, H)


def place(g: Graph, t: int, x: str, how: str) -> tuple[str, str]:
    """Indices and updates by which a value (batch, H) is put at step ``t``."""
    if how == "elements":  # torch.onnx.export(dynamo=True): out[:, t] = y
        wide = g.op("Unsqueeze", x, g.const([1], np.int64))
        return g.op("Expand", g.const(t, np.int64), g.op("Shape", wide)), wide
    if how == "time first":  # out[t] = y
        return g.const([[t]], np.int64), g.op("Unsqueeze", x, g.const([0], np.int64))
    rows = g.op("Range", g.const(0, np.int64), g.op("Squeeze", g.op("Shape", x, start=0, end=1)), g.const(1, np.int64))
    every = g.op("Unsqueeze", rows, g.const([1], np.int64))  # dynamo=False: out[:, t] = y
    step = g.op("Expand", g.const([[t]], np.int64), g.op("Shape", every))
    return g.op("Concat", every, step, axis=-1), x


def write(g: Graph, out: str, t: int, x: str, how: str) -> str:
    if how == "joined":
        wide = g.op("Unsqueeze", x, g.const([1], np.int64))
        return g.op("Concat", out, wide, axis=1) if out else wide
    if how == "turned":  # out[:, t : t + 1] = y, of a value that keeps its axis
        kept = g.op("Unsqueeze", x, g.const([1], np.int64))
        turned = g.op("Transpose", kept, perm=[1, 0, 2])
        inner = g.op("ScatterND", g.op("Transpose", out, perm=[1, 0, 2]), g.const([[t]], np.int64), turned)
        return g.op("Transpose", inner, perm=[1, 0, 2])
    indices, updates = place(g, t, x, how)
    if how == "elements":
        return g.op("Identity", g.op("ScatterElements", out, indices, updates, axis=1))
    return g.op("ScatterND", out, indices, updates)


def loop(how: str, reads: bool = False, spoil: bool = False) -> onnx.ModelProto:
    """h = A h + x, y = h; with ``reads`` h is read from the tensor, whose first place is the state before."""
    g, axis = Graph(), int(how != "time first")
    first = int(reads)
    batch = g.op("Shape", "x", start=0, end=1)
    sizes = [g.const([T + first], np.int64), batch] if not axis else [batch, g.const([T + first], np.int64)]
    out = g.op("ConstantOfShape", g.op("Concat", *sizes, g.const([H], np.int64), axis=0)) if how != "joined" else ""
    h = g.op("ConstantOfShape", g.op("Concat", batch, g.const([H], np.int64), axis=0))
    for t in range(T):
        before = g.op("Gather", out, g.const(t, np.int64), axis=axis) if reads else h
        driven = g.op("Gather", "x", g.const(t, np.int64), axis=1)
        h = g.op("Add", g.op("Mul", g.const(A), before), driven)
        if not (spoil and t == 3):
            out = write(g, out, t + first, h, how)
    if reads:
        ends = [g.const([value], np.int64) for value in (1, 2**63 - 1, axis)]
        out = g.op("Slice", out, *ends)
    if not axis:
        out = g.op("Transpose", out, perm=[1, 0, 2])
    y = g.op("Mul", out, g.const(0.5), out="y")
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", T, H])
    result = helper.make_tensor_value_info(y, TensorProto.FLOAT, ["batch", T, H])
    graph = helper.make_graph(g.nodes, "model", [source], [result], list(g.constants.values()))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def expected(x: np.ndarray) -> np.ndarray:
    h, ys = np.zeros_like(x[:, 0]), []
    for t in range(x.shape[1]):
        h = A * h + x[:, t]
        ys.append(0.5 * h)
    return np.stack(ys, 1)


FILLED = ["elements", "indices", "time first"]
SPELLINGS = [*((how, reads) for how in FILLED for reads in (False, True)), ("turned", False), ("joined", False)]


@pytest.mark.parametrize(("how", "reads"), SPELLINGS)
def test_the_steps_become_one_scan(how: str, reads: bool) -> None:
    model = import_model(loop(how, reads))
    assert sum(is_op(node, "Scan") for node in model.graph) == 1
    assert not any(node.op_type.startswith("Scatter") for node in model.graph)
    for steps in (1, T, 11):
        x = np.random.default_rng(steps).standard_normal((3, steps, H)).astype(np.float32)
        assert np.allclose(run_onnx(to_proto(model), {"x": x})[0], expected(x), atol=1e-5)


def test_a_step_that_is_left_out_is_no_recurrence() -> None:
    with pytest.raises(ModelError, match=r"SSMC-M17"):
        import_model(loop("elements", spoil=True))
