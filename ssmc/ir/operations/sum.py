"""The sum of two values with scales of their own, channel by channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from typing import ClassVar

import numpy as np

from ssmc.errors import ModelError
from ssmc.ir.operations.operation import Function, RealCodes, Stateless
from ssmc.ir.operations.reading import GraphNode, code_type, exact_offsets, per_channel, ratios
from ssmc.ir.quant import Codes
from ssmc.ir.requant import LIMIT, REMEMBERED
from ssmc.ir.rounding import PLACES, IntArray, round_fraction, round_shift, saturate


@dataclass(frozen=True)
class Sum(Stateless):
    """``y = clip(round_shift(sum_i multiplier_i * x_i + offset, shift))``: channel-wise sum of codes with own scales.

    Attributes:
        multiplier: (inputs, size).
        offset, shift, lo, hi: (size,).
        bound: largest distance, in output codes before rounding, from the real-valued sum; 0 means proven exact.
    """

    multiplier: IntArray
    offset: IntArray
    shift: IntArray = field(metadata=PLACES)
    lo: IntArray
    hi: IntArray
    bound: float = 0.0

    functions: ClassVar[dict[str, Function]] = {
        "Sum": Function("""Sum (a, b, gain_a, gain_b, step, offset, lo, hi) => (q) {
  left = Mul (a, gain_a)
  right = Mul (b, gain_b)
  acc = Add (left, right)
  over = Div (acc, step)
  real = Add (over, offset)
  rounded = Round (real)
  low = Max (rounded, lo)
  q = Min (low, hi)
}""")
    }

    @classmethod
    def read(cls, node: GraphNode) -> tuple[Sum, Codes]:
        """Multipliers by `fit_sum`, channel by channel."""
        c, (a, b) = node.constants, node.types
        left, right, step, offset, lo, hi = (
            per_channel(c, key, a.size) for key in ("gain_a", "gain_b", "step", "offset", "lo", "hi")
        )
        exact = zip(ratios(left, step), ratios(right, step), exact_offsets(offset, step), strict=True)
        rows = [fit_sum(row, (a.top, b.top), node.name) for row in exact]
        numbers = np.array([row[:4] for row in rows], np.int64)
        op = cls(
            *node.wiring,
            multiplier=numbers[:, :2].T.copy(),
            offset=numbers[:, 2],
            shift=numbers[:, 3],
            lo=lo.astype(np.int64),
            hi=hi.astype(np.int64),
            bound=max(row[4] for row in rows),
        )
        return op, code_type(a.size, lo, hi, a.rate)

    def apply(self, *xs: IntArray) -> IntArray:
        """Codes (..., size) each, to codes (..., size)."""
        total = self.offset + sum(m * x for m, x in zip(self.multiplier, xs, strict=True))
        return saturate(round_shift(total, self.shift), self.lo, self.hi)

    def real(self, *xs: IntArray) -> RealCodes:
        """The sum before it is rounded."""
        terms = sum(m * x for m, x in zip(self.multiplier.astype(np.float64), xs, strict=True))
        value = np.asarray(terms + self.offset) / np.exp2(self.shift)
        return RealCodes(value, np.abs(value))

    def largest_sum(self, tops: Sequence[int]) -> int:
        """``max_c sum_i |multiplier_i| max|x_i| + |offset|``."""
        terms = sum(np.abs(m).astype(object) * top for m, top in zip(self.multiplier, tops, strict=True))
        return int(np.max(terms + np.abs(self.offset).astype(object)))

    def error_bound(self) -> float:
        """Of the multipliers."""
        return self.bound


@lru_cache(maxsize=REMEMBERED)
def fit_sum(
    row: tuple[Fraction, Fraction, Fraction], reach: tuple[int, int], node: str = ""
) -> tuple[int, int, int, int, float]:
    """Multipliers, offset and shift of ``a x1 + b x2 + c``: exact where a shift exists, else the finest that fits.

    Returns:
        (M_a, M_b, offset, shift, bound): bound is the largest error of the sum before rounding, in output codes.

    Raises:
        ModelError: SSMC-R01 where the sum itself passes 62 bits.
    """
    best = (0, 0, 0, 0, 0.0)
    for shift in range(48):
        numbers = [round_fraction(value * (1 << shift)) for value in row]
        size = abs(numbers[0]) * reach[0] + abs(numbers[1]) * reach[1] + abs(numbers[2]) + (1 << shift)
        if 2 * size >= LIMIT:
            if not shift:
                fact = f"the sum reaches {float(size):.3g} output codes, beyond 62-bit integers"
                raise ModelError("SSMC-R01", fact, "calibrate the quantizers again", node)
            break
        errors = [abs(value - Fraction(n, 1 << shift)) for value, n in zip(row, numbers, strict=True)]
        bound = errors[0] * reach[0] + errors[1] * reach[1] + errors[2]
        best = (*numbers, shift, float(bound))  # type: ignore[assignment]
        if bound == 0:
            break
    return best
