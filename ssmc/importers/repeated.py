"""One number that is repeated to the shape of a signal (``zeros_like``, ``full_like``) is that number where both meet.

Operations that act number by number repeat it themselves.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ssmc.ir.build import Array, add_constant, constant_array, is_op, node_name, remove_dead

MEETS = frozenset(
    {
        *("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "PRelu", "Where"),
        *("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"),
    }
)


def spell_repeated(model: ir.Model) -> None:
    """Give operations of a signal and a repeated number the number, in place."""
    graph, found = model.graph, False
    for node in list(graph):
        number = _number(node)
        if number is None:
            continue
        whole, like = node.outputs[0], _like(node)
        one = add_constant(graph, f"{node_name(node)}.one", number, np.float32)
        for use in list(whole.uses()):
            others = [value for value in use.node.inputs if value is not None and value is not whole]
            if is_op(use.node, *MEETS) and any(other is like or _same_shape(other, whole) for other in others):
                use.node.replace_input_with(use.idx, one)
                found = True
    if found:
        remove_dead(graph)


def _same_shape(a: ir.Value, b: ir.Value) -> bool:
    """Whether both shapes are known and the same, symbols of axes included."""
    if a.shape is None or b.shape is None or any(getattr(size, "value", size) is None for size in b.shape.dims):
        return False
    return a.shape == b.shape


def _number(node: ir.Node) -> float | None:
    """What a node repeats, where it is one real number."""
    array: Array | None = None
    if is_op(node, "ConstantOfShape"):
        given = node.attributes.get("value")
        array = np.zeros(1, np.float32) if given is None else given.as_tensor().numpy()
    elif is_op(node, "Expand"):
        array = constant_array(node.inputs[0])
    return float(array.item()) if array is not None and array.size == 1 and array.dtype.kind == "f" else None


def _like(node: ir.Node) -> ir.Value | None:
    """The value whose whole shape it takes."""
    shape = node.inputs[-1].producer() if node.inputs[-1] is not None else None
    if shape is None or not is_op(shape, "Shape") or "end" in shape.attributes:
        return None
    start = shape.attributes.get("start")
    return shape.inputs[0] if start is None or start.as_int() == 0 else None
