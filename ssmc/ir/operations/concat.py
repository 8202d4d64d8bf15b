"""Channels of two values side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ssmc.ir.operations.operation import Function, Mask, Stateless
from ssmc.ir.operations.reading import GraphNode, code_type
from ssmc.ir.parts import Constants
from ssmc.ir.quant import Codes
from ssmc.ir.rounding import IntArray


@dataclass(frozen=True)
class Concat(Stateless):
    """``y = [a, b]``: the channels of ``a``, then those of ``b``; codes stay as they are."""

    functions: ClassVar[dict[str, Function]] = {
        "Concat": Function("""Concat (a, b) => (y) {
  y = Concat <axis: int = -1> (a, b)
}""")
    }
    computes: ClassVar[bool] = False

    @classmethod
    def read(cls, node: GraphNode) -> tuple[Concat, Codes]:
        """The range of the codes covers both."""
        a, b = node.types
        return cls(*node.wiring), code_type(a.size + b.size, (a.quant.lo, b.quant.lo), (a.quant.hi, b.quant.hi), a.rate)

    def apply(self, *xs: IntArray) -> IntArray:
        """Codes (..., A) and (..., B) to codes (..., A + B)."""
        return np.concatenate(xs, -1)

    @classmethod
    def channels(cls, c: Constants, sources: Sequence[int]) -> int:
        """Those of both."""
        return sum(sources)

    @classmethod
    def demand(cls, c: Constants, out: Mask, sources: Sequence[Mask]) -> tuple[Mask, tuple[Mask, ...]]:
        """Every channel belongs to the one it is a copy of."""
        union = out | np.concatenate(sources)
        return union, tuple(np.split(union, np.cumsum([len(source) for source in sources])[:-1]))
