"""The product of two values, channel by channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ssmc.ir.operations.kernel_functions import requant_text
from ssmc.ir.operations.operation import Function, RealCodes, Stateless
from ssmc.ir.operations.reading import GraphNode, code_type, requant_of
from ssmc.ir.quant import Codes
from ssmc.ir.requant import Requant
from ssmc.ir.rounding import IntArray


@dataclass(frozen=True)
class Product(Stateless):
    """``y = requant(a * b)``, channel by channel (gating)."""

    requant: Requant

    functions: ClassVar[dict[str, Function]] = {
        "Product": Function(
            "Product (a, b, gain, step, offset, lo, hi) => (q) { acc = Mul (a, b)"
            + requant_text("q", "acc", "gain", "step", "offset", "lo", "hi")
            + "}"
        )
    }

    @classmethod
    def read(cls, node: GraphNode) -> tuple[Product, Codes]:
        """Proven over the products of the ends of both ranges."""
        c, (a, b) = node.constants, node.types
        corners = [i * j for i in a.ends for j in b.ends]
        reach = np.full(a.size, min(corners)), np.full(a.size, max(corners))
        return cls(*node.wiring, requant_of(node, reach)), code_type(a.size, c["lo"], c["hi"], a.rate)

    def apply(self, a: IntArray, b: IntArray) -> IntArray:
        """Codes (..., size) each, to codes (..., size)."""
        return self.requant.apply(a * b)

    def real(self, *xs: IntArray) -> RealCodes:
        """The products in units of an output code."""
        a, b = xs
        ratio, bias = (np.array([float(v) for v in values]) for values in (self.requant.ratio, self.requant.bias))
        value = ratio * (a * b) + bias
        return RealCodes(value, np.abs(value))

    def requants(self) -> tuple[Requant, ...]:
        """Of a * b."""
        return (self.requant,)

    def largest_sum(self, tops: Sequence[int]) -> int:
        """``max|a| max|b|``."""
        return tops[0] * tops[1]
