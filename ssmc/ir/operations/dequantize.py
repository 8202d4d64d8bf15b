"""Codes to real outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ssmc.ir.operations.operation import Function, Mask, Op
from ssmc.ir.operations.reading import GraphNode
from ssmc.ir.parts import Constants
from ssmc.ir.rounding import FloatArray, IntArray


@dataclass(frozen=True)
class Dequantize(Op):
    """``y = scale * code``: the only place where real numbers leave. ``scale`` () or (size,)."""

    scale: FloatArray

    functions: ClassVar[dict[str, Function]] = {
        "Dequantize": Function("""Dequantize (codes, scale) => (y) {
  real = Mul (codes, scale)
  y = Cast <to: int = 1> (real)
}""")
    }
    computes: ClassVar[bool] = False

    @classmethod
    def read(cls, node: GraphNode) -> tuple[Dequantize, None]:
        """The output is real."""
        return cls(*node.wiring, node.constants["scale"]), None

    def leave(self, codes: IntArray) -> FloatArray:
        """Codes (..., size) to real numbers."""
        return codes * self.scale

    @classmethod
    def demand(cls, c: Constants, out: Mask, sources: Sequence[Mask]) -> tuple[Mask, tuple[Mask, ...]]:
        """Every output of the model is read."""
        return np.ones_like(out), tuple(np.ones_like(source) for source in sources)
