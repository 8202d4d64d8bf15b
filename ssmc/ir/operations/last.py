"""The value at the end of a sequence, or the largest of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from ssmc.ir.operations.operation import Function, Reduction
from ssmc.ir.operations.reading import GraphNode
from ssmc.ir.quant import Codes
from ssmc.ir.rounding import IntArray


@dataclass(frozen=True)
class Last(Reduction):
    """One of the input's own codes, channel by channel.

    - ``last``: ``y = x_T``, the code at the last time step; 0 for an empty sequence.
    - ``max``: ``y = max_t x_t``, the largest code; ``lowest`` for an empty sequence.
    """

    how: Literal["last", "max"] = "last"
    lowest: int = 0

    functions: ClassVar[dict[str, Function]] = {
        "Last": Function("""Last (x) => (y) {
  axis = Constant <value: tensor = int64 {-1}> ()
  y = Gather <axis: int = 1> (x, axis)
}"""),
        "Largest": Function("""Largest (x) => (y) {
  axis = Constant <value_ints: ints = [1]> ()
  y = ReduceMax <keepdims: int = 0> (x, axis)
}"""),
    }
    computes: ClassVar[bool] = False

    @classmethod
    def read(cls, node: GraphNode) -> tuple[Last, Codes]:
        """The codes are the input's, once per sequence."""
        (x,) = node.types
        op = cls(*node.wiring, "max", x.quant.lo) if node.op_type == "Largest" else cls(*node.wiring)
        return op, Codes(x.size, x.quant, "sequence")

    @property
    def start(self) -> int:
        """No code is below the lowest."""
        return self.lowest

    def accumulate(self, total: IntArray, x: IntArray) -> IntArray:
        """Keep the newest, or the larger."""
        return x if self.how == "last" else np.maximum(total, x)

    def finish(self, total: IntArray, length: IntArray) -> IntArray:
        """As it was kept."""
        return total

    def reduce(self, x: IntArray) -> IntArray:
        """The last step, or the largest code."""
        return x[:, -1] if self.how == "last" else x.max(1)
