"""Codes to real outputs, and what a model does to them afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from ssmc.ir.operations.operation import Function, Mask, Op
from ssmc.ir.operations.reading import GraphNode
from ssmc.ir.parts import Constants
from ssmc.ir.rounding import FloatArray, IntArray

Head = Literal["none", "softmax", "log_softmax", "argmax", "argmax_kept"]

_TEXT = """{op_type} (codes, scale) => (y) {{
  product = Mul (codes, scale)
  real = Cast <to: int = 1> (product)
  y = {last}
}}"""
_LAST: dict[str, tuple[Head, str]] = {
    "Dequantize": ("none", "Identity (real)"),
    "DequantizeSoftmax": ("softmax", "Softmax <axis: int = -1> (real)"),
    "DequantizeLogSoftmax": ("log_softmax", "LogSoftmax <axis: int = -1> (real)"),
    "DequantizeArgMax": ("argmax", "ArgMax <axis: int = -1, keepdims: int = 0> (real)"),
    "DequantizeArgMaxKept": ("argmax_kept", "ArgMax <axis: int = -1, keepdims: int = 1> (real)"),
}
#: node type by head
WITH_HEAD: dict[Head, str] = {head: op_type for op_type, (head, _) in _LAST.items()}


@dataclass(frozen=True)
class Dequantize(Op):
    """``y = scale * code``: the only place where real numbers leave. ``scale`` () or (size,).

    ``head`` is what the model does to these numbers afterwards, over the channels. It is no part of the integer
    program: executors and emitted code give ``scale * code``, `Head` is applied to that (`apply_head`).
    """

    scale: FloatArray
    head: Head = "none"

    functions: ClassVar[dict[str, Function]] = {
        op_type: Function(_TEXT.format(op_type=op_type, last=last)) for op_type, (_, last) in _LAST.items()
    }
    computes: ClassVar[bool] = False

    @classmethod
    def read(cls, node: GraphNode) -> tuple[Dequantize, None]:
        """The output is real."""
        return cls(*node.wiring, node.constants["scale"], _LAST[node.op_type][0]), None

    def leave(self, codes: IntArray) -> FloatArray:
        """Codes (..., size) to real numbers."""
        return codes * self.scale

    @classmethod
    def demand(cls, c: Constants, out: Mask, sources: Sequence[Mask]) -> tuple[Mask, tuple[Mask, ...]]:
        """Every output of the model is read."""
        return np.ones_like(out), tuple(np.ones_like(source) for source in sources)


def apply_head(head: Head, logits: FloatArray) -> FloatArray:
    """What a model makes of its dequantized outputs.

    Args:
        head: ``argmax`` drops the last axis, ``argmax_kept`` leaves one entry there.
        logits: (..., size); NaN where a sequence has ended, and then NaN is returned.
    """
    if head == "none":
        return logits
    if head in ("argmax", "argmax_kept"):
        largest = np.where(np.isnan(logits).any(-1), np.nan, logits.argmax(-1))
        return largest if head == "argmax" else largest[..., None]
    moved = logits - logits.max(-1, keepdims=True)
    total = np.exp(moved).sum(-1, keepdims=True)
    return np.asarray(np.exp(moved) / total if head == "softmax" else moved - np.log(total))
