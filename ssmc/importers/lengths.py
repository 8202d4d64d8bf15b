"""Where a model computes with the length of its sequence: the last step, and a sum divided by the number of steps.

    x[:, x.shape[1] - 1]   is the last step                x.sum(1) / x.shape[1]   is the mean over time

onnxruntime compares what is rewritten with the file.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ssmc.ir.build import add_constant, constant_array, is_op, node_name, remove_dead, replace_node, required

SAME_NUMBER = ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze")


def spell_lengths(model: ir.Model) -> bool:
    """Rewrite the main graph; whether anything depended on a length."""
    found = False
    for node in list(model.graph):
        if is_op(node, "Gather") and len(node.inputs) == 2 and node.inputs[1] is not None:
            found |= _last_step(model.graph, node)
        elif is_op(node, "Div") and is_length(node.inputs[1]) and node.inputs[0] is not None:
            found |= _mean(model.graph, node, node.inputs[0].producer())
    if found:
        remove_dead(model.graph)
    return found


def _last_step(graph: ir.Graph, node: ir.Node) -> bool:
    """Gather at the length - 1, or at [-1], as Gather at -1; a Slice where it keeps the axis."""
    index, known = required(node, 1), constant_array(node.inputs[1])
    last = known is not None and known.shape == (1,) and int(known[0]) == -1
    if not last and not _is_last(index):
        return False
    rank = known.ndim if known is not None else None if index.shape is None else len(index.shape)
    name, axis = node_name(node), node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    if rank == 0:
        node.replace_input_with(1, add_constant(graph, f"{name}.last", -1, np.int64))
        return True
    if rank != 1:
        return False
    bounds = {"from": [-1], "to": [np.iinfo(np.int64).max], "axis": [axis]}
    given = [add_constant(graph, f"{name}.{key}", value, np.int64) for key, value in bounds.items()]
    replace_node(graph, node, ir.node("Slice", [required(node, 0), *given], name=name))
    return True


def _mean(graph: ir.Graph, node: ir.Node, total: ir.Node | None) -> bool:
    """ReduceSum divided by a length, which nothing else reads, as ReduceMean."""
    if total is None or not is_op(total, "ReduceSum") or len(total.outputs[0].uses()) != 1:
        return False
    replace_node(graph, node, ir.node("ReduceMean", list(total.inputs), _plain(total), name=node_name(node)))
    return True


def _plain(total: ir.Node) -> dict[str, int]:
    return {name: attribute.as_int() for name, attribute in total.attributes.items()}


def _is_last(value: ir.Value) -> bool:
    """Whether a value is a length less 1."""
    node = _behind(value)
    if node is None or not is_op(node, "Sub", "Add"):
        return False
    one = constant_array(node.inputs[1])
    return (
        one is not None
        and one.size == 1
        and int(one.ravel()[0]) == (1 if node.op_type == "Sub" else -1)
        and (is_length(node.inputs[0]))
    )


def is_length(value: ir.Value | None) -> bool:
    """Whether a value is the length of one axis of something, and no number that the file tells."""
    node = None if value is None else _behind(value)
    if is_op(node, "Gather") and node is not None:
        at, shape = constant_array(node.inputs[1]), required(node, 0).producer()
        return at is not None and at.size == 1 and _is_free(shape, int(at.ravel()[0]))
    if node is None or not is_op(node, "Shape") or "start" not in node.attributes or "end" not in node.attributes:
        return False
    start = node.attributes["start"].as_int()
    return node.attributes["end"].as_int() - start == 1 and _is_free(node, start)


def _is_free(shape: ir.Node | None, axis: int) -> bool:
    if shape is None or not is_op(shape, "Shape"):
        return False
    dims = required(shape, 0).shape
    return dims is None or not isinstance(dims[axis], int)


def _behind(value: ir.Value) -> ir.Node | None:
    """The node that computes a number, in whatever type and rank."""
    node = value.producer()
    while node is not None and is_op(node, *SAME_NUMBER) and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    return node
