"""Token ids as a model's input: one shape and one type for all of them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ssmc.ir.build import add_constant, known_shape

ID_TYPES = (ir.DataType.INT64, ir.DataType.INT32)


def widen_ids(model: ir.Model) -> None:
    """Make an input of ids (batch, time) or (batch, time, 1), int32 or int64, int64 (batch, time, 1).

    What read it reads a Squeeze, a Cast, or both instead.
    """
    graph = model.graph
    old = graph.inputs[0]
    shape = known_shape(old)
    if old.dtype not in ID_TYPES or (old.dtype is ID_TYPES[0] and len(shape) == 3):
        return
    name, steps = str(old.name), []
    new = ir.val(name, dtype=ir.DataType.INT64, shape=ir.Shape([*shape.dims[:2], 1]))
    value = new
    if len(shape) == 2:
        axis = add_constant(graph, f"{name}.axis", [2], np.int64)
        steps.append(ir.node("Squeeze", [value, axis], outputs=[ir.val(f"{name}.ids", dtype=value.dtype)]))
        value = steps[-1].outputs[0]
    if old.dtype is ir.DataType.INT32:
        kind = {"to": ir.DataType.INT32.value}
        steps.append(ir.node("Cast", [value], kind, outputs=[ir.val(f"{name}.int32", dtype=old.dtype)]))
        value = steps[-1].outputs[0]
    value.shape = shape
    old.replace_all_uses_with(value)
    old.name = f"{name}.old"
    graph.inputs[0] = new
    if len(graph):
        graph.insert_before(graph[0], steps)
    else:
        graph.extend(steps)
