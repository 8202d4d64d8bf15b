"""A Scan whose body holds more than a linear recurrence: several layers, or what stands before and behind them.

The body becomes a step on rows that hold all steps of all sequences, out of which every layer is taken as a Scan of its
own (`ssmc.importers.step_layers`). A body that is linear stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir

from ssmc.budgets import Budgets
from ssmc.importers.qonnx import QONNX
from ssmc.importers.rewritten import require_same
from ssmc.importers.step_layers import ELEMENTWISE, JOINS, MATRICES, StepNodes, Steps, behind
from ssmc.ir.build import carried, is_op, known_shape, node_name, remove_dead, required
from ssmc.trial import LimitedSession, shape_of
from ssmc.verify import show

LINEAR = frozenset((*ELEMENTWISE, *MATRICES, *JOINS, "ReduceMean", "Flatten"))
QUANTIZERS = frozenset(("Round", "Clip", "Max", "Min", "QuantizeLinear", "DequantizeLinear"))
SUMS = frozenset(("Add", "Sub", "Concat"))
BATCH, TIME = 3, 16


def split_loops(model: ir.Model, budgets: Budgets, source: str) -> None:
    """Take every Scan of the main graph apart whose body is not linear.

    Raises:
        ModelError: SSMC-M05 where onnxruntime does not run the model.
        UsageError: SSMC-U07 where a run takes more seconds of CPU than the budget.
        VerificationError: SSMC-V08 where the result computes something else.
    """
    scans = [node for node in model.graph if is_op(node, "Scan") and _can_be_split(node)]
    if not scans or len(model.graph.inputs) != 1:
        return
    before = ir.to_proto(model)
    found = _shapes_by_batch(before, model, scans, budgets, source)
    if found is None:
        return
    at, shapes = found
    for node in scans:
        name = _free_prefix(model.graph, node_name(node))
        steps = _inline(model.graph, node, shapes, name)
        names = [str(out.name) for inner in model.graph for out in inner.outputs]
        measured = _measured(ir.to_proto(model), model, at, 1, names, budgets, source)
        replace(steps, shapes=measured).scan_layers(name)
    remove_dead(model.graph)
    require_same(before, model, budgets, source)


def _can_be_split(node: ir.Node) -> bool:
    """Whether a body holds more than linear operations and quantizers, but nothing else lies between its states."""
    body, count = node.attributes["body"].as_graph(), carried(node)
    states, rows = body.inputs[:count], body.inputs[count:]
    pairs = dict(zip(states, body.outputs[:count], strict=True))
    signals = behind(body, body.inputs)
    steps = Steps(body, {}, rows, rows[0], pairs, {})
    return not all(_linear(inner, signals) for inner in body) and all(
        _linear(inner, signals) for inner in steps.between()
    )


def _linear(node: ir.Node, signals: set[ir.Value]) -> bool:
    """Whether it is a linear operation of one signal, or of sums of several, or part of a quantizer."""
    read = [value for value in node.inputs if value in signals]
    plain = node.op_type in LINEAR | QUANTIZERS and (node.op_type in SUMS or len(read) < 2)
    return not read or plain or node.domain in QONNX


def _shapes_by_batch(
    proto: onnx.ModelProto, model: ir.Model, scans: Sequence[ir.Node], budgets: Budgets, source: str
) -> tuple[int, dict[str, tuple[int, ...]]] | None:
    """Which dynamic axis of the input is the batch, and shapes of what these Scans read and give, at a batch of 3.

    None where they do not stand as (time, batch, ...).
    """
    wanted = list(dict.fromkeys(str(v.name) for node in scans for v in (*node.inputs, *node.outputs) if v is not None))
    for at in (0, 1):
        shapes = _measured(proto, model, at, TIME, wanted, budgets, source)
        walked = [str(required(node, -1 - i).name) for node in scans for i in range(len(node.inputs) - carried(node))]
        if all(len(shapes[name]) > 1 and shapes[name][1] == BATCH != shapes[name][0] for name in walked):
            return at, shapes
    return None


def _measured(
    proto: onnx.ModelProto, model: ir.Model, at: int, time: int, names: Sequence[str], budgets: Budgets, source: str
) -> dict[str, tuple[int, ...]]:
    """Shapes of named values; ``at``: which of the two dynamic axes of the input is the batch."""
    value, exposed = model.graph.inputs[0], onnx.ModelProto()
    sizes = iter((BATCH, time) if at == 0 else (time, BATCH))
    dims = [dim if isinstance(dim, int) else next(sizes, 1) for dim in known_shape(value)]
    exposed.CopyFrom(proto)
    stored = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
    wanted = [name for name in names if name not in stored and name != value.name]
    show(exposed, wanted)
    feeds = {str(value.name): np.zeros(dims, (value.dtype or ir.DataType.FLOAT).numpy())}
    results = LimitedSession(exposed, budgets, source).run(feeds, wanted)
    return stored | {str(value.name): tuple(dims)} | {n: shape_of(x) for n, x in zip(wanted, results, strict=True)}


def _inline(graph: ir.Graph, node: ir.Node, shapes: dict[str, tuple[int, ...]], name: str) -> Steps:
    """A body's nodes on rows, in place of its Scan: right at one step, at which every state has its first value."""
    body = node.attributes["body"].as_graph()
    count = carried(node)
    nodes = StepNodes(graph)
    turned = [_batch_first(nodes, required(node, i), shapes, f"{name}.in{i}") for i in range(count, len(node.inputs))]
    lengths = nodes.op("Shape", [turned[0]], f"{name}.lengths", start=0, end=2)
    rows = [
        nodes.reshaped(value, [-1, *shapes[str(required(node, count + i).name)][2:]], f"{name}.rows{i}")
        for i, value in enumerate(turned)
    ]
    starts = [required(node, index) for index in range(count)]
    states = [nodes.op("Identity", [start], f"{name}.state{i}") for i, start in enumerate(starts)]
    results = _inlined(graph, body, [*states, *rows], name)
    inside = set(graph)
    for out, row in zip(node.outputs[count:], results[count:], strict=True):
        dims = shapes[str(out.name)][2:]
        stacked = nodes.unflattened(row, lengths, dims, f"{out.name}.stacked")
        stacked.type = out.type
        out.replace_all_uses_with(stacked, replace_graph_outputs=True)
        stacked.name, out.name = out.name, f"{out.name}.scan"
    graph.remove(node, safe=True)
    ends = frozenset(set(graph) - inside)
    graph.sort()
    pairs, first = dict(zip(states, results[:count], strict=True)), dict(zip(states, starts, strict=True))
    return Steps(graph, {}, rows, lengths, pairs, first, ends)


def _free_prefix(graph: ir.Graph, name: str) -> str:
    """``name``, lengthened until no value's name begins with it and a dot."""
    taken = [str(out.name) for node in graph for out in node.outputs]
    while any(value.startswith(f"{name}.") for value in taken):
        name = f"{name}.step"
    return name


def _batch_first(nodes: StepNodes, value: ir.Value, shapes: dict[str, tuple[int, ...]], name: str) -> ir.Value:
    rank = len(shapes[str(value.name)])
    return nodes.op("Transpose", [value], name, perm=[1, 0, *range(2, rank)])


def _inlined(graph: ir.Graph, body: ir.Graph, inputs: Sequence[ir.Value], name: str) -> list[ir.Value]:
    """Copies of a body's nodes at the end of the graph; what stands for its outputs."""
    known: dict[ir.Value | None, ir.Value | None] = dict(zip(body.inputs, inputs, strict=True))
    taken = {node.name for node in graph}
    for node in body:
        values = [known.get(v, v) for v in node.inputs]
        copy = ir.Node(node.domain, node.op_type, values, node.attributes.values(), num_outputs=len(node.outputs))
        copy.name = node.name if node.name and node.name not in taken else f"{name}.{node_name(node)}"
        for before, after in zip(node.outputs, copy.outputs, strict=True):
            known[before], after.name, after.type = after, f"{name}.{before.name}", before.type
        graph.append(copy)
    return [known[value] for value in body.outputs]  # type: ignore[misc]
