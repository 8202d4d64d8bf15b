"""What every rule needs to know of a node's operands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import onnx_ir as ir

from ssmc.errors import ModelError
from ssmc.folding.emit import Emitter
from ssmc.folding.signals import Signal
from ssmc.ir.affine import evaluate
from ssmc.ir.build import constant_array, is_op, node_name
from ssmc.ir.rounding import FloatArray
from ssmc.recognition.axes import Roles

Operands = Sequence[Signal | None]
Rule = Callable[[ir.Node, Operands, Emitter], list[Signal]]


def refuse(node: ir.Node, fact: str, remedy: str, code: str = "SSMC-T02") -> ModelError:
    """An error at this node."""
    return ModelError(code, fact, remedy, node_name(node))


def signal_of(node: ir.Node, operands: Operands, index: int = 0) -> Signal:
    """The operand that must depend on the model's input.

    Raises:
        ModelError: SSMC-T02 where it is a constant, so that only another operand depends on the input.
    """
    signal = operands[index]
    if signal is None:
        fact = f"input {index} of {node.op_type} is a constant, another input depends on the model's input"
        raise refuse(node, fact, "compute the other inputs from constants")
    return signal


def real_constant(value: ir.Value | None, node: ir.Node) -> FloatArray:
    """The real value of a constant expression, ``ssmc::Dequant`` included, exact products in float64."""
    array = constant_array(value)
    if array is not None:
        return np.asarray(array, np.float64)
    producer = value.producer() if value is not None else None
    if producer is None:
        raise refuse(
            node, f"'{value.name if value else ''}' is neither a signal nor a constant", "fold it before export"
        )
    inputs = [real_constant(v, node) if v is not None else None for v in producer.inputs]
    kept = [
        constant_array(v) if constant_array(v) is not None else x for v, x in zip(producer.inputs, inputs, strict=True)
    ]
    index = next(i for i, out in enumerate(producer.outputs) if out is value)
    return np.asarray(evaluate(producer, kept)[index], np.float64)


def makers(value: ir.Value | None) -> Iterator[ir.Node]:
    """The nodes that a value is computed with, once each: back to constants, and to the shape of a signal."""
    todo, seen = [value], {value}
    while todo:
        one = todo.pop()
        node = None if one is None or constant_array(one) is not None else one.producer()
        if node is None:
            continue
        yield node
        if not is_op(node, "Shape"):
            todo += {*node.inputs} - seen
            seen |= {*node.inputs}


def channel_axis(roles: Roles) -> int | None:
    """Position of the channels; None where there is one channel and its axis is a 1."""
    return roles.index("C") if "C" in roles else None


def part_role(size: int) -> str:
    """The role of one of several axes that make up the channels: only changes of layout take them."""
    return f"c{size}"


def part_size(role: str) -> int | None:
    """The length of such an axis; None for any other role."""
    return int(role[1:]) if role.startswith("c") else None


def per_channel(constant: FloatArray, signal: Signal, node: ir.Node) -> FloatArray:
    """A broadcast constant as one number per channel (size,)."""
    rank = len(signal.roles)
    if constant.ndim > rank:
        raise refuse(node, f"a constant of shape {constant.shape} widens the signal", "use a constant per channel")
    shape = (1,) * (rank - constant.ndim) + constant.shape
    sizes = [part_size(role) for role in signal.roles]
    if any(sizes):
        constant, shape = _over_parts(constant, shape, sizes, node), (1,) * rank
    axis = channel_axis(signal.roles)
    if any(size != 1 for a, size in enumerate(shape) if a != axis):
        raise refuse(
            node,
            f"a constant of shape {constant.shape} varies over time or batch",
            "use a constant per channel",
            "SSMC-T01",
        )
    if constant.size not in (1, signal.size):
        raise refuse(node, f"a constant of shape {constant.shape} widens the signal", "use a constant per channel")
    return np.broadcast_to(constant.reshape(-1), (signal.size,)).astype(np.float64)


def _over_parts(constant: FloatArray, shape: tuple[int, ...], sizes: list[int | None], node: ir.Node) -> FloatArray:
    """One number for every channel where several axes make them up."""
    if any(length != 1 for length, size in zip(shape, sizes, strict=True) if size is None):
        fact = f"a constant of shape {constant.shape} varies over time or batch"
        raise refuse(node, fact, "use a constant per channel", "SSMC-T01")
    return np.broadcast_to(constant.reshape(shape), [size or 1 for size in sizes]).reshape(-1)


def attribute(node: ir.Node, name: str, default: int) -> int:
    """An integer attribute, or its default."""
    return node.attributes[name].as_int() if name in node.attributes else default
