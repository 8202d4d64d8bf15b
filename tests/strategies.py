"""Hypothesis strategies: random quantized state-space models, and the numbers they are made of."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from hypothesis import strategies as st

from tests.graphs import Spec

INT64_SAFE = (1 << 62) - 1


@dataclass(frozen=True)
class Conversion:
    """One output of a requantization: exact map, code range, reachable accumulators."""

    ratio: Fraction
    bias: Fraction
    lo: int
    hi: int
    acc_min: int
    acc_max: int

    def code(self, acc: int) -> int:
        """The meaning, in rational arithmetic."""
        return min(max(round(self.ratio * acc + self.bias), self.lo), self.hi)


@st.composite
def ratios(draw: st.DrawFn) -> Fraction:
    """Dyadic, with ties that no fixed-point multiplier can place (1/6), float32-like, negative, zero."""
    kind = draw(st.sampled_from(["dyadic", "sixths", "float32", "zero"]))
    sign = draw(st.sampled_from([1, -1]))
    if kind == "zero":
        return Fraction(0)
    if kind == "dyadic":
        return sign * Fraction(draw(st.integers(1, 255)), 1 << draw(st.integers(0, 14)))
    if kind == "sixths":
        return sign * Fraction(draw(st.integers(1, 30)), draw(st.sampled_from([3, 6, 10, 12, 14, 22, 90])))
    mantissa = draw(st.integers(1 << 23, (1 << 24) - 1))
    other = draw(st.integers(1 << 23, (1 << 24) - 1))
    return sign * Fraction(mantissa, other) / (1 << draw(st.integers(0, 12)))


@st.composite
def conversions(draw: st.DrawFn, most_bits: int = 16) -> Conversion:
    """Ranges of 1 to ``most_bits`` bits, signed or not, off centre or not."""
    bits = draw(st.integers(1, most_bits))
    levels = draw(st.integers(2, 1 << bits))
    lo = draw(st.sampled_from([0, -(levels // 2), -(levels - 1), -3, 5]))
    ratio = draw(ratios())
    bias = draw(st.sampled_from([Fraction(0), Fraction(1, 2), Fraction(-7, 6), Fraction(3, 8), Fraction(-41)]))
    reach = draw(st.integers(1, 1 << 16))
    acc_min = draw(st.integers(-reach, reach))
    acc_max = draw(st.integers(acc_min, reach))
    return Conversion(ratio, bias, lo, lo + levels - 1, acc_min, acc_max)


@st.composite
def specs(draw: st.DrawFn, *, free: bool = False, **fixed: object) -> Spec:
    """Random models; ``fixed`` sets fields."""
    options: dict[str, object] = {
        "seed": draw(st.integers(0, 1 << 20)),
        "spelling": draw(st.sampled_from(["qdq", "round", "minmax", "qonnx"])),
        "form": draw(st.sampled_from(["direct", "delta"])),
        "layout": draw(st.sampled_from(["pair", "joint", "dense"])),
        "after": draw(st.booleans()),
        "y_inside": draw(st.booleans()),
        "per_channel": draw(st.booleans()),
        "sparse": draw(st.booleans()),
        "features": draw(st.integers(1, 3)),
        "channels": draw(st.integers(1, 4)),
        "states": draw(st.integers(1, 3)),
        "weight_bits": draw(st.sampled_from([2, 4, 8])),
        "code_bits": draw(st.sampled_from([3, 5, 8])),
        "table": draw(st.sampled_from(["Relu", "Sigmoid", "Tanh"])),
        "norm": draw(st.booleans()),
        "gate": draw(st.booleans()),
        "residual": draw(st.booleans()),
        "pool": draw(st.sampled_from(["mean", "last", "none"])),
        "layers": draw(st.integers(1, 2)),
    }
    return Spec(free=free, **(options | fixed))  # type: ignore[arg-type]
