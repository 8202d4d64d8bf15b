"""Real input features to codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from ssmc.ir.operations.operation import Function, Mask, RealCodes, Stateless
from ssmc.ir.operations.reading import GraphNode
from ssmc.ir.parts import Constants
from ssmc.ir.quant import Codes, QuantType
from ssmc.ir.rounding import IntArray


@dataclass(frozen=True)
class Quantize(Stateless):
    """``y = clip(round(x / scale), lo, hi)``: the only place where real numbers enter."""

    quant: QuantType

    functions: ClassVar[dict[str, Function]] = {
        "Quantize": Function("""Quantize (x, scale, lo, hi) => (codes) {
  wide = Cast <to: int = 11> (x)
  over = Div (wide, scale)
  rounded = Round (over)
  low = Max (rounded, lo)
  codes = Min (low, hi)
}""")
    }

    @classmethod
    def read(cls, node: GraphNode) -> tuple[Quantize, Codes]:
        """One code per feature."""
        c = node.constants
        quant = QuantType(int(c["lo"]), int(c["hi"]), c["scale"])
        return cls(*node.wiring, quant), Codes(node.features, quant, "step")

    def require(self, x: ArrayLike, active: Mask) -> None:
        """Refuse what is no input, where ``active``: real numbers all are, they saturate."""

    def apply(self, x: ArrayLike) -> IntArray:
        """Features (..., C) to codes."""
        return self.quant.quantize(x)

    def real(self, *xs: ArrayLike) -> RealCodes:
        """The features in units of a code."""
        value = np.asarray(xs[0], np.float64) / self.quant.scale
        return RealCodes(value, np.abs(value))

    @classmethod
    def channels(cls, c: Constants, sources: Sequence[int]) -> int:
        """As many as the model has features."""
        return sources[0]

    @classmethod
    def demand(cls, c: Constants, out: Mask, sources: Sequence[Mask]) -> tuple[Mask, tuple[Mask, ...]]:
        """The model's input stays as wide as it is."""
        return np.ones_like(out), tuple(np.ones_like(source) for source in sources)
