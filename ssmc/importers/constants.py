"""What a file computes of constants alone, where what is read later depends on it.

Exporters write short lists as graphs: torch turns the ``(left, right)`` of a padding around by a Slice that runs
backwards, compares the weight of ``lerp`` with 1/2, and computes the halves of ``chunk`` from the number of channels,
which it reads from a Shape. Only whole numbers and truth values are folded here, and only few of them: real constants
are left to the pass `fold_constants`, and codes to their quantizers.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from ssmc.ir.affine import evaluate
from ssmc.ir.build import (
    Array,
    add_constant,
    constant_array,
    graph_of,
    graphs,
    is_op,
    node_name,
    remove_dead,
    replace_node,
)

MOST = 64  # numbers that a node reads or makes: axes, sizes, bounds, paddings
OPERATORS = (
    *("Add", "Cast", "Concat", "ConstantOfShape", "Div", "Equal", "Gather", "Greater", "GreaterOrEqual", "Identity"),
    *("Less", "LessOrEqual", "Mul", "Not", "Reshape", "Slice", "Sub", "Transpose"),
)
WHOLE = (ir.DataType.INT64, ir.DataType.BOOL)


def fold_small_constants(model: ir.Model) -> None:
    """Fold nodes that make a few whole numbers or truth values of constants, and choices between values, in place."""
    found = False
    for graph in list(graphs(model.graph)):
        for node in list(graph):
            if is_op(node, "Where"):
                found |= _choose(graph, node)
            elif (sizes := _fixed_sizes(node)) is not None:
                _replace(node, model.graph, sizes)
                found = True
            elif is_op(node, *OPERATORS) and _is_small(node):
                _replace(node, model.graph, evaluate(node, [constant_array(value) for value in node.inputs])[0])
                found = True
    for graph in reversed(list(graphs(model.graph))) if found else ():
        remove_dead(graph)


def _is_small(node: ir.Node) -> bool:
    given = [constant_array(value) for value in node.inputs if value is not None]
    known = [array for array in given if array is not None]
    out = node.outputs[0]
    if len(known) < len(given) or out.dtype not in WHOLE or out.is_graph_output():
        return False
    if is_op(node, "Div") and min(known[1].ravel().tolist(), default=1) <= 0:  # onnxruntime says what is wrong
        return False
    size = math.prod(known[0].ravel().tolist()) if is_op(node, "ConstantOfShape") else 0
    return all(array.size <= MOST for array in known) and 0 <= size <= MOST


def _fixed_sizes(node: ir.Node) -> Array | None:
    """What a Gather takes from a Shape, where these axes have lengths that are fixed."""
    shape = node.inputs[0].producer() if is_op(node, "Gather") and node.inputs[0] is not None else None
    given = shape.inputs[0] if shape is not None and is_op(shape, "Shape") else None
    taken = constant_array(node.inputs[1]) if given is not None else None
    if shape is None or given is None or given.shape is None or taken is None or node.outputs[0].is_graph_output():
        return None
    start, end = (shape.attributes[key].as_int() if key in shape.attributes else None for key in ("start", "end"))
    sizes = given.shape.dims[start:end]
    chosen = [sizes[index] for index in taken.ravel().tolist() if -len(sizes) <= index < len(sizes)]
    fixed = [size for size in chosen if isinstance(size, int)]
    return np.reshape(fixed, taken.shape) if len(fixed) == taken.size <= MOST else None


def _replace(node: ir.Node, main: ir.Graph, result: Array) -> None:
    dtype = np.bool_ if node.outputs[0].dtype == ir.DataType.BOOL else np.int64
    node.outputs[0].replace_all_uses_with(add_constant(main, f"{node_name(node)}.folded", result, dtype))
    graph_of(node).remove(node, safe=True)


def _choose(graph: ir.Graph, node: ir.Node) -> bool:
    """Where with a condition that always holds, or never, is one of its values, if that has the shape of the result."""
    condition: Array | None = constant_array(node.inputs[0])
    if condition is None or condition.size != 1:
        return False
    taken, other = (node.inputs[k] for k in ((1, 2) if condition.item() else (2, 1)))
    if taken is None or other is None or not _keeps_shape(taken, other, condition.ndim):
        return False
    replace_node(graph, node, ir.node("Identity", [taken], name=node_name(node)))
    return True


def _keeps_shape(taken: ir.Value, other: ir.Value, rank: int) -> bool:
    """Whether the value taken has the shape of the result: that of the other, or the other is one number."""
    if taken.shape is None or other.shape is None or max(rank, len(other.shape)) > len(taken.shape):
        return False
    return taken.shape == other.shape or all(size == 1 for size in other.shape.dims)
