"""How the body of a ``Loop`` writes one step of a tensor at the number of the iteration."""

from __future__ import annotations

from typing import NamedTuple

import onnx_ir as ir

from ssmc.ir.build import is_op, required

SAME_NUMBERS = ("Expand", "Identity", "Reshape", "Squeeze", "Unsqueeze")
SAME_NUMBER = (*SAME_NUMBERS, "Cast")


class Written(NamedTuple):
    """``value`` is written at one place of ``axis``, which it has with length 1 or not."""

    value: ir.Value
    axis: int
    keeps: bool


def written(node: ir.Node | None, tensor: ir.Value, number: ir.Value) -> Written | None:
    """What a ScatterND or ScatterElements writes into ``tensor`` at ``number``; None for any other node.

    That all of the place is written is not shown here: onnxruntime compares the Scan with the file.
    """
    order: list[int] = []
    if node is not None and is_op(node, "Transpose"):
        order, node = _undone(node), required(node, 0).producer()
    if node is None or not is_op(node, "ScatterND", "ScatterElements"):
        return None
    if _in_front(required(node, 0), order) is not tensor:
        return None
    if "reduction" in node.attributes and node.attributes["reduction"].as_string() != "none":
        return None
    axis = _axis(node, number)
    if axis is None:
        return None
    value = required(node, 2)
    while (maker := value.producer()) is not None and is_op(maker, *SAME_NUMBERS):
        value = required(maker, 0)
    if order:
        axis, rest = order[axis], order[:axis] + order[axis + 1 :]
        if rest != sorted(rest) or (value.shape is not None and len(value.shape) != len(rest)):
            return None
    ranks = [len(each.shape) if each.shape is not None else None for each in (value, tensor)]
    return Written(value, axis, None not in ranks and ranks[0] == ranks[1])


def _perm(node: ir.Node) -> list[int]:
    return list(node.attributes["perm"].as_ints()) if "perm" in node.attributes else []


def _undone(node: ir.Node) -> list[int]:
    """The order of axes that a Transpose undoes."""
    perm = _perm(node)
    return [perm.index(axis) for axis in range(len(perm))]


def _in_front(value: ir.Value, order: list[int]) -> ir.Value | None:
    """The tensor that is scattered into, in front of the Transpose where there is an order; None without that."""
    value = _origin(value)
    if not order:
        return value
    node = value.producer()
    if node is None or not is_op(node, "Transpose") or _perm(node) != order:
        return None
    return _origin(required(node, 0))


def _axis(node: ir.Node, number: ir.Value) -> int | None:
    """The axis along which the number is the place."""
    indices = required(node, 1)
    if node.op_type == "ScatterElements":
        axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
        return axis if _origin(indices) is number and axis >= 0 else None
    joined = indices.producer()
    if joined is None or not is_op(joined, "Concat"):
        return 0 if _origin(indices) is number else None
    places = [part is not None and _origin(part) is number for part in joined.inputs]
    return places.index(True) if places.count(True) == 1 else None


def _origin(value: ir.Value) -> ir.Value:
    while (node := value.producer()) is not None and is_op(node, *SAME_NUMBER):
        value = required(node, 0)
    return value
