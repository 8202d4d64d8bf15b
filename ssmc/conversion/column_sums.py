"""What the columns of a matrix add up to: from recorded inputs, or from white input codes where there are none.

White: every input is uniform over its codes and independent of the others, so that a sum of many is nearly normal with

    mean = sum_i w_i (lo_i + hi_i) / 2,    variance = sum_i w_i^2 ((hi_i - lo_i + 1)^2 - 1) / 12

(a bit of a code: mean 1/2, variance 1/4).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np

from ssmc.conversion.ranges import Range
from ssmc.ir.matrix import Matrix
from ssmc.ir.parts import driven
from ssmc.ir.rounding import FloatArray, IntArray

POINTS = 257


@dataclass(frozen=True)
class Inputs:
    """What drives a matrix.

    Attributes:
        ends: smallest and largest code, (G, in) each.
        seen: codes at some steps of recorded sequences, (S, G, in); None where none were recorded.
    """

    ends: Range
    seen: IntArray | None = None

    def of(self, rows: tuple[int, int]) -> Inputs:
        """Those of some rows."""
        lo, hi = (end[:, slice(*rows)] for end in self.ends)
        return Inputs((lo, hi), None if self.seen is None else self.seen[..., slice(*rows)])

    def driven(self, plane: int | None) -> Inputs:
        """Whole codes, or one bit of them."""
        seen = self.seen if self.seen is None or plane is None else (self.seen >> plane) & 1
        return Inputs(driven(self.ends, plane), seen)

    def sums(self, codes: IntArray) -> FloatArray:
        """Equally likely sums (G * out, P) of the columns of codes (G, out, in)."""
        if self.seen is not None:
            return Matrix(codes).product(self.seen).reshape(len(self.seen), -1).T.astype(np.float64)
        lo, hi = (end.astype(np.float64) for end in self.ends)
        mean = (codes * ((lo + hi) / 2)[:, None]).sum(-1).ravel()
        variance = (codes**2 * (((hi - lo + 1) ** 2 - 1) / 12)[:, None]).sum(-1).ravel()
        low, high = (end.ravel()[:, None] for end in Matrix(codes).reach(*self.ends))
        return np.asarray(np.clip(mean[:, None] + np.sqrt(variance)[:, None] * normal_points(), low, high))


@cache
def normal_points() -> FloatArray:
    """Equally likely points of a standard normal number, (P,)."""
    normal = NormalDist()
    return np.array([normal.inv_cdf((k + 0.5) / POINTS) for k in range(POINTS)])
