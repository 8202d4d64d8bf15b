"""Token ids to codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from ssmc.errors import UsageError
from ssmc.ir.operations.operation import Function, Mask
from ssmc.ir.operations.quantize import Quantize
from ssmc.ir.operations.reading import GraphNode
from ssmc.ir.parts import Constants
from ssmc.ir.quant import Codes, QuantType
from ssmc.ir.rounding import round_half_even


@dataclass(frozen=True)
class Ids(Quantize):
    """``y = x``, token ids 0..hi. An id beyond the vocabulary is an error, not a neighbour."""

    functions: ClassVar[dict[str, Function]] = {
        "Ids": Function("""Ids (x, hi) => (codes) {
  ids = Cast <to: int = 11> (x)
  zero = Constant <value: tensor = double {0}> ()
  low = Max (ids, zero)
  codes = Min (low, hi)
}""")
    }

    @classmethod
    def read(cls, node: GraphNode) -> tuple[Ids, Codes]:
        """One id per step."""
        quant = QuantType(0, int(node.constants["hi"]), np.ones(()))
        return cls(*node.wiring, quant), Codes(1, quant, "step")

    @classmethod
    def channels(cls, c: Constants, sources: Sequence[int]) -> int:
        """One."""
        return 1

    def require(self, x: ArrayLike, active: Mask) -> None:
        """Refuse numbers that are no ids; padding may hold anything.

        Raises:
            UsageError: SSMC-D05 naming the first.
        """
        given = np.asarray(x, np.float64)[active]
        wrong = given[(given != round_half_even(given)) | (given < self.quant.lo) | (given > self.quant.hi)]
        if wrong.size:
            fact = f"token id {wrong.flat[0]:.12g} is not one of {self.quant.lo}..{self.quant.hi}"
            raise UsageError("SSMC-D05", fact, "map unknown tokens to an id of the vocabulary", self.name)
