"""Integer matrices, and the partial sums by which converters evaluate them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ssmc.ir.requant import Requant
from ssmc.ir.rounding import IntArray, round_divide, saturate

MANY = 8  # vectors


@dataclass(frozen=True)
class PartialSum:
    """One analog conversion of part of a matrix: ``gain * step * clip(round(codes @ plane(v[rows]) / step), lo, hi)``.

    Attributes:
        codes: integer cell codes, shape (G, out, rows).
        rows: which inputs drive it, as (start, stop).
        plane: None to drive whole codes; bit b to drive bit b of the two's complement code (bit-serial).
        gain: integer weight of this conversion in the digital sum (negative for a sign bit).
        step: accumulator units per ADC code of every column, a power of two, (G, out).
        lo, hi: range of the ADC codes of every column, (G, out).
        excess: accumulator units by which a sum that inputs can reach passes that range, (G, out); 0 where none does.
    """

    codes: IntArray
    rows: tuple[int, int]
    plane: int | None
    gain: int
    step: IntArray
    lo: IntArray
    hi: IntArray
    excess: IntArray

    @property
    def is_lossless(self) -> bool:
        """Whether the converter gives every sum that inputs can reach."""
        return bool((self.step == 1).all() and not self.excess.any())

    @property
    def weight(self) -> IntArray:
        """Accumulator units that one ADC code adds to the digital sum, (G, out)."""
        return self.gain * self.step

    def drive(self, v: IntArray) -> IntArray:
        """What the DACs put on the rows: v (..., G, in) to (..., G, rows)."""
        part = v[..., self.rows[0] : self.rows[1]]
        return part if self.plane is None else (part >> self.plane) & 1

    def convert(self, total: IntArray) -> IntArray:
        """ADC codes of column sums (..., G, out)."""
        whole = total if (self.step == 1).all() else round_divide(total, self.step)
        return saturate(whole, self.lo, self.hi)


@dataclass(frozen=True)
class Matrix:
    """Integer matrix per group with, after lowering to converters, how the converters evaluate it.

    Attributes:
        codes: (G, out, in).
        parts: the partial sums that are converted and added; empty where the sum is exact (digital) or is converted
            once.
        multiplier: (G, out, accumulators), where the columns fall into parts with scales of their own: the integers
            with which their accumulators are added up (`ssmc.ir.separate_scales`); such a matrix has no ``parts``.
        stops: where the columns of each accumulator end; empty without ``multiplier``.
        converter: of a matrix that is converted once, though not by the quantizer that follows it: accumulators to the
            converter codes that the digital unit requantizes, G * out entries. None elsewhere.
    """

    codes: IntArray
    parts: tuple[PartialSum, ...] = ()
    multiplier: IntArray | None = None
    stops: tuple[int, ...] = ()
    converter: Requant | None = None

    @property
    def is_lowered(self) -> bool:
        """Whether converters stand between the sum and the requantization that follows."""
        return bool(self.parts) or self.converter is not None

    @property
    def wide(self) -> IntArray:
        """(G, out, in): the codes times their multipliers, by which one sum gives what the accumulators add up to."""
        if self.multiplier is None:
            return self.codes
        return self.codes * np.repeat(self.multiplier, np.diff((0, *self.stops)), -1)

    @property
    def groups(self) -> int:
        """Number of independent blocks G."""
        return int(self.codes.shape[0])

    @property
    def outputs(self) -> int:
        """Outputs (crossbar columns) per group."""
        return int(self.codes.shape[1])

    @property
    def inputs(self) -> int:
        """Inputs (crossbar rows) per group."""
        return int(self.codes.shape[2])

    @property
    def weight_bits(self) -> int:
        """Width of the widest cell code (symmetric)."""
        return weight_bits(self.codes)

    def product(self, v: IntArray) -> IntArray:
        """Accumulators (..., G, out) of v (..., G, in), through the partial sums where there are any.

        Where there is a converter: its codes.
        """
        if self.converter is not None:
            return self.converter.apply_groups(_matvec(self.codes, v))
        if not self.parts:
            return _matvec(self.wide, v)
        total = np.zeros((*v.shape[:-1], self.outputs), np.int64)
        for part in self.parts:
            total += part.weight * part.convert(_matvec(part.codes, part.drive(v)))
        return total

    def affine(self, requant: Requant) -> tuple[tuple[Fraction, ...], tuple[Fraction, ...]]:
        """Exact ratio and bias from accumulators to codes of ``requant``, through the converter; rounding apart."""
        if self.converter is None:
            return requant.ratio, requant.bias
        pairs = list(zip(requant.ratio, requant.bias, self.converter.ratio, self.converter.bias, strict=True))
        return tuple(r * c for r, _, c, _ in pairs), tuple(b + r * d for r, b, _, d in pairs)

    def conversion_error(self, requant: Requant) -> float:
        """Most, in codes of ``requant``, by which the converters move what it rounds; 0 where they lose nothing.

        A converter code stands for half a step either side; beyond its range the output can still be anywhere up to
        its own limits.
        """
        ratio, bias = (np.array([float(x) for x in exact]) for exact in (requant.ratio, requant.bias))
        if self.converter is not None:
            ends = np.stack([ratio * end + bias for end in (self.converter.lo, self.converter.hi)])
            short = np.maximum(requant.hi - ends.max(0), ends.min(0) - requant.lo)
            moved = np.maximum(np.abs(ratio) / 2, short)
            return float(np.where((ratio == 1) & (bias == 0), 0.0, moved).max(initial=0))
        lost = np.zeros((self.groups, self.outputs))
        for part in self.parts:
            lost += abs(part.gain) * (np.where(part.step > 1, part.step / 2, 0.0) + part.excess)
        return float(np.minimum(lost.ravel() * np.abs(ratio), requant.hi - requant.lo).max(initial=0))

    def reach(self, lo: IntArray, hi: IntArray) -> tuple[IntArray, IntArray]:
        """Smallest and largest `product` (G, out) for inputs within lo..hi, each broadcastable to (G, in)."""
        if self.converter is not None:
            ends = np.stack([self.converter.apply_groups(end) for end in _ends(self.codes, lo, hi)])
            return ends.min(0), ends.max(0)
        if not self.parts:
            return _ends(self.wide, lo, hi)
        low, high = np.zeros((2, self.groups, self.outputs), np.int64)
        for part in self.parts:
            span = slice(*part.rows)
            edges = (
                (lo[..., span], hi[..., span]) if part.plane is None else (np.zeros(1, np.int64), np.ones(1, np.int64))
            )
            ends = np.stack([part.weight * part.convert(end) for end in _ends(part.codes, *edges)])
            low, high = low + ends.min(0), high + ends.max(0)
        return low, high

    def largest_sum(self, drive: IntArray) -> int:
        """Largest absolute value of any partial sum, in any order, for inputs (G, in) up to ``drive``.

        Where the matrix has converters: of the digital sum behind them.
        """
        if self.is_lowered:
            return int(np.abs(np.stack(self.reach(-drive, drive))).max(initial=0))
        return int((np.abs(self.wide).astype(np.uint64) * drive[:, None, :].astype(np.uint64)).sum(-1).max(initial=0))


def _ends(codes: IntArray, lo: IntArray, hi: IntArray) -> tuple[IntArray, IntArray]:
    """Smallest and largest sum (G, out) of codes (G, out, in) times inputs within lo..hi."""
    products = np.stack([codes * lo[..., None, :], codes * hi[..., None, :]])
    return products.min(0).sum(-1), products.max(0).sum(-1)


def excess(codes: IntArray, inputs: tuple[IntArray, IntArray], step: IntArray, lo: IntArray, hi: IntArray) -> IntArray:
    """`PartialSum.excess` of codes (G, out, rows) driven within ``inputs``, each broadcastable to (G, rows)."""
    low, high = _ends(codes, *inputs)
    beyond = np.maximum(high - hi * step, lo * step - low) - np.where(step > 1, step // 2, 0)
    return np.asarray(np.maximum(beyond, 0), np.int64)


def weight_bits(codes: IntArray) -> int:
    """Signed width that holds the codes: 2 for ternary, 8 for -127..127, 0 where all are zero."""
    top = int(np.abs(codes).max(initial=0))
    return 0 if top == 0 else top.bit_length() + 1


def _matvec(codes: IntArray, v: IntArray) -> IntArray:
    """Sums (..., G, out) of codes (G, out, in) and v (..., G, in); of many vectors by BLAS, where float64 is exact."""
    groups, outputs, inputs = codes.shape
    count = v.size // max(groups * inputs, 1)
    if count >= MANY and v.shape[-2:] == (groups, inputs) and _largest(codes) * _largest(v) * inputs < 1 << 53:
        rows = np.moveaxis(v.reshape(count, groups, inputs), 1, 0).astype(np.float64)
        sums = np.matmul(rows, codes.transpose(0, 2, 1).astype(np.float64))
        whole: IntArray = np.moveaxis(sums, 0, 1).astype(np.int64)
        return whole.reshape(*v.shape[:-1], outputs)
    product = np.matmul(codes, v[..., None])[..., 0] if codes.shape[0] > 1 else v @ codes[0].T
    return np.asarray(product, np.int64)


def _largest(x: IntArray) -> int:
    return max(-int(x.min(initial=0)), int(x.max(initial=0)))
