"""States that a model takes and gives back, as streaming models do: inside the compiled program they start at zero.

A state input is what a recurrence starts from, a state output what it ends with. They are paired by data flow: both
belong to the same carried value of one Scan. What is left over is the sequence and the result.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ssmc.errors import ModelError
from ssmc.ir.build import add_constant, carried, is_op, known_shape, remove_dead, required

LAYOUT = frozenset({"Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Cast", "Flatten", "Slice", "Gather"})
Carried = tuple[ir.Node, int]


def drop_carried_states(model: ir.Model) -> None:
    """Start every state input at zero and drop every output of a final state.

    Raises:
        ModelError: SSMC-M14 where an input or an output is neither a state nor the one sequence or result.
    """
    graph = model.graph
    scans = [node for node in graph if is_op(node, "Scan")]
    if not scans or (len(graph.inputs) == 1 and len(graph.outputs) == 1):
        return
    starts = {value: place for value in graph.inputs if (place := _starts(value)) is not None}
    ends = {value: place for value in graph.outputs if (place := _ends(value)) is not None}
    sequences = [value for value in graph.inputs if value not in starts]
    results = [value for value in graph.outputs if value not in ends]
    if not results and len(ends) == 1:  # the final state itself is the result
        results = list(ends)
    if len(sequences) != 1 or len(results) != 1:
        inputs, outputs = (", ".join(str(v.name) for v in values) for values in (sequences, results))
        fact = f"besides states there are inputs ({inputs}) and outputs ({outputs})"
        raise ModelError("SSMC-M14", fact, "export one sequence and one result; states start and end a Scan")
    for state in starts:
        _start_at_zero(graph, state, sequences[0])
    graph.inputs.clear()
    graph.inputs.append(sequences[0])
    graph.outputs.clear()
    graph.outputs.append(results[0])
    remove_dead(graph)


def _starts(value: ir.Value) -> Carried | None:
    """The carried value of a Scan that begins with this input, behind changes of layout."""
    for use in value.uses():
        node = use.node
        if is_op(node, "Scan"):
            return (node, use.idx) if use.idx < carried(node) else None
        if node.op_type in LAYOUT and use.idx == 0:
            found = _starts(node.outputs[0])
            if found is not None:
                return found
    return None


def _ends(value: ir.Value) -> Carried | None:
    """The carried value of a Scan that ends in this output, behind changes of layout."""
    node = value.producer()
    while node is not None and node.op_type in LAYOUT:
        value = required(node, 0)
        node = value.producer()
    if node is not None and is_op(node, "Concat"):  # the states of all layers in one tensor
        parts = [_ends(part) for part in node.inputs if part is not None]
        return parts[0] if all(part is not None for part in parts) else None
    if node is None or not is_op(node, "Scan"):
        return None
    index = list(node.outputs).index(value)
    return (node, index) if index < carried(node) else None


def _start_at_zero(graph: ir.Graph, state: ir.Value, sequence: ir.Value) -> None:
    """Zeros of the state's shape, for the batch of the sequence."""
    dims = known_shape(state).dims
    free = [axis for axis, dim in enumerate(dims) if not isinstance(dim, int)]
    name = str(state.name)
    if len(free) > 1:
        fact = f"its shape {known_shape(state)} has {len(free)} dynamic axes"
        raise ModelError("SSMC-M14", fact, "give a state one dynamic axis, the batch", name)
    nodes: list[ir.Node] = []

    def made(op_type: str, inputs: list[ir.Value], what: str, **attributes: int) -> ir.Value:
        nodes.append(ir.node(op_type, inputs, attributes, name=f"{name}.{what}"))
        nodes[-1].outputs[0].name = f"{name}.{what}"
        return nodes[-1].outputs[0]

    axis = _batch_axis(sequence, dims[free[0]] if free else None)
    batch = made("Shape", [sequence], "batch", start=axis, end=axis + 1)
    parts = [add_constant(graph, f"{name}.size", [dim], np.int64) if isinstance(dim, int) else batch for dim in dims]
    shape = made("Concat", parts, "shape", axis=0) if len(parts) > 1 else parts[0]
    zeros = made("ConstantOfShape", [shape], "zeros")
    zeros.type, zeros.shape = state.type, state.shape
    state.replace_all_uses_with(zeros)
    graph.insert_before(graph[0], nodes)


def _batch_axis(sequence: ir.Value, batch: object) -> int:
    """The axis of the sequence that is named like the state's; else its first dynamic one."""
    dims = known_shape(sequence).dims
    free = [axis for axis, dim in enumerate(dims) if not isinstance(dim, int)]
    return next((axis for axis in free if dims[axis] == batch), free[0] if free else 0)
