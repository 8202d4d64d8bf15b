"""A Scan along any axis as one along the first: the axis moves by a Transpose before it, and back behind it."""

from __future__ import annotations

import onnx_ir as ir

from ssmc.budgets import Budgets
from ssmc.ir.build import carried, is_op, node_name, required
from ssmc.trial import LimitedSession, shape_of
from ssmc.verify import random_feeds, show

AXES = ("scan_input_axes", "scan_output_axes")
Ranks = dict[str, int]


def scan_first_axes(model: ir.Model, budgets: Budgets, source: str) -> None:
    """Rewrite every Scan of the main graph that walks or stacks along another axis than the first.

    Raises:
        ModelError: SSMC-M05 where onnxruntime does not run the model.
        UsageError: SSMC-U07 where a run takes more seconds of CPU than the budget.
    """
    scans = [node for node in model.graph if is_op(node, "Scan") and any(key in node.attributes for key in AXES)]
    if not scans:
        return
    first = [carried(node) for node in scans]
    read = [[required(n, i) for i in range(start, len(n.inputs))] for n, start in zip(scans, first, strict=True)]
    made = [list(node.outputs[start:]) for node, start in zip(scans, first, strict=True)]
    ranks = _ranks(model, [value for values in (*read, *made) for value in values], budgets, source)
    for index, node in enumerate(scans):
        _inputs(model.graph, node, read[index], first[index], ranks)
        _outputs(model.graph, node, made[index], ranks)


def _ranks(model: ir.Model, values: list[ir.Value], budgets: Budgets, source: str) -> Ranks:
    """Numbers of axes: as the model says, else as onnxruntime finds."""
    known = {str(value.name): len(value.shape) for value in values if value.shape is not None}
    names = [str(value.name) for value in values if str(value.name) not in known]
    if names:
        proto = ir.to_proto(model)
        show(proto, names)
        results = LimitedSession(proto, budgets, source).run(random_feeds(model, batch=2, steps=2), names)
        known |= {name: len(shape_of(result)) for name, result in zip(names, results, strict=True)}
    return known


def _axes(node: ir.Node, key: str, values: list[ir.Value], ranks: Ranks) -> list[int]:
    """Axes counted from the front; the attribute goes."""
    axes = node.attributes[key].as_ints() if key in node.attributes else [0] * len(values)
    node.attributes.pop(key, None)
    return [axis % ranks[str(value.name)] for axis, value in zip(axes, values, strict=True)]


def _inputs(graph: ir.Graph, node: ir.Node, values: list[ir.Value], first: int, ranks: Ranks) -> None:
    for index, (value, axis) in enumerate(zip(values, _axes(node, AXES[0], values, ranks), strict=True)):
        if axis:
            order = [axis, *(a for a in range(ranks[str(value.name)]) if a != axis)]
            name = f"{node_name(node)}.{value.name}.time_first"
            turned = ir.node("Transpose", [value], {"perm": order}, name=name)
            turned.outputs[0].name, turned.outputs[0].type = name, value.type
            turned.outputs[0].shape = None if value.shape is None else ir.Shape([value.shape[a] for a in order])
            graph.insert_before(node, turned)
            node.replace_input_with(first + index, turned.outputs[0])


def _outputs(graph: ir.Graph, node: ir.Node, values: list[ir.Value], ranks: Ranks) -> None:
    for value, axis in zip(values, _axes(node, AXES[1], values, ranks), strict=True):
        if axis:
            others = list(range(1, ranks[str(value.name)]))
            turned = ir.node("Transpose", [value], {"perm": [*others[:axis], 0, *others[axis:]]})
            back, name = turned.outputs[0], str(value.name)
            turned.name, back.type, back.shape = f"{name}.time_back", value.type, value.shape
            value.replace_all_uses_with(back, replace_graph_outputs=True)
            turned.replace_input_with(0, value)
            value.name, back.name, value.shape = f"{name}.time_first", name, None
            graph.insert_after(node, turned)
