"""The value at the end of a sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ssmc.ir.operations.operation import Function, Reduction
from ssmc.ir.operations.reading import GraphNode
from ssmc.ir.quant import Codes
from ssmc.ir.rounding import IntArray


@dataclass(frozen=True)
class Last(Reduction):
    """``y = x_T``: the value at the last time step."""

    functions: ClassVar[dict[str, Function]] = {
        "Last": Function("""Last (x) => (y) {
  axis = Constant <value: tensor = int64 {-1}> ()
  y = Gather <axis: int = 1> (x, axis)
}""")
    }
    computes: ClassVar[bool] = False

    @classmethod
    def read(cls, node: GraphNode) -> tuple[Last, Codes]:
        """The codes are the input's, once per sequence."""
        (x,) = node.types
        return cls(*node.wiring), Codes(x.size, x.quant, "sequence")

    def accumulate(self, total: IntArray, x: IntArray) -> IntArray:
        """Keep the newest."""
        return x

    def finish(self, total: IntArray, length: IntArray) -> IntArray:
        """As it was kept."""
        return total

    def reduce(self, x: IntArray) -> IntArray:
        """The last step."""
        return x[:, -1]
