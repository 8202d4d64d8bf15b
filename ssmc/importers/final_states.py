"""A final state that the model uses becomes the last element of an output per step: the state after that step."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ssmc.importers.loops import once
from ssmc.ir.build import add_constant, carried, is_op, node_name, remove_dead, replace_value


def stack_final_states(model: ir.Model) -> None:
    """``s_T``, where anything reads it or it is the result, as ``s'[-1]``: such a Scan puts out s' of each step.

    Outputs of that Scan that nothing reads go, since one that reads the old state would not fit those of the new one.
    """
    graph = model.graph
    scans = [node for node in graph if is_op(node, "Scan")]
    if any(used(out) for node in scans for out in node.outputs[: carried(node)]):
        remove_dead(graph)
    for node in scans:
        states = [index for index, out in enumerate(node.outputs[: carried(node)]) if used(out)]
        if states:
            _stack(graph, node, states)


def used(value: ir.Value) -> bool:
    """Whether anything reads a value."""
    return bool(value.uses()) or value.is_graph_output()


def _stack(graph: ir.Graph, node: ir.Node, states: list[int]) -> None:
    """Put a Scan with an output for each of these states in the place of a Scan."""
    count, body = carried(node), node.attributes["body"].as_graph()
    kept = [index for index in range(count, len(node.outputs)) if used(node.outputs[index])]
    outputs = list(body.outputs)
    body.outputs.clear()
    body.outputs.extend(once(body, [*outputs[:count], *(outputs[index] for index in (*kept, *states))]))
    attributes = dict(node.attributes)
    for key in ("scan_output_axes", "scan_output_directions"):
        if key in attributes:
            each = attributes[key].as_ints()
            attributes[key] = ir.AttrInt64s(key, [*(each[index - count] for index in kept), *(0 for _ in states)])
    size = count + len(kept) + len(states)
    new = ir.node("Scan", list(node.inputs), attributes, num_outputs=size, name=node_name(node))
    graph.insert_before(node, new)
    ends = new.outputs[count + len(kept) :]
    for old, value in zip([*node.outputs[:count], *(node.outputs[index] for index in kept)], new.outputs, strict=False):
        value.type, value.shape = old.type, old.shape
        replace_value(graph, old, value)
        value.name, old.name = old.name, f"{old.name}.before"
    newest = add_constant(graph, f"{node_name(node)}.newest", -1, np.int64)
    for index, every in zip(states, ends, strict=True):
        _last(graph, new.outputs[index], every, newest)
    graph.remove(node, safe=True)


def _last(graph: ir.Graph, state: ir.Value, every: ir.Value, newest: ir.Value) -> None:
    """Have the last element of the states (T, N, ...) of every step read in place of the final one."""
    every.name, every.type = f"{state.name}.every", state.type
    node = ir.node("Gather", [every, newest], {"axis": 0}, name=f"{state.name}.last")
    last = node.outputs[0]
    last.name, last.type, last.shape = f"{state.name}.last", state.type, state.shape
    producer = every.producer()
    assert producer is not None
    graph.insert_after(producer, node)
    replace_value(graph, state, last)
