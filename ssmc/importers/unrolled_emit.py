"""The pattern of an unrolled loop as the body of a ``Scan``, in the place of its copies."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ssmc.importers.loops import once
from ssmc.importers.unrolled_find import PATTERN, Collected, Copies, Read, UnequalError
from ssmc.ir.build import add_constant, constant_array, remove_dead

Image = dict[ir.Value, ir.Value]
Use = tuple[ir.Node, int]


def emit(graph: ir.Graph, copies: Copies, last: Image, starts: list[ir.Value | None]) -> None:
    """Put a Scan where the copies are; ``last`` maps the pattern's values to those of the last step.

    Raises:
        UnequalError: a start that is no zero of a known shape.
    """
    name = f"{copies.nodes[PATTERN][0].name}.rolled"
    states = copies.states()
    _read_results(graph, copies, last)
    left = _left(copies, last)
    body = _body(graph, copies, [*(c.entries[PATTERN] for c in copies.collected), *left], name)
    first = next(c.node for c in copies.collected) if copies.collected else _first_reader(graph, left)
    given = [_start(graph, copies, end, start, first) for (end, _), start in zip(states, starts, strict=True)]
    outer = [_time_first(graph, sequence[0], first, f"{name}.{i}") for i, sequence in enumerate(copies.sequences)]
    count = len(states) + len(copies.collected) + len(left)
    kinds: dict[str, ir.Graph | int] = {"body": body, "num_scan_inputs": len(outer)}
    scan = ir.node("Scan", [*given, *outer], kinds, num_outputs=count, name=name)
    graph.insert_before(first, scan)
    for index, value in enumerate(scan.outputs):
        value.name, value.dtype = f"{name}:{index}", ir.DataType.FLOAT
    outputs = list(scan.outputs)[len(states) :]
    for collected, value in zip(copies.collected, outputs, strict=False):
        _stack(graph, collected, value)
    for (value, uses), stacked in zip(left.values(), outputs[len(copies.collected) :], strict=True):
        _take_last(value, uses, _last(graph, stacked, 0, False, first))
    for sequence in copies.sequences:
        read = sequence[-1]
        uses = _outside(read.value, copies, last)
        if uses:
            _take_last(read.value, uses, _last(graph, read.source, read.axis, read.keeps, first))


def _read_results(graph: ir.Graph, copies: Copies, last: Image) -> None:
    """An Identity behind a value of the last step that is the model's result, so that something reads it."""
    for value in list(graph.outputs):
        if value in last.values() and value not in (c.node.outputs[0] for c in copies.collected):
            node = ir.node("Identity", [value], name=f"{value.name}.result")
            result, name = node.outputs[0], str(value.name)
            result.type, result.shape = value.type, value.shape
            graph.append(node)
            graph.outputs[list(graph.outputs).index(value)] = result
            value.name, result.name = f"{name}.unrolled", name


def _left(copies: Copies, last: Image) -> dict[ir.Value, tuple[ir.Value, list[Use]]]:
    """Of the pattern's values those that, as values of the last step, are read behind the loop, and where."""
    found = {}
    for old, new in last.items():
        uses = _outside(new, copies, last)
        if old not in copies.reads(PATTERN) and uses:
            found[old] = new, uses
    return found


def _outside(value: ir.Value, copies: Copies, last: Image) -> list[Use]:
    """Where a value of the last step is read by what is no copy of the pattern."""
    inside = {v.producer() for v in last.values()} | {node for nodes in copies.nodes[:-1] for node in nodes}
    inside |= {c.node for c in copies.collected}
    return [(use.node, use.idx) for use in value.uses() if use.node not in inside]


def _first_reader(graph: ir.Graph, left: dict[ir.Value, tuple[ir.Value, list[Use]]]) -> ir.Node:
    readers = {node for _, uses in left.values() for node, _ in uses}
    for node in graph:
        if node in readers:
            return node
    raise UnequalError("nothing reads what it computes")


def _body(graph: ir.Graph, copies: Copies, kept: list[ir.Value], name: str) -> ir.Graph:
    """One step: states and slices to next states and ``kept`` values."""
    inner: Image = {}
    for index, (start, _) in enumerate(copies.states()):
        inner[start] = ir.val(f"{name}.state{index}", dtype=ir.DataType.FLOAT, shape=start.shape)
    slices = [ir.val(f"{name}.slice{i}", dtype=ir.DataType.FLOAT) for i in range(len(copies.sequences))]
    body = ir.Graph([*inner.values(), *slices], [], nodes=[], name=f"{name}.body", opset_imports=graph.opset_imports)
    for sequence, value in zip(copies.sequences, slices, strict=True):
        read = sequence[PATTERN]
        inner[read.value] = _with_axis(graph, body, value, read.axis) if read.keeps else value
    for node in copies.nodes[PATTERN]:
        inputs = [inner.get(v, v) if v is not None else None for v in node.inputs]
        copy = ir.Node(node.domain, node.op_type, inputs, list(node.attributes.values()), num_outputs=len(node.outputs))
        copy.name = f"{name}/{node.name}"
        for old, new in zip(node.outputs, copy.outputs, strict=True):
            new.name, new.type, new.shape = f"{name}.{old.name}", old.type, old.shape
            inner[old] = new
        body.append(copy)
    ends = [inner[end] for _, end in copies.states()]
    kept_inner = [inner[value] for value in kept]
    for index, collected in enumerate(copies.collected):
        if not collected.new_axis:
            kept_inner[index] = _without_axis(graph, body, kept_inner[index], collected.axis)
    body.outputs.extend(once(body, [*ends, *kept_inner]))
    remove_dead(body)
    return body


def _with_axis(graph: ir.Graph, body: ir.Graph, value: ir.Value, axis: int) -> ir.Value:
    return _axis(graph, body, "Unsqueeze", value, axis)


def _without_axis(graph: ir.Graph, body: ir.Graph, value: ir.Value, axis: int) -> ir.Value:
    return _axis(graph, body, "Squeeze", value, axis)


def _axis(graph: ir.Graph, body: ir.Graph, kind: str, value: ir.Value, axis: int) -> ir.Value:
    name = f"{value.name}.{kind}"
    node = ir.node(kind, [value, add_constant(graph, f"{name}.axes", [axis], np.int64)], name=name)
    node.outputs[0].name, node.outputs[0].dtype = name, ir.DataType.FLOAT
    body.append(node)
    return node.outputs[0]


def _start(graph: ir.Graph, copies: Copies, state: ir.Value, start: ir.Value | None, place: ir.Node) -> ir.Value:
    """The value that a state starts from: the file's, or zeros of the state's shape."""
    array = constant_array(start) if start is not None else None
    if start is not None and array is None:
        return start
    if array is not None and array.any():
        raise UnequalError("it does not start at zero")
    dims = list(state.shape) if state.shape is not None else []
    free = [axis for axis, dim in enumerate(dims) if not isinstance(dim, int)]
    if not dims or len(free) > 1:
        raise UnequalError(f"the shape of its state '{state.name}' is not known")
    name = f"{state.name}.start"
    if not free:
        return add_constant(graph, name, np.zeros(state.shape.numpy() if state.shape is not None else ()), np.float32)
    sizes = ir.node("Shape", [copies.sequences[0][0].source], name=f"{name}.sizes")
    at = _batch_axis(copies.sequences[0][0])
    batch = ir.node("Gather", [sizes.outputs[0], add_constant(graph, f"{name}.at", [at], np.int64)], name=f"{name}.n")
    parts = [add_constant(graph, f"{name}.{axis}", [dim], np.int64) if isinstance(dim, int) else batch.outputs[0]
             for axis, dim in enumerate(dims)]  # fmt: skip
    shape = ir.node("Concat", parts, {"axis": 0}, name=f"{name}.shape")
    zeros = ir.node("ConstantOfShape", [shape.outputs[0]], name=name)
    for node in (sizes, batch, shape, zeros):
        node.outputs[0].name = str(node.name)
        graph.insert_before(place, node)
    return zeros.outputs[0]


def _batch_axis(read: Read) -> int:
    """The dynamic axis of a sequence, else the first that is not walked."""
    dims = list(read.source.shape) if read.source.shape is not None else []
    free = [axis for axis, dim in enumerate(dims) if not isinstance(dim, int)]
    return free[0] if free else int(read.axis == 0)


def _time_first(graph: ir.Graph, read: Read, place: ir.Node, name: str) -> ir.Value:
    if read.axis == 0:
        return read.source
    rank = len(read.source.shape) if read.source.shape is not None else read.axis + 1
    perm = [read.axis, *(axis for axis in range(rank) if axis != read.axis)]
    return _transposed(graph, read.source, perm, place, name)


def _transposed(graph: ir.Graph, value: ir.Value, perm: list[int], place: ir.Node, name: str) -> ir.Value:
    turned = ir.node("Transpose", [value], {"perm": perm}, name=name)
    turned.outputs[0].name, turned.outputs[0].dtype = name, ir.DataType.FLOAT
    graph.insert_before(place, turned)
    return turned.outputs[0]


def _stack(graph: ir.Graph, collected: Collected, stacked: ir.Value) -> None:
    """(T, ...) of the Scan in the place of what was put together."""
    axis, shape = collected.axis, collected.entries[0].shape
    if axis:
        rank = len(shape) + collected.new_axis if shape is not None else axis + 2
        perm = [*range(1, axis + 1), 0, *range(axis + 1, rank)]
        stacked = _transposed(graph, stacked, perm, collected.node, f"{stacked.name}.turned")
    old = collected.node.outputs[0]
    name, stacked.type, stacked.shape = str(old.name), old.type, old.shape
    output = old.is_graph_output()
    old.replace_all_uses_with(stacked, replace_graph_outputs=True)
    if output:
        old.name, stacked.name = f"{name}.unrolled", name


def _last(graph: ir.Graph, sequence: ir.Value, axis: int, keeps: bool, place: ir.Node) -> ir.Value:
    """The last step of a sequence."""
    name = f"{sequence.name}.last"
    at = add_constant(graph, f"{name}.at", [-1] if keeps else -1, np.int64)
    node = ir.node("Gather", [sequence, at], {"axis": axis}, name=name)
    node.outputs[0].name = name
    graph.insert_before(place, node)
    return node.outputs[0]


def _take_last(value: ir.Value, uses: list[Use], new: ir.Value) -> None:
    """``new`` where a value of the last step is read behind the loop."""
    new.type, new.shape = value.type, value.shape
    for node, index in uses:
        node.replace_input_with(index, new)
