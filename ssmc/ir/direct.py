"""Common ONNX operations on constants in numpy: what onnx's reference evaluator gives, without loading it.

Importing the evaluator and building a model for every node takes longer than most models' recurrences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Array = NDArray[Any]
Operands = Sequence[Array | None]


def direct(node: ir.Node, operands: Operands) -> Array | None:
    """The only result of a node of the standard domain; None where the reference evaluator has to look at it."""
    rule = _RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if rule is None or "axes" in node.attributes or any(x is None for x in operands):
        return None
    return rule(node, [x for x in operands if x is not None])


def _option(node: ir.Node, name: str, default: int) -> int:
    return node.attributes[name].as_int() if name in node.attributes else default


def _transpose(node: ir.Node, x: list[Array]) -> Array:
    return np.transpose(x[0], node.attributes["perm"].as_ints() if "perm" in node.attributes else None)


def _reshape(node: ir.Node, x: list[Array]) -> Array | None:
    if _option(node, "allowzero", 0):
        return None
    shape = [x[0].shape[axis] if size == 0 else size for axis, size in enumerate(x[1].tolist())]
    return x[0].reshape(shape)


def _unsqueeze(node: ir.Node, x: list[Array]) -> Array:
    return np.expand_dims(x[0], tuple(np.ravel(x[1]).tolist()))


def _squeeze(node: ir.Node, x: list[Array]) -> Array:
    return np.squeeze(x[0], tuple(np.ravel(x[1]).tolist()) if len(x) > 1 else None)


def _concat(node: ir.Node, x: list[Array]) -> Array:
    return np.concatenate(x, node.attributes["axis"].as_int())


def _gather(node: ir.Node, x: list[Array]) -> Array:
    return np.take(x[0], x[1], _option(node, "axis", 0))


def _slice(node: ir.Node, x: list[Array]) -> Array:
    starts, ends, *more = (np.ravel(v).tolist() for v in x[1:])
    axes = more[0] if more else list(range(len(starts)))
    steps = more[1] if len(more) > 1 else [1] * len(starts)
    spans = [slice(None)] * x[0].ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        spans[axis] = slice(start, end, step)
    return x[0][tuple(spans)]


def _relu(node: ir.Node, x: list[Array]) -> Array:
    return np.asarray(np.maximum(x[0], 0), x[0].dtype)


def _sigmoid(node: ir.Node, x: list[Array]) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        turned = np.exp(x[0])
        return np.where(x[0] > 0, 1.0 / (1.0 + np.exp(-x[0])), turned / (1.0 + turned))


_RULES: dict[str, Callable[[ir.Node, list[Array]], Array | None]] = {
    "Identity": lambda node, x: x[0],
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Concat": _concat,
    "Gather": _gather,
    "Slice": _slice,
    "Relu": _relu,
    "Sigmoid": _sigmoid,
}
