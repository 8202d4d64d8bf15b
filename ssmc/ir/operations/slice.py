"""Some channels of a value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ssmc.ir.operations.operation import Function, Mask, Stateless
from ssmc.ir.operations.reading import GraphNode
from ssmc.ir.parts import Constants
from ssmc.ir.quant import Codes
from ssmc.ir.rounding import FloatArray, IntArray


@dataclass(frozen=True)
class Slice(Stateless):
    """``y = x[start:stop]``: channels ``start`` to ``stop`` of the input."""

    start: int
    stop: int

    functions: ClassVar[dict[str, Function]] = {
        "Slice": Function("""Slice (x, start, stop) => (y) {
  axis = Constant <value_ints: ints = [-1]> ()
  y = Slice (x, start, stop, axis)
}""")
    }
    integer_constants: ClassVar[frozenset[str]] = frozenset({"start", "stop"})
    computes: ClassVar[bool] = False

    @classmethod
    def read(cls, node: GraphNode) -> tuple[Slice, Codes]:
        """The codes are the input's."""
        (x,) = node.types
        span = _span(node.constants)
        return cls(*node.wiring, span.start, span.stop), Codes(span.stop - span.start, x.quant, x.rate)

    def apply(self, x: IntArray) -> IntArray:
        """Codes (..., C) to codes (..., stop - start)."""
        return x[..., self.start : self.stop]

    @classmethod
    def channels(cls, c: Constants, sources: Sequence[int]) -> int:
        """``stop - start``."""
        return int(c["stop"][0] - c["start"][0])

    @classmethod
    def demand(cls, c: Constants, out: Mask, sources: Sequence[Mask]) -> tuple[Mask, tuple[Mask, ...]]:
        """Inside the slice channels belong together; outside it asks for none."""
        inside = _span(c)
        union = out | sources[0][inside]
        wanted = np.zeros_like(sources[0])
        wanted[inside] = union
        return union, (wanted,)

    @classmethod
    def narrowed(cls, c: Constants, out: Mask, source: Mask) -> Constants:
        """Where the slice lies among the channels that stay."""
        inside = _span(c)
        first = int(source[: inside.start].sum())
        return {"start": np.array([first]), "stop": np.array([first + int(source[inside].sum())])}

    @classmethod
    def constant_codes(cls, c: Constants, source: FloatArray | None) -> FloatArray | None:
        """Those of the input."""
        return None if source is None else source[_span(c)]


def _span(c: Constants) -> slice:
    return slice(int(c["start"][0]), int(c["stop"][0]))
