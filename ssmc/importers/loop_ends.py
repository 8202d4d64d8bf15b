"""How a ``Loop`` says when it ends: ``while i < x.shape[1]``, with the iteration's number or a counter of its own."""

from __future__ import annotations

import onnx_ir as ir

from ssmc.importers.lengths import is_length
from ssmc.importers.loop_reads import is_next, origin
from ssmc.ir.build import constant_array, is_op, required

BELOW, ABOVE = ("Less", "LessOrEqual"), ("Greater", "GreaterOrEqual")
LIMITS = ("Min", "Clip", "Where", "Mod", "If")


def counts(value: ir.Value, after: ir.Value, given: ir.Value) -> bool:
    """Whether a carried value is the number of the iteration: it begins at 0, and each step adds 1."""
    first = constant_array(given)
    return first is not None and first.size == 1 and not first.any() and is_next(after, value)


def as_counter(body: ir.Graph, counter: ir.Value) -> ir.Value:
    """The number of the iteration in the type of a counter."""
    number = body.inputs[0]
    if counter.dtype in (None, ir.DataType.INT64):
        return number
    cast = ir.node("Cast", [number], {"to": ir.DataType(counter.dtype).value}, name=f"{counter.name}.number")
    cast.outputs[0].name, cast.outputs[0].type = f"{counter.name}.number", counter.type
    body.insert_before(body[0], cast)
    return cast.outputs[0]


def is_below_length(condition: ir.Value, number: ir.Value | None) -> bool:
    """Whether a condition compares ``number``, or the next, with the length of something; None: 0 with it.

    Of what, and whether it lets every step happen, is not shown here: onnxruntime compares the Scan with the file.
    """
    node = condition.producer()
    if node is not None and is_op(node, "And"):
        parts = [required(node, 0), required(node, 1)]
        return all(_is_true(part) or is_below_length(part, number) for part in parts)
    if node is None or not is_op(node, *BELOW, *ABOVE):
        return False
    small, large = (required(node, place) for place in ((0, 1) if is_op(node, *BELOW) else (1, 0)))
    if number is None:
        start = constant_array(small)
        return start is not None and not start.any() and is_length(large)
    return (origin(small) is number or is_next(small, number)) and is_length(large)


def limit_of(count: ir.Value | None) -> ir.Node | None:
    """The node that keeps a number of steps below some limit, as Min(length, 50) does; None where none does."""
    left, known = [count], set[ir.Node]()
    while left:
        value = left.pop()
        node = None if value is None else value.producer()
        if node is None or node in known or is_op(node, "Shape", "Size"):
            continue
        if is_op(node, *LIMITS):
            return node
        known.add(node)
        left += node.inputs
    return None


def _is_true(value: ir.Value) -> bool:
    array = constant_array(value)
    return array is not None and bool(array.all())
