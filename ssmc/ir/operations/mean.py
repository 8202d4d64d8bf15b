"""The mean over time, and the sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal

import numpy as np

from ssmc.ir.operations.operation import Function, RealCodes, Reduction
from ssmc.ir.operations.reading import GraphNode, code_type, per_channel, ratios
from ssmc.ir.quant import Codes
from ssmc.ir.rounding import IntArray, round_divide, round_fraction, saturate

LIMIT = 1 << 62
LONGEST = (1 << 32) - 1

#: ONNX text: the end of a function that divides each row of ``total`` (N, rows, C) by its ``members`` (rows,)
ROUNDED_MEAN = """
  count = Cast <to: int = 11> (members)
  column = Unsqueeze (count, one)
  scaled = Mul (total, gain)
  all = Mul (column, step)
  over = Div (scaled, all)
  rounded = Round (over)
  low = Max (rounded, lo)
  q = Min (low, hi)
}"""


_OVER = """
  axis = Constant <value_ints: ints = [1]> ()
  total = ReduceSum <keepdims: int = 0> (x, axis)
  scaled = Mul (total, gain)
  @WHOLE
  over = Div (scaled, whole)
  rounded = Round (over)
  low = Max (rounded, lo)
  q = Min (low, hi)
}"""
_STEPS = """time = Shape <start: int = 1, end: int = 2> (x)
  length = Cast <to: int = 11> (time)
  whole = Mul (length, step)"""


@dataclass(frozen=True)
class Mean(Reduction):
    """Mean or sum over time: an exact running sum, then one exact division at the end.

    - ``mean``: ``y = clip(round_half_even(ratio * sum / T), lo, hi)``, T the true length.
    - ``sum``: ``y = clip(round_half_even(ratio * sum), lo, hi)``.

    ``ratio`` is exact and rational, one per channel. An empty sequence gives 0.
    """

    ratio: tuple[Fraction, ...]
    lo: int
    hi: int
    how: Literal["mean", "sum"] = "mean"

    functions: ClassVar[dict[str, Function]] = {
        "Mean": Function("Mean (x, gain, step, lo, hi) => (q) {" + _OVER.replace("@WHOLE", _STEPS)),
        "Total": Function(
            "Total (x, gain, step, lo, hi) => (q) {" + _OVER.replace("@WHOLE", "whole = Identity (step)")
        ),
    }

    @classmethod
    def read(cls, node: GraphNode) -> tuple[Mean, Codes]:
        """One exact ratio per channel."""
        c, (x,) = node.constants, node.types
        ratio = ratios(per_channel(c, "gain", x.size), per_channel(c, "step", x.size))
        op = cls(*node.wiring, ratio, int(c["lo"]), int(c["hi"]), "sum" if node.op_type == "Total" else "mean")
        return op, code_type(x.size, c["lo"], c["hi"], "sequence")

    def accumulate(self, total: IntArray, x: IntArray) -> IntArray:
        """The running sum."""
        return total + x

    def finish(self, total: IntArray, length: IntArray) -> IntArray:
        """Divide once, a mean by the true length."""
        return exact_mean(self.ratio, total, self.divisor(length), self.lo, self.hi)

    def divisor(self, length: IntArray) -> IntArray:
        """By what sums over ``length`` (N,) steps are divided, besides the ratio."""
        return length if self.how == "mean" else np.minimum(length, 1)

    def reduce(self, x: IntArray) -> IntArray:
        """Sum, and divide once."""
        return self.finish(x.sum(1), np.full(len(x), x.shape[1]))

    def real(self, *xs: IntArray) -> RealCodes:
        """The mean or sum in units of an output code."""
        (x,) = xs
        ratio = np.array([float(r) for r in self.ratio]) / (x.shape[1] if self.how == "mean" else 1)
        return RealCodes(x.sum(1) * ratio, np.abs(x).sum(1) * ratio)

    def largest_sum(self, tops: Sequence[int]) -> int:
        """Over 2^32 - 1 steps."""
        return tops[0] * LONGEST


def exact_mean(ratio: Sequence[Fraction], total: IntArray, length: IntArray, lo: int, hi: int) -> IntArray:
    """Exact ``clip(round_half_even(ratio * total / T), lo, hi)`` of sums (N, C) over lengths (N,); 0 where T is 0."""
    over = np.array([r.numerator for r in ratio], object), np.array([r.denominator for r in ratio], object)
    largest = max(abs(n) for n in over[0]) * int(np.abs(total).max(initial=0))
    longest = max(over[1]) * int(length.max(initial=0))
    if largest >= LIMIT or longest >= LIMIT:
        return saturate(_in_fractions(ratio, total, length), lo, hi)
    numerator, denominator = (x.astype(np.int64) for x in over)
    steps = np.maximum(length, 1)[:, None]
    codes = np.where(length[:, None] > 0, round_divide(numerator * total, denominator * steps), 0)
    return saturate(codes, lo, hi)


def _in_fractions(ratio: Sequence[Fraction], total: IntArray, length: IntArray) -> IntArray:
    out = np.zeros_like(total)
    for n, steps in enumerate(length.tolist()):
        for c, factor in enumerate(ratio if steps else ()):
            out[n, c] = round_fraction(factor * int(total[n, c]) / steps)
    return out
