"""How a number that a graph computes goes with the length of a sequence: ``a T + b``.

Short sequences, which a graph is measured with, do not tell T from min(T, 1000): what is not built from the length of a
signal and constants by sums and differences alone is not known.
"""

from __future__ import annotations

import onnx_ir as ir

from ssmc.ir.build import ENDLESS, constant_array, is_op
from ssmc.recognition.axes import Axes

SAME = ("Identity", "Reshape", "Squeeze", "Unsqueeze", "Cast")
WIDE = (ir.DataType.INT64, ir.DataType.INT32)
#: shapes that the values of a signal have no part in
MADE = ("ConstantOfShape", "Expand", "Range", "Shape", "Tile")
DEEPEST = 32


def ends_with_sequence(end: ir.Value | None, cut: ir.Value, axes: Axes) -> bool:
    """Whether the end of a slice of ``cut`` is counted from its last step, at every length."""
    known = constant_array(end)
    if known is not None:
        return all(stop < 0 or stop >= ENDLESS for stop in known.ravel().tolist())
    counted = _counted(end, cut, axes, 0)
    return counted is not None and counted[0] == 1


def _counted(value: ir.Value | None, cut: ir.Value, axes: Axes, depth: int) -> tuple[int, int] | None:
    """(a, b) of a number a T + b."""
    known = constant_array(value)
    if known is not None:
        return (0, int(known.item())) if known.size == 1 and known.dtype.kind == "i" else None
    node = None if value is None else value.producer()
    if node is None or depth == DEEPEST:
        return None
    if is_op(node, "Shape", "Gather"):
        return (1, 0) if _is_length(node, cut, axes) else None
    if is_op(node, *SAME):
        narrow = node.op_type == "Cast" and node.attributes["to"].as_int() not in WIDE
        return None if narrow else _counted(node.inputs[0], cut, axes, depth + 1)
    if not is_op(node, "Add", "Sub"):
        return None
    first, second = (_counted(given, cut, axes, depth + 1) for given in node.inputs)
    if first is None or second is None:
        return None
    sign = 1 if node.op_type == "Add" else -1
    return first[0] + sign * second[0], first[1] + sign * second[1]


def _is_length(node: ir.Node, cut: ir.Value, axes: Axes) -> bool:
    """Whether a node gives the length of a signal that has every step, or of what is cut itself."""
    shape, at = (node, None) if is_op(node, "Shape") else (node.inputs[0], constant_array(node.inputs[1]))
    if isinstance(shape, ir.Value):
        shape = shape.producer()
    if shape is None or not is_op(shape, "Shape") or shape.inputs[0] is None:
        return False
    whole = shape.inputs[0]
    roles, sizes = (known.get(str(whole.name), ()) for known in (axes.roles, axes.shapes))
    start = shape.attributes["start"].as_int() if "start" in shape.attributes else 0
    end = shape.attributes["end"].as_int() if "end" in shape.attributes else len(roles)
    picked = list(range(len(roles)))[start:end]
    if at is not None:
        picked = picked[int(at.item()) :][:1] if at.size == 1 and -len(picked) <= int(at.item()) < len(picked) else []
    if len(picked) != 1 or roles[picked[0]] != "T":
        return False
    return whole is cut or (_is_signal(whole) and sizes[picked[0]] == _steps(axes))


def _steps(axes: Axes) -> int:
    """Steps of the sequence that was measured: the input comes first."""
    name = next(iter(axes.roles))
    return axes.shapes[name][axes.roles[name].index("T")]


def _is_signal(value: ir.Value) -> bool:
    """Whether a value is the model's input, or computed from its numbers."""
    for _ in range(1 << 16):
        node = value.producer()
        if node is None:
            return value.is_graph_input()
        given = [x for x in node.inputs if x is not None and constant_array(x) is None]
        if not given or is_op(node, *MADE):
            return False
        value = given[-1] if is_op(node, "Scan") else given[0]
    return False
