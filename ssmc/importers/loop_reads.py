"""How the body of a ``Loop`` reads one step of a sequence by the number of the iteration."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from ssmc.ir.build import constant_array, is_op, required

PASSED_ON = ("Identity", "Cast")


class Read(NamedTuple):
    """One step of ``source`` along ``axis``, which it keeps with length 1 or not."""

    source: ir.Value
    axis: int
    keeps: bool


def read_at(node: ir.Node, position: int, alias: ir.Value, number: ir.Value) -> Read | None:
    """What a node reads at ``alias``, its input at this position; None where it reads no step."""
    if position != 1:
        return None
    if is_op(node, "Gather"):
        axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
        return Read(required(node, 0), axis, _widened(alias, number))
    if is_op(node, "SequenceAt"):
        return _entry(required(node, 0).producer())
    if is_op(node, "Slice") and len(node.inputs) > 3:
        axes, last = constant_array(node.inputs[3]), required(node, 2)
        steps = constant_array(node.inputs[4]) if len(node.inputs) > 4 else np.ones(1)
        one = steps is not None and steps.tolist() == [1]
        if axes is not None and axes.size == 1 and one and is_next(last, number):
            return Read(required(node, 0), int(axes[0]), True)
    return None


def _entry(split: ir.Node | None) -> Read | None:
    """An entry of a sequence that SplitToSequence made of single steps."""
    if split is None or not is_op(split, "SplitToSequence"):
        return None
    sizes = constant_array(split.inputs[1]) if len(split.inputs) > 1 and split.inputs[1] is not None else None
    keeps = split.attributes["keepdims"].as_int() if "keepdims" in split.attributes and sizes is None else 1
    if len(split.inputs) > 1 and (sizes is None or sizes.ndim or int(sizes) != 1):
        return None
    axis = split.attributes["axis"].as_int() if "axis" in split.attributes else 0
    return Read(required(split, 0), axis, bool(keeps))


def ends_slices(node: ir.Node, number: ir.Value) -> bool:
    """Whether it computes the next number, at which slices of one step end, and nothing else reads it."""
    if not is_op(node, "Add") or not is_next(node.outputs[0], number):
        return False
    uses = [use for alias in aliases(node.outputs[0]) for use in alias.uses()]
    passed = (*PASSED_ON, "Unsqueeze", "Reshape")
    return all(is_op(use.node, *passed) or (is_op(use.node, "Slice") and use.idx == 2) for use in uses)


def is_next(value: ir.Value, number: ir.Value) -> bool:
    """Whether a value is the number plus 1."""
    node = origin(value).producer()
    if node is None or not is_op(node, "Add"):
        return False
    known = [constant_array(v) for v in node.inputs]
    ones = [x is not None and x.size == 1 and int(x.ravel()[0]) == 1 for x in known]
    return any(one and origin(required(node, 1 - i)) is number for i, one in enumerate(ones))


def origin(value: ir.Value) -> ir.Value:
    """Where a number comes from, in another type or with an axis less."""
    node = value.producer()
    while node is not None and is_op(node, *PASSED_ON, "Unsqueeze", "Reshape"):
        value = required(node, 0)
        node = value.producer()
    return value


def aliases(number: ir.Value) -> list[ir.Value]:
    """The number of the iteration and what is the same in another type or with an axis more."""
    found = [number]
    for value in found:
        for use in value.uses():
            if is_op(use.node, *PASSED_ON, "Unsqueeze", "Reshape") and use.idx == 0:
                found.append(use.node.outputs[0])
    return found


def _widened(alias: ir.Value, number: ir.Value) -> bool:
    """Whether it has an axis more than the number."""
    while alias is not number:
        producer = alias.producer()
        assert producer is not None
        if is_op(producer, "Unsqueeze", "Reshape"):
            return True
        alias = required(producer, 0)
    return False
