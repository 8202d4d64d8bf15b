"""Integer matrices, and the partial sums by which converters evaluate them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssmc.ir.rounding import IntArray, round_half_even, saturate


@dataclass(frozen=True)
class PartialSum:
    """One analog conversion of part of a matrix: ``gain * step * clip(round(codes @ plane(v[rows]) / step))``.

    Attributes:
        codes: integer cell codes, shape (G, out, rows).
        rows: which inputs drive it, as (start, stop).
        plane: None to drive whole codes; bit b to drive bit b of the two's complement code (bit-serial).
        gain: integer weight of this conversion in the digital sum (negative for a sign bit).
        step: accumulator units per ADC code.
        lo, hi: range of the ADC codes.
    """

    codes: IntArray
    rows: tuple[int, int]
    plane: int | None
    gain: int
    step: int
    lo: int
    hi: int

    def drive(self, v: IntArray) -> IntArray:
        """What the DACs put on the rows: v (..., G, in) to (..., G, rows)."""
        part = v[..., self.rows[0] : self.rows[1]]
        return part if self.plane is None else (part >> self.plane) & 1

    def convert(self, total: IntArray) -> IntArray:
        """ADC codes of column sums (..., G, out)."""
        half_even = round_half_even(total / self.step).astype(np.int64) if self.step > 1 else total
        return saturate(half_even, self.lo, self.hi)


@dataclass(frozen=True)
class Matrix:
    """Integer matrix per group with, after lowering to converters, the partial sums that evaluate it.

    Attributes:
        codes: (G, out, in).
        parts: empty where the sum is exact (digital) or is converted once by the quantizer that follows it.
        multiplier: (G, out, accumulators), where the columns fall into parts with scales of their own: the integers
            with which their accumulators are added up (`ssmc.ir.separate_scales`); such a matrix has no ``parts``.
        stops: where the columns of each accumulator end; empty without ``multiplier``.
    """

    codes: IntArray
    parts: tuple[PartialSum, ...] = ()
    multiplier: IntArray | None = None
    stops: tuple[int, ...] = ()

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

    @property
    def rounding(self) -> float:
        """Most by which conversions with steps above 1 move a sum, in accumulator units: half a step each."""
        return sum(abs(part.gain) * part.step / 2 for part in self.parts if part.step > 1)

    def product(self, v: IntArray) -> IntArray:
        """Accumulators (..., G, out) of v (..., G, in), through the partial sums where there are any."""
        if not self.parts:
            return _matvec(self.wide, v)
        total = np.zeros((*v.shape[:-1], self.outputs), np.int64)
        for part in self.parts:
            total += part.gain * part.step * part.convert(_matvec(part.codes, part.drive(v)))
        return total

    def reach(self, lo: IntArray, hi: IntArray) -> tuple[IntArray, IntArray]:
        """Smallest and largest accumulator (G, out) for inputs within lo..hi, each broadcastable to (G, in)."""
        if not self.parts:
            return _ends(self.wide, lo, hi)
        low, high = np.zeros((2, self.groups, self.outputs), np.int64)
        for part in self.parts:
            span = slice(*part.rows)
            edges = (
                (lo[..., span], hi[..., span]) if part.plane is None else (np.zeros(1, np.int64), np.ones(1, np.int64))
            )
            ends = np.stack([part.gain * part.step * part.convert(end) for end in _ends(part.codes, *edges)])
            low, high = low + ends.min(0), high + ends.max(0)
        return low, high

    def largest_sum(self, drive: IntArray) -> int:
        """Largest absolute value of any partial sum, in any order, for inputs (G, in) up to ``drive``.

        Where the matrix has partial conversions: of their digital sum.
        """
        if self.parts:
            return int(np.abs(np.stack(self.reach(-drive, drive))).max(initial=0))
        return int((np.abs(self.wide).astype(np.uint64) * drive[:, None, :].astype(np.uint64)).sum(-1).max(initial=0))


def _ends(codes: IntArray, lo: IntArray, hi: IntArray) -> tuple[IntArray, IntArray]:
    """Smallest and largest sum (G, out) of codes (G, out, in) times inputs within lo..hi."""
    products = np.stack([codes * lo[..., None, :], codes * hi[..., None, :]])
    return products.min(0).sum(-1), products.max(0).sum(-1)


def weight_bits(codes: IntArray) -> int:
    """Signed width that holds the codes: 2 for ternary, 8 for -127..127, 0 where all are zero."""
    top = int(np.abs(codes).max(initial=0))
    return 0 if top == 0 else top.bit_length() + 1


def _matvec(codes: IntArray, v: IntArray) -> IntArray:
    product = np.matmul(codes, v[..., None])[..., 0] if codes.shape[0] > 1 else v @ codes[0].T
    return np.asarray(product, np.int64)
