"""Normalization over the channels, in integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import ClassVar

import numpy as np

from ssmc.errors import ModelError
from ssmc.ir.operations.kernel_functions import requant_text
from ssmc.ir.operations.operation import Function, Mask, RealCodes, Stateless
from ssmc.ir.operations.reading import GraphNode, code_type
from ssmc.ir.parts import Constants
from ssmc.ir.quant import Codes
from ssmc.ir.rounding import PLACES, FloatArray, IntArray, bit_length, isqrt, round_fraction, round_shift, saturate

NORM_FRACTION = 16
MOST_NORM = 1 << 22
SUM_BITS = 62
MOST_GAIN = 2.0**24


@dataclass(frozen=True)
class Norm(Stateless):
    """LayerNorm (``centred``) or RMSNorm over the C channels of one vector, in integers, the same in every backend.

    Real: ``y_c = gamma_c (x_c - mean) / sqrt(var + eps) + beta_c``; for RMSNorm the mean is 0. Integers, with
    S = sum x, d_c = C x_c - S, V = C sum x^2 - S^2 (RMSNorm: S = 0), so that d / sqrt(V) is the normalized vector:

        v    = (V << 16) + epsilon                     variance with 16 fraction bits
        s    = (62 - bit_length(v)) & ~1               v << s lies in [2^60, 2^62)
        root = isqrt(v << s)                           in [2^30, 2^31)
        rec  = 2^61 // root
        h_c  = round_shift(d_c * rec, 33 - s/2)        normalized, 20 fraction bits
        y_c  = clip(round_shift(gain_c * h_c + offset_c, shift), lo, hi)

    A vector with v = 0 gives h = 0. Everything fits 62 bits while C times the largest |code| stays below 2^22.

    Attributes:
        centred: subtract the mean.
        epsilon: ``round(2^16 C^2 eps / scale^2)``.
        gain, offset: (size,): ``round(2^(shift-20) gamma / step)`` and ``round(2^shift beta / step)``.
        shift: fraction bits of the last line.
        bound: largest distance, in output codes before rounding, from the real-valued meaning.
    """

    centred: bool
    epsilon: int
    gain: IntArray
    offset: IntArray
    shift: int = field(metadata=PLACES)
    lo: int
    hi: int
    bound: float

    functions: ClassVar[dict[str, Function]] = {
        "Norm": Function(
            """Norm (x, centred, epsilon, gain, step, offset, lo, hi) => (q) {
  axis = Constant <value_ints: ints = [-1]> ()
  average = ReduceMean <keepdims: int = 1> (x, axis)
  mean = Mul (average, centred)
  d = Sub (x, mean)
  square = Mul (d, d)
  variance = ReduceMean <keepdims: int = 1> (square, axis)
  with_epsilon = Add (variance, epsilon)
  deviation = Sqrt (with_epsilon)
  zero = Constant <value: tensor = double {0}> ()
  one = Constant <value: tensor = double {1}> ()
  flat = Equal (deviation, zero)
  safe = Where (flat, one, deviation)
  normal = Div (d, safe)
"""
            + requant_text("q", "normal", "gain", "step", "offset", "lo", "hi")
            + "}"
        )
    }
    float_terms: ClassVar[float] = 8.0  # mean, variance, root, quotient and the affine map

    @classmethod
    def read(cls, node: GraphNode) -> tuple[Norm, Codes]:
        """Gains and offsets as integers, with the bound of the truncations.

        Raises:
            ModelError: SSMC-T03 where the variance could overflow; SSMC-R01 where a gain or an offset does.
        """
        c, (x,) = node.constants, node.types
        size = x.size
        gain, offset = (np.broadcast_to(v, (size,)) for v in (c["gain"] / c["step"], c["offset"]))
        if size * x.top >= MOST_NORM:
            fact = f"{size} channels of codes up to {x.top} overflow its integer variance"
            raise ModelError("SSMC-T03", fact, "normalize fewer channels or narrower codes", node.name)
        epsilon = round_fraction(Fraction(float(c["epsilon"])) * size * size * (1 << NORM_FRACTION))
        if epsilon + ((size * x.top) ** 2 << NORM_FRACTION) >= 1 << SUM_BITS:
            fact = f"its epsilon, {float(c['epsilon']):.3g} squared codes of the input, overflows its integer variance"
            raise ModelError("SSMC-T03", fact, "give a smaller epsilon", node.name)
        _require_range(gain, offset, node.name)
        root, top = float(np.sqrt(size)), float(np.abs(gain).max())
        highest = float(np.abs(offset).max())
        shift = min(20 + 28 - _log2_above(max(top, 2.0**-10)), 60 - _log2_above(max(highest, 1.0)))
        bound = top * (2.0**-21 + root * (2.0**-29 + 2.0**-18 / max(size - 1, 1))) + root * 2.0 ** (19 - shift)
        op = cls(
            *node.wiring,
            centred=bool(c["centred"]),
            epsilon=epsilon,
            gain=np.array([round_fraction(Fraction(float(g)) * (1 << (shift - 20))) for g in gain], np.int64),
            offset=np.array([round_fraction(Fraction(float(b)) * (1 << shift)) for b in offset], np.int64),
            shift=shift,
            lo=int(c["lo"]),
            hi=int(c["hi"]),
            bound=bound + 2.0 ** -(shift + 1),
        )
        return op, code_type(size, c["lo"], c["hi"], x.rate)

    def apply(self, x: IntArray) -> IntArray:
        """Codes (..., C) to codes (..., C)."""
        channels = x.shape[-1]
        total = x.sum(-1, keepdims=True) if self.centred else np.zeros((*x.shape[:-1], 1), np.int64)
        d = channels * x - total
        v = ((channels * (x * x).sum(-1, keepdims=True) - total * total) << NORM_FRACTION) + self.epsilon
        safe = np.maximum(v, 1)
        s = (62 - bit_length(safe)) & ~1
        rec = (1 << 61) // isqrt(safe << s)
        h = np.where(v > 0, round_shift(d * rec, 33 - s // 2), 0)
        return saturate(round_shift(self.gain * h + self.offset, self.shift), self.lo, self.hi)

    def real(self, *xs: IntArray) -> RealCodes:
        """The normalized vector in units of an output code."""
        (x,) = xs
        channels = x.shape[-1]
        d = x - x.mean(-1, keepdims=True) * self.centred
        variance = (d * d).mean(-1, keepdims=True) + self.epsilon / (channels**2 * 2.0**NORM_FRACTION)
        normal = d / np.sqrt(np.where(variance > 0, variance, 1.0))
        gain, offset = self.gain / 2.0 ** (self.shift - 20), self.offset / 2.0**self.shift
        return RealCodes(gain * normal + offset, np.abs(gain) * np.abs(normal) + np.abs(offset))

    def largest_sum(self, tops: Sequence[int]) -> int:
        """The variance is scaled to 62 bits, whatever the input."""
        return (1 << SUM_BITS) - 1

    def error_bound(self) -> float:
        """Of the truncations."""
        return self.bound

    @classmethod
    def demand(cls, c: Constants, out: Mask, sources: Sequence[Mask]) -> tuple[Mask, tuple[Mask, ...]]:
        """It reads and counts all its channels."""
        return np.ones_like(out), tuple(np.ones_like(source) for source in sources)


def _log2_above(value: float) -> int:
    return int(np.ceil(np.log2(value)))


def _require_range(gain: FloatArray, offset: FloatArray, node: str) -> None:
    """Refuse gains and offsets, in output codes, for which the last line of `Norm` would leave 62 bits."""
    largest = max(float(np.abs(gain).max()), float(np.abs(offset).max()))
    if largest > MOST_GAIN:
        fact = f"its gain or offset is {largest:.3g} steps of the output's quantizer, more than {MOST_GAIN:g}"
        raise ModelError("SSMC-R01", fact, "calibrate the quantizers again", node)
