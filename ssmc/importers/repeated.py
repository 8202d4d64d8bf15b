"""Constants that are repeated to the shape of a signal (``zeros_like``, ``expand``) are constants where both meet.

Operations that act number by number repeat them themselves; what acts on a repeated constant alone is a constant too.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ssmc.ir.affine import evaluate
from ssmc.ir.build import Array, add_constant, constant_array, is_op, remove_dead

MEETS = frozenset(
    {
        *("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "PRelu", "Where"),
        *("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"),
    }
)


#: of one value, number by number
FUNCTIONS = frozenset({"Abs", "Erf", "Exp", "Log", "Neg", "Reciprocal", "Relu", "Sigmoid", "Softplus", "Sqrt", "Tanh"})


def spell_repeated(model: ir.Model) -> None:
    """Give operations of a signal and a repeated constant the constant, in place."""
    found = [_spelled(model.graph, node) for node in list(model.graph)]
    if any(found):
        remove_dead(model.graph)


def _spelled(graph: ir.Graph, node: ir.Node) -> bool:
    array = _repeated(node)
    if array is None:
        return False
    found = _met(graph, node.outputs[0], _like(node), array)
    for use in list(node.outputs[0].uses()):
        if is_op(use.node, *FUNCTIONS):
            with np.errstate(all="ignore"):  # infinite constants are refused later
                (value,) = evaluate(use.node, [array])
            found |= _met(graph, use.node.outputs[0], _like(node), value)
    return found


def _met(graph: ir.Graph, whole: ir.Value, like: ir.Value | None, array: Array) -> bool:
    """Put the constant in the place of ``whole``, where that meets a signal of its shape."""
    met = []
    for use in list(whole.uses()):
        others = [value for value in use.node.inputs if value is not None and value is not whole]
        if is_op(use.node, *MEETS) and any(other is like or _same_shape(other, whole) for other in others):
            met.append(use)
    if met:
        one = add_constant(graph, f"{whole.name}.one", array, np.float32)
        for use in met:
            use.node.replace_input_with(use.idx, one)
    return bool(met)


def _same_shape(a: ir.Value, b: ir.Value) -> bool:
    """Whether both shapes are known and the same, symbols of axes included."""
    if a.shape is None or b.shape is None or any(getattr(size, "value", size) is None for size in b.shape.dims):
        return False
    return a.shape == b.shape


def _repeated(node: ir.Node) -> Array | None:
    """The real numbers that a node repeats; one alone as a scalar."""
    array: Array | None = None
    if is_op(node, "ConstantOfShape"):
        given = node.attributes.get("value")
        array = np.zeros(1, np.float32) if given is None else given.as_tensor().numpy()
    elif is_op(node, "Expand"):
        array = constant_array(node.inputs[0])
    if array is None or array.dtype.kind != "f":
        return None
    return array.reshape(()) if array.size == 1 else array


def _like(node: ir.Node) -> ir.Value | None:
    """The value whose whole shape it takes."""
    shape = node.inputs[-1].producer() if node.inputs[-1] is not None else None
    if shape is None or not is_op(shape, "Shape") or "end" in shape.attributes:
        return None
    start = shape.attributes.get("start")
    return shape.inputs[0] if start is None or start.as_int() == 0 else None
