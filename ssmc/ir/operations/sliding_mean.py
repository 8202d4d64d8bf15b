"""The mean of the last steps: a pooling over time that can be read at any step of a stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np

from ssmc.ir.operations.mean import ROUNDED_MEAN, exact_mean
from ssmc.ir.operations.operation import Function, RealCodes, Recurrent
from ssmc.ir.operations.reading import GraphNode, code_type, per_channel, ratios
from ssmc.ir.quant import Codes
from ssmc.ir.rounding import IntArray

_SUMS = """\
  one = Constant <value_ints: ints = [1]> ()
  zero = Constant <value_ints: ints = [0]> ()
  axis = Constant <value: tensor = int64 {1}> ()
  time = Shape <start: int = 1, end: int = 2> (x)
  sums = CumSum (x, axis)
  pads = Concat <axis: int = 0> (width, zero)
  nothing = Constant <value: tensor = @TYPE {0}> ()
  padded = Pad (sums, pads, nothing, one)
  before = Slice (padded, zero, time, one)
  total = Sub (sums, before)
  first = Constant <value: tensor = int64 {1}> ()
  last = Add (time, one)
  end = Squeeze (last, zero)
  index = Range (first, end, first)
  members = Min (index, width)"""


def window_text(dtype: str) -> str:
    """ONNX text: the sum ``total`` (N, T, C) of the last steps of ``x`` in ``dtype``, and their number (T,)."""
    return _SUMS.replace("@TYPE", dtype)


@dataclass(frozen=True)
class SlidingMean(Recurrent):
    """``y = clip(round_half_even(ratio * (sum of the last m steps) / m), lo, hi)``, m = ``width``, or all so far.

    ``ratio`` is exact, one per channel. The register holds the last ``width`` codes and how many of them are true.
    """

    width: int
    ratio: tuple[Fraction, ...]
    lo: int
    hi: int

    functions: ClassVar[dict[str, Function]] = {
        "SlidingMean": Function(
            "SlidingMean (x, width, gain, step, lo, hi) => (q) {\n" + window_text("double") + ROUNDED_MEAN
        )
    }
    integer_constants: ClassVar[frozenset[str]] = frozenset({"width"})

    @classmethod
    def read(cls, node: GraphNode) -> tuple[SlidingMean, Codes]:
        """One exact ratio per channel."""
        c, (x,) = node.constants, node.types
        ratio = ratios(per_channel(c, "gain", x.size), per_channel(c, "step", x.size))
        lo, hi = int(c["lo"]), int(c["hi"])
        return cls(*node.wiring, int(c["width"][0]), ratio, lo, hi), code_type(x.size, lo, hi, x.rate)

    def start(self, batch: int) -> IntArray:
        """Registers (N, width + 1, C): the last codes, newest first, and how many steps there have been."""
        return np.zeros((batch, self.width + 1, len(self.ratio)), np.int64)

    def advance(self, register: IntArray, x: IntArray) -> tuple[IntArray, IntArray]:
        """The newest code in, the oldest out."""
        count = np.minimum(register[:, -1:] + 1, self.width)
        new = np.concatenate([x[:, None], register[:, : self.width - 1], count], 1)
        return new, exact_mean(self.ratio, new[:, :-1].sum(1), count[:, 0, 0], self.lo, self.hi)

    def whole(self, x: IntArray) -> IntArray:
        """Output codes (N, T, C) of whole sequences."""
        totals, members = self._sums(x)
        count = np.tile(members, len(x))
        flat = exact_mean(self.ratio, totals.reshape(-1, x.shape[2]), count, self.lo, self.hi)
        return flat.reshape(x.shape)

    def real(self, *xs: IntArray) -> RealCodes:
        """The means in units of an output code."""
        (totals, members), (sizes, _) = self._sums(xs[0]), self._sums(np.abs(xs[0]))
        share = np.array([float(r) for r in self.ratio]) / members[:, None]
        return RealCodes(totals * share, sizes * share)

    def largest_sum(self, tops: Sequence[int]) -> int:
        """Of a whole window."""
        return self.width * tops[0]

    def _sums(self, x: IntArray) -> tuple[IntArray, IntArray]:
        """Sums (N, T, C) and numbers of steps (T,) of the windows that end at each step."""
        index = np.arange(x.shape[1])
        sums = np.concatenate([np.zeros_like(x[:, :1]), x.cumsum(1)], 1)
        starts = np.maximum(index + 1 - self.width, 0)
        return sums[:, index + 1] - sums[:, starts], index + 1 - starts
