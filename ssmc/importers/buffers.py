"""A tensor that a python loop filled step by step is its steps side by side.

    out = torch.zeros(batch, T, H);  out[:, t] = y        becomes a chain of T ScatterElements or ScatterND nodes
    out = torch.cat([out, y], 1)                          becomes a chain of Concat nodes

Which place a node fills is measured: onnxruntime computes its indices, and numbers are scattered by them. Where the
places of one axis are filled, all or all but the first, a Concat of what was written takes the place of the chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ssmc.budgets import Budgets
from ssmc.importers.unrolled_find import FEWEST
from ssmc.ir.build import add_constant, constant_array, is_op, node_name, remove_dead, required
from ssmc.trial import LimitedSession
from ssmc.verify import exposed, input_sizes

WRITES = ("ScatterElements", "ScatterND")
SAME_NUMBERS = ("Expand", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
BATCH, STEPS = 3, 7
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Write:
    """``node`` puts ``value`` at one place of an axis of a tensor.

    ``extra``: an axis of length 1 that the value has besides those of the place; None where it has none.
    """

    node: ir.Node
    axis: int
    place: int
    value: ir.Value
    extra: int | None


def join_writes(model: ir.Model, budgets: Budgets, source: str) -> None:
    """Put a Concat in the place of every chain that fills a tensor, in place.

    Raises:
        ModelError: SSMC-M05 where onnxruntime cannot run the model.
        UsageError: SSMC-U07 where it takes more seconds of CPU than the budget.
    """
    _flatten(model.graph)
    nodes = [node for node in model.graph if is_op(node, *WRITES) and _replaces(node)]
    if len(nodes) < FEWEST or model.graph.inputs[0].dtype is not ir.DataType.FLOAT:
        return
    _without_turns(model.graph)
    values = _measured(model, budgets, source)
    writes = {node.outputs[0]: found for node in nodes if (found := _write(node, values)) is not None}
    inner = {_origin(required(write.node, 0)) for write in writes.values()}
    for last in [write for value, write in writes.items() if value not in inner]:
        _join(model.graph, last, writes)
    remove_dead(model.graph)


def _replaces(node: ir.Node) -> bool:
    """Whether what it writes takes the place of what was there."""
    given = node.attributes.get("reduction")
    return given is None or given.as_string() == "none"


def _measured(model: ir.Model, budgets: Budgets, source: str) -> Arrays:
    """Every value of the main graph on random input."""
    proto, names = exposed(model)
    given = model.graph.inputs[0]
    x = np.random.default_rng(0).standard_normal(input_sizes(given, BATCH, STEPS)).astype(np.float32)
    results = LimitedSession(proto, budgets, source).run({str(given.name): x}, names)
    values = {name: result for name, result in zip(names, results, strict=True) if isinstance(result, np.ndarray)}
    constants = {value for node in model.graph for value in node.inputs if value is not None}
    for value in constants:
        array = constant_array(value)
        if array is not None:
            values[str(value.name)] = array
    return values


def _write(node: ir.Node, values: Arrays) -> Write | None:
    """What a node writes and where; None where it is not one whole place of one axis."""
    data, indices, updates = (values.get(str(v.name)) if v is not None else None for v in node.inputs)
    if data is None or indices is None or updates is None:
        return None
    numbers = np.arange(1, updates.size + 1).reshape(updates.shape)
    target = np.zeros(data.shape, np.int64)
    if node.op_type == "ScatterND":
        target[tuple(np.moveaxis(indices, -1, 0))] = numbers
    else:
        axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
        np.put_along_axis(target, indices, numbers, axis)
    for axis in range(target.ndim):
        filled = np.moveaxis(target, axis, 0) != 0
        places = np.flatnonzero(filled.any(tuple(range(1, target.ndim))))
        if len(places) == 1 and np.array_equal(target.take(places[0], axis).ravel(), numbers.ravel()):
            shape = (*target.shape[:axis], *target.shape[axis + 1 :])
            found = _of_shape(required(node, 2), shape, values)
            return None if found is None else Write(node, axis, int(places[0]), *found)
    return None


def _of_shape(value: ir.Value, shape: tuple[int, ...], values: Arrays) -> tuple[ir.Value, int | None] | None:
    """The first value of this shape, or of one more axis of length 1, from which the same numbers come; that axis."""
    found, numbers = None, values[str(value.name)].ravel()
    while (array := values.get(str(value.name))) is not None and np.array_equal(array.ravel(), numbers):
        alone = [axis for axis, size in enumerate(array.shape) if size == 1]
        extra = next((a for a in alone if (*array.shape[:a], *array.shape[a + 1 :]) == shape), None)
        if array.shape == shape or (extra is not None and (found is None or found[1] is not None)):
            found = value, None if array.shape == shape else extra
        node = value.producer()
        if node is None or not is_op(node, *SAME_NUMBERS):
            break
        value = required(node, 0)
    return found


def _flatten(graph: ir.Graph) -> None:
    """A Concat of a Concat along the same axis, which nothing else reads, as one."""
    for node in list(graph):
        first = required(node, 0) if is_op(node, "Concat") else None
        inner = first.producer() if first is not None else None
        if first is None or inner is None or not is_op(inner, "Concat") or len(first.uses()) != 1:
            continue
        if first.is_graph_output() or inner.attributes["axis"].as_int() != node.attributes["axis"].as_int():
            continue
        joined = ir.node("Concat", [*inner.inputs, *node.inputs[1:]], {"axis": node.attributes["axis"].as_int()})
        joined.name, old, new = node.name, node.outputs[0], joined.outputs[0]
        text, new.type, new.shape = str(old.name), old.type, old.shape
        graph.insert_before(node, joined)
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        graph.remove([node, inner], safe=True)
        new.name = text


def _without_turns(graph: ir.Graph) -> None:
    """Pairs of Transposes that undo each other go."""
    for node in graph:
        before = _origin(required(node, 0)).producer() if is_op(node, "Transpose") else None
        if before is None or not is_op(before, "Transpose"):
            continue
        first, second = (list(one.attributes["perm"].as_ints()) for one in (before, node))
        if [first[axis] for axis in second] == sorted(first) and not node.outputs[0].is_graph_output():
            node.outputs[0].replace_all_uses_with(required(before, 0))


def _origin(value: ir.Value) -> ir.Value:
    node = value.producer()
    while node is not None and is_op(node, "Identity"):
        value = required(node, 0)
        node = value.producer()
    return value


def _join(graph: ir.Graph, last: Write, writes: dict[ir.Value, Write]) -> None:
    """A Concat in the place of a chain that ends with ``last`` and fills its axis."""
    chain = [last]
    while (before := writes.get(_origin(required(chain[-1].node, 0)))) is not None and before.axis == last.axis:
        chain.append(before)
    filled: dict[int, Write] = {}
    for write in reversed(chain):
        _read_written(write, filled)
        filled[write.place] = write
    out, first = last.node.outputs[0], min(filled)
    if out.shape is None or sorted(filled) != list(range(first, _length(out.shape[last.axis]))):
        return
    joined = _side_by_side(graph, last, [filled[place] for place in sorted(filled)])
    for use in [use for alias in _aliases(out) for use in alias.uses()]:
        if _cuts(use.node, last.axis, first):
            use.node.outputs[0].replace_all_uses_with(joined)
    if first:
        joined = _behind_start(graph, last, required(chain[-1].node, 0), joined, first)
    text = str(out.name)
    joined.type, joined.shape = out.type, out.shape
    out.replace_all_uses_with(joined, replace_graph_outputs=True)
    out.name, joined.name = f"{text}.written", text


def _length(dim: object) -> int:
    return dim if isinstance(dim, int) else -1


def _aliases(value: ir.Value) -> list[ir.Value]:
    """A value and what Identity makes of it."""
    found = [value]
    for one in found:
        found += [use.node.outputs[0] for use in one.uses() if is_op(use.node, "Identity")]
    return found


def _cuts(node: ir.Node, axis: int, first: int) -> bool:
    """Whether a Slice takes all but the ``first`` places of an axis."""
    given = [constant_array(value) for value in node.inputs[1:]] if is_op(node, "Slice") else []
    if len(given) < 3 or any(one is None or one.size != 1 for one in given):
        return False
    start, end, at, *step = (int(one.ravel()[0]) for one in given if one is not None)
    return first > 0 and (start, at, step or [1]) == (first, axis, [1]) and end >= np.iinfo(np.int32).max


def _side_by_side(graph: ir.Graph, last: Write, writes: list[Write]) -> ir.Value:
    """What was written, joined along the axis, in front of the last node of the chain."""
    name, out = node_name(last.node), last.node.outputs[0]

    def add(kind: str, value: ir.Value, axis: int, label: str) -> ir.Value:
        node = ir.node(kind, [value, add_constant(graph, f"{label}.axis", [axis], np.int64)], name=label)
        node.outputs[0].name, node.outputs[0].type = label, out.type
        graph.insert_before(last.node, node)
        return node.outputs[0]

    parts = []
    for write in writes:
        label = f"{name}.step{write.place}"
        value = write.value if write.extra is None else add("Squeeze", write.value, write.extra, f"{label}.narrow")
        parts.append(add("Unsqueeze", value, last.axis, label))
    joined = ir.node("Concat", parts, {"axis": last.axis}, name=f"{name}.joined")
    joined.outputs[0].name, joined.outputs[0].type = f"{name}.joined", out.type
    graph.insert_before(last.node, joined)
    return joined.outputs[0]


def _behind_start(graph: ir.Graph, last: Write, start: ir.Value, joined: ir.Value, first: int) -> ir.Value:
    """With the places in front that were not written."""
    name = f"{node_name(last.node)}.start"
    bounds = {"from": [0], "to": [first], "axis": [last.axis]}
    given = [add_constant(graph, f"{name}.{key}", value, np.int64) for key, value in bounds.items()]
    cut = ir.node("Slice", [start, *given], name=name)
    whole = ir.node("Concat", [*cut.outputs, joined], {"axis": last.axis}, name=f"{name}.joined")
    cut.outputs[0].name, cut.outputs[0].type, whole.outputs[0].name = name, joined.type, f"{name}.joined"
    for node in (cut, whole):
        graph.insert_before(last.node, node)
    return whole.outputs[0]


def _read_written(write: Write, filled: dict[int, Write]) -> None:
    """A Gather of a place that was filled before ``write`` reads what was written there."""
    stack = [required(write.node, 0)]
    while stack:
        value = stack.pop()
        for use in list(value.uses()):
            at = constant_array(use.node.inputs[1]) if is_op(use.node, "Gather") and use.idx == 0 else None
            axis = use.node.attributes["axis"].as_int() if at is not None and "axis" in use.node.attributes else 0
            known = filled.get(int(at)) if at is not None and at.ndim == 0 and axis == write.axis else None
            if known is not None and known.extra is None:
                use.node.outputs[0].replace_all_uses_with(known.value)
        producer = value.producer()
        if producer is not None and is_op(producer, "Identity"):
            stack.append(required(producer, 0))
