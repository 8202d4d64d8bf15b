"""What a quantized number is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from ssmc.ir.rates import Clock
from ssmc.ir.rounding import FloatArray, IntArray, round_half_even, saturate

Rate = Literal["step", "sequence"]


def bits_for(lo: int, hi: int) -> int:
    """Bits that number the codes lo..hi: ``ceil(log2(hi - lo + 1))``."""
    return int(hi - lo).bit_length()


@dataclass(frozen=True)
class QuantType:
    """Integer codes ``lo <= q <= hi`` that stand for the real numbers ``scale * q``.

    A zero point z of ONNX is folded at import: codes are counted from it, so the range becomes
    ``[lo - z, hi - z]`` and the code 0 is the real 0. This is exact, since
    ``saturate(round(x/s) + z, lo, hi) - z == saturate(round(x/s), lo - z, hi - z)``.

    Attributes:
        lo: smallest code.
        hi: largest code.
        scale: positive, shape () or (size,), float64 holding the float32 value exactly.
    """

    lo: int
    hi: int
    scale: FloatArray

    def __post_init__(self) -> None:
        """ValueError for a range without a code, or a scale that is no positive number: a damaged bundle has them."""
        if self.lo > self.hi or not (np.isfinite(self.scale) & (self.scale > 0)).all():
            raise ValueError(f"codes {self.lo}..{self.hi} of scale {self.scale} are no quantization")

    @property
    def bits(self) -> int:
        """Width of the codes."""
        return bits_for(self.lo, self.hi)

    def quantize(self, x: ArrayLike) -> IntArray:
        """Real numbers (..., size) to codes: divide, round half to even, saturate."""
        codes = np.clip(round_half_even(np.asarray(x, np.float64) / self.scale), self.lo, self.hi)
        return saturate(codes, self.lo, self.hi)

    def dequantize(self, codes: ArrayLike) -> FloatArray:
        """Codes (..., size) to real numbers."""
        return np.asarray(codes, np.float64) * self.scale


@dataclass(frozen=True)
class Codes:
    """Type of a value: ``size`` channels of codes in ``quant``, once per step of ``clock`` or once per sequence."""

    size: int
    quant: QuantType
    rate: Rate
    clock: Clock = ()

    @property
    def ends(self) -> tuple[int, int]:
        """Smallest and largest code."""
        return self.quant.lo, self.quant.hi

    @property
    def top(self) -> int:
        """Largest absolute value of a code."""
        return max(abs(self.quant.lo), abs(self.quant.hi))
