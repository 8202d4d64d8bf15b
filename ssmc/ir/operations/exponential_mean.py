"""An exponentially weighted mean over time: a pooling with one register a channel, read at any step of a stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ssmc.ir.operations.operation import Function, RealCodes, Recurrent
from ssmc.ir.operations.reading import GraphNode
from ssmc.ir.parts import Constants
from ssmc.ir.quant import Codes
from ssmc.ir.rounding import PLACES, FloatArray, IntArray, round_shift

_TEXT = """\
  one = Constant <value_ints: ints = [1]> ()
  zero = Constant <value_ints: ints = [0]> ()
  begin = Slice (x, zero, one, one)
  first = ReduceSum <keepdims: int = 0> (begin, one)
  init = Mul (first, unit)
  x_time = Transpose <perm: ints = [1, 0, 2]> (x)
  r_end, y_time = Scan <num_scan_inputs: int = 1, body: graph = step
    ({dtype}[N, C] r, {dtype}[N, C] u) => ({dtype}[N, C] r_next, {dtype}[N, C] q) {{
    {held}
    moved = Sub (u, held)
    r_next = Add (r, moved)
    {given}
  }}> (init, x_time)
  y = Transpose <perm: ints = [1, 0, 2]> (y_time)
"""


def walk_text(dtype: str, rounded: str) -> str:
    """ONNX text: the means ``y`` of ``x`` (N, T, C); ``rounded`` says ``{y} = round({r} / unit)``, or the quotient."""
    steps = {key: rounded.format(y=y, r=r) for key, y, r in (("held", "held", "r"), ("given", "q", "r_next"))}
    return _TEXT.format(dtype=dtype, **steps)


@dataclass(frozen=True)
class ExponentialMean(Recurrent):
    """``y = round_shift(r, shift)``, and ``r' = r + x' - y``; at the first step ``r = 2^shift x``.

    In real numbers ``m' = m + (x' - m) / 2^shift`` from ``m = x`` on; what y leaves by rounding stays in the register.
    y is on the grid of x and within its range, r within ``2^shift`` times that.
    """

    shift: int = field(metadata=PLACES)
    size: int

    functions: ClassVar[dict[str, Function]] = {
        "ExponentialMean": Function(
            "ExponentialMean (x, unit) => (y) {\n"
            + walk_text("double", "{y}_over = Div ({r}, unit)\n    {y} = Round ({y}_over)")
            + "}"
        )
    }

    @classmethod
    def read(cls, node: GraphNode) -> tuple[ExponentialMean, Codes]:
        """The codes are of the input's range."""
        (x,) = node.types
        return cls(*node.wiring, int(np.log2(node.constants["unit"])), x.size), Codes(x.size, x.quant, x.rate)

    def start(self, batch: int) -> IntArray:
        """Registers (N, 2, C): r, and 1 once there has been a step."""
        return np.zeros((batch, 2, self.size), np.int64)

    def advance(self, register: IntArray, x: IntArray) -> tuple[IntArray, IntArray]:
        """One step into the mean."""
        old = register[:, 0]
        r = np.where(register[:, 1] > 0, old + x - round_shift(old, self.shift), x << self.shift)
        return np.stack([r, np.ones_like(r)], 1), round_shift(r, self.shift)

    def whole(self, x: IntArray) -> IntArray:
        """Output codes (N, T, C) of whole sequences."""
        return round_shift(self._registers(x), self.shift)

    def real(self, *xs: IntArray) -> RealCodes:
        """The registers in units of an output code."""
        mean = self._registers(xs[0]) / float(1 << self.shift)
        return RealCodes(mean, np.abs(mean))

    def largest_sum(self, tops: Sequence[int]) -> int:
        """Of the register, and of the code that comes to it."""
        return (tops[0] << self.shift) + tops[0]

    @classmethod
    def constant_codes(cls, c: Constants, source: FloatArray | None) -> FloatArray | None:
        """The mean of equal codes is that code."""
        return source

    def _registers(self, x: IntArray) -> IntArray:
        """After every step, (N, T, C)."""
        register, seen = self.start(len(x)), np.empty(x.shape, np.int64)
        for t in range(x.shape[1]):
            register, _ = self.advance(register, x[:, t])
            seen[:, t] = register[:, 0]
        return seen
