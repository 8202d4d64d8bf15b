"""A matrix that is converted once by a converter which is not the quantizer that follows.

With the quantizer ``q = clip(round(ratio acc + bias), lo, hi)`` of b bits behind a converter of fewer, k = b - bits:

    c = clip(round((ratio acc + bias) / 2^k), first, last),    q = clip(2^k c, lo, hi)          (coarser)

the quantizer's range in coarser steps; a shift puts the code back. Where columns with unlike ratios share a step, or
recorded inputs show a better one, the step is ``unit`` accumulator units, a short binary number:

    c = clip(round(acc / unit), first, last),    q = clip(round(ratio unit c + bias), lo, hi)   (requantized)

and the digital unit multiplies, adds and rounds once more. Where cells hold k times the codes of a column
(`column_factors`), ``acc`` above is what they add up to and ``ratio`` a k-th.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ssmc.conversion.column_factors import Factors
from ssmc.conversion.column_sums import POINTS, Inputs
from ssmc.conversion.converter_steps import (
    Columns,
    best_shared,
    fewest_shared,
    largest_shared,
    same_ratios,
    step_sets,
    window_error,
)
from ssmc.hardware.model import Hardware
from ssmc.ir.connectivity import live_columns
from ssmc.ir.matrix import Matrix, PartialSum, excess
from ssmc.ir.quant import bits_for
from ssmc.ir.requant import Requant, make_requant
from ssmc.ir.rounding import FloatArray, IntArray, bit_length, round_half_even

PER_OCTAVE = 8
FINER, MOST_OCTAVES = 3, 6
MANTISSA = 32


class Following(Protocol):
    """The quantizer of C columns: ``q = clip(round_half_even(ratio acc + bias), lo, hi)``."""

    @property
    def ratio(self) -> Sequence[Fraction | float]:
        """Codes per accumulator unit."""

    @property
    def bias(self) -> Sequence[Fraction | float]:
        """Code at accumulator 0."""

    @property
    def lo(self) -> IntArray:
        """Smallest codes, (C,)."""

    @property
    def hi(self) -> IntArray:
        """Largest codes, (C,)."""


class Steps(NamedTuple):
    """The steps of C converters.

    Attributes:
        shift: k of a coarser quantizer, (C,); -1 where the code is requantized.
        unit: accumulator units per code where it is, (C,).
    """

    shift: IntArray
    unit: FloatArray


class Quantizers(NamedTuple):
    """The C quantizers that follow, and what is known about their columns.

    Attributes:
        ratio, bias, lo, hi: of the quantizer, (C,).
        live: whether anything adds to the column and matters, (C,).
        sets: which columns share a step.
    """

    ratio: FloatArray
    bias: FloatArray
    lo: FloatArray
    hi: FloatArray
    live: NDArray[np.bool_]
    sets: IntArray

    def in_codes(self, steps: Steps, hw: Hardware) -> tuple[FloatArray, FloatArray]:
        """Step of the converters in codes of the quantizer, and where their code 0 lies, (C,) each."""
        coarser = steps.shift >= 0
        step = np.where(coarser, np.exp2(steps.shift), self.ratio * steps.unit)
        zero = np.where(coarser & np.array(hw.adc.offset), 0.0, self.bias)
        return np.where(self.live, step, 1.0), zero

    def in_units(self, steps: Steps) -> FloatArray:
        """Step of the converters in accumulator units, (C,)."""
        coarser = np.exp2(steps.shift) / np.where(self.live, np.abs(self.ratio), 1.0)
        return np.where(steps.shift >= 0, coarser, steps.unit)


def one_conversion(
    matrix: Matrix, requant: Requant, factor: IntArray, inputs: Inputs, hw: Hardware, node: str
) -> tuple[Matrix, Requant]:
    """The matrix with its converter, and the requantization of the converter's codes.

    Without recorded inputs it takes the quantizer's range where the hardware can have that step, else the step of least
    error over that range; with them the step and range of least error on what was recorded. The converter counts
    accumulator units of the matrix; its cells hold ``factor`` (C,) times the codes.

    Raises:
        ModelError: SSMC-R01 where no realisation fits 62-bit integers.
    """
    steps, first = chosen_steps(matrix.codes, requant, factor, inputs, hw)
    return _realised(matrix, requant, factor, steps, first, inputs, hw, node)


def chosen_factors(factors: Factors, following: Following) -> tuple[str, IntArray]:
    """Why the converters cannot be the quantizer that follows, empty where they can; and the factors taken (C,)."""
    alike = factors.alike
    held = following if alike is None else _held(following, alike)
    why = why_not_quantizer(factors.codes, held, factors.hw)
    return why, factors.freely if why or alike is None else alike


class _Held(NamedTuple):
    """`Following` of what cells hold."""

    ratio: Sequence[Fraction]
    bias: Sequence[Fraction | float]
    lo: IntArray
    hi: IntArray


def _held(following: Following, factor: IntArray) -> _Held:
    ratio = [Fraction(r) / k for r, k in zip(following.ratio, factor.tolist(), strict=True)]
    return _Held(ratio, following.bias, following.lo, following.hi)


def chosen_steps(
    codes: IntArray, following: Following, factor: IntArray, inputs: Inputs, hw: Hardware
) -> tuple[Steps, IntArray]:
    """Steps and first codes (C,) of the converters of ``factor`` (C,) times codes (G, out, in), C = G out."""
    codes, following = codes * factor.reshape(*codes.shape[:2], 1), _held(following, factor)
    q = _quantizers(codes, following, hw)
    alike = same_ratios(following.ratio, np.where(q.live, q.sets, -1).tolist())
    columns = _expected(codes, q, inputs)
    trials = list(_coarser(q, hw, inputs.seen is not None)) if alike else []
    if not alike or inputs.seen is not None:
        trials += list(_free(q, columns, hw))
    looked = [window_error(columns, *q.in_codes(steps, hw), hw) for steps in trials]
    errors, units = np.stack([error for _, error in looked], 1), np.stack([q.in_units(s) for s in trials], 1)
    shared = len(set(q.sets.tolist())) < len(q.sets)
    index = fewest_shared(errors, units, q.sets, q.live) if shared else best_shared(errors, q.sets)

    def chosen(options: Sequence[NDArray[np.generic]]) -> NDArray[np.generic]:
        return np.stack(options, 1)[np.arange(len(index)), index]

    steps = Steps(*(chosen(options) for options in zip(*trials, strict=True)))  # type: ignore[arg-type]
    first = chosen([window for window, _ in looked]).astype(np.int64)
    first = np.where(q.live, first, np.clip(first, 1 - (1 << hw.adc.bits), 0))  # a dead column gives code 0
    return Steps(np.where(q.live, steps.shift, -1), steps.unit), first


def why_not_quantizer(codes: IntArray, following: Following, hw: Hardware) -> str:
    """Why the converters of codes (G, out, in) cannot be the quantizer itself; empty where they can."""
    wide = max(bits_for(int(lo), int(hi)) for lo, hi in zip(following.lo, following.hi, strict=True))
    if wide > hw.adc.bits:
        return f"{wide}-bit outputs, {hw.adc.bits}-bit converter"
    if not hw.adc.offset and (any(following.bias) or not _natural_ranges(following, hw)):
        return "converter without programmable offset"
    live = live_columns(codes)
    sets = np.where(live, step_sets(live, 1, hw)[0], -1)
    if not same_ratios(following.ratio, sets.ravel().tolist()):
        return f"outputs with unlike steps, adc.step = {hw.adc.step}"
    return ""


def _natural_ranges(following: Following, hw: Hardware) -> bool:
    """Whether every code range lies in the signed or in the unsigned range of the converter."""
    half = 1 << (hw.adc.bits - 1)
    signed = (following.lo >= -half) & (following.hi < half)
    return bool((signed | ((following.lo >= 0) & (following.hi < 2 * half))).all())


def _quantizers(codes: IntArray, following: Following, hw: Hardware) -> Quantizers:
    ratio, bias = (np.array([float(x) for x in exact]) for exact in (following.ratio, following.bias))
    live = codes.any(-1).ravel() & (ratio != 0)
    sets = step_sets(live_columns(codes), 1, hw).ravel()
    return Quantizers(ratio, bias, following.lo.astype(np.float64), following.hi.astype(np.float64), live, sets)


def _expected(codes: IntArray, q: Quantizers, inputs: Inputs) -> Columns:
    """What the quantizers are given: recorded, or evenly over their range. A dead column has its bias."""
    if inputs.seen is None:
        even = (np.arange(POINTS) + 0.5) / POINTS
        points = q.lo[:, None] - 0.5 + (q.hi - q.lo + 1)[:, None] * even
    else:
        points = q.ratio[:, None] * inputs.sums(codes) + q.bias[:, None]
    points = np.where(q.live[:, None], points, q.bias[:, None])
    ends = np.stack([q.ratio * end.ravel() + q.bias for end in Matrix(codes).reach(*inputs.ends)])
    low, high = (np.clip(end, q.lo, q.hi) for end in (ends.min(0), ends.max(0)))
    return Columns(points, np.ones(1), (low, high), (q.lo, q.hi))


def _coarser(q: Quantizers, hw: Hardware, finer: bool) -> Iterator[Steps]:
    """Whole powers of two of the quantizer's step: those that cover its range first, then finer ones that clip."""
    wide = bit_length((q.hi - q.lo).astype(np.int64) + (q.hi == q.lo)) - hw.adc.bits
    shift = largest_shared(np.where(q.live, np.maximum(wide, 0), 0), q.sets).astype(np.int64)
    yield Steps(shift, np.ones(len(shift)))
    if not hw.adc.offset:
        yield from (Steps(shift + more, np.ones(len(shift))) for more in (1, 2))
    if finer:
        yield from (Steps(np.maximum(shift - less, 0), np.ones(len(shift))) for less in range(1, FINER + 1))


def _free(q: Quantizers, columns: Columns, hw: Hardware) -> Iterator[Steps]:
    """Accumulator units of `short_unit`, from what covers the widest column of a set down.

    The few numbers are the same for every matrix: blocks share an array only where their converters' steps are equal.
    """
    span = np.where(q.live, np.ptp(np.clip(columns.points, q.lo[:, None], q.hi[:, None]), 1), 0.0)
    unit = span / (1 << hw.adc.bits) / np.where(q.live, np.abs(q.ratio), 1.0)
    top = np.maximum(largest_shared(unit, q.sets), 1.0)
    unlike = float((top / np.maximum(unit, 1.0))[q.live].max(initial=1.0))
    octaves = min(int(np.log2(unlike)) + FINER, MOST_OCTAVES)
    above = np.ceil(PER_OCTAVE * np.log2(top)).astype(np.int64)
    for k in range(-1, PER_OCTAVE * octaves + 1):
        yield Steps(np.full(len(top), -1), short_unit(np.maximum(above - k, 0)))


def short_unit(place: IntArray) -> FloatArray:
    """2^(place / 8), (C,), to five significant bits: short binary numbers, exact in float64 and in the graph."""
    octave, part = np.divmod(place, PER_OCTAVE)
    mantissa = round_half_even(np.exp2(part / PER_OCTAVE) * (MANTISSA / 2)) / (MANTISSA / 2)
    return np.asarray(np.ldexp(mantissa, octave))


def _realised(
    matrix: Matrix,
    requant: Requant,
    factor: IntArray,
    steps: Steps,
    first: IntArray,
    inputs: Inputs,
    hw: Hardware,
    node: str,
) -> tuple[Matrix, Requant]:
    """In exact rationals; a converter that gives every sum itself is a partial sum with step 1."""
    last = first + (1 << hw.adc.bits) - 1
    each = factor.tolist(), steps.shift.tolist(), steps.unit.tolist()
    columns = zip(requant.ratio, requant.bias, *each, strict=True)
    numbers = [realised_steps(*column, hw) for column in columns]
    ratio, bias, back, offset = (tuple(column) for column in zip(*numbers, strict=True))
    if all(r == 1 for r in ratio) and not any(bias):
        shape = matrix.codes.shape[:2]
        window = np.ones(shape, np.int64), first.reshape(shape), last.reshape(shape)
        beyond = excess(matrix.codes, inputs.ends, *window)
        part = PartialSum(matrix.codes, (0, matrix.inputs), None, 1, *window, beyond)
        lowered = Matrix(matrix.codes, (part,))
    else:
        low, high = (end.ravel() for end in matrix.reach(*inputs.ends))
        lowered = Matrix(matrix.codes, converter=make_requant(ratio, bias, first, last, (low, high), node))
    return lowered, realised_over(replace(requant, ratio=back, bias=offset), lowered, inputs, node)


def realised_steps(
    ratio: Fraction, bias: Fraction, factor: int, shift: int, unit: float, hw: Hardware
) -> tuple[Fraction, Fraction, Fraction, Fraction]:
    """Ratio and bias of the converter, then of what is behind it, which multiplies by float64 numbers."""
    if shift < 0:
        counted = Fraction(unit) / factor
        back = ratio * counted
        if Fraction(float(counted)) != counted:
            back, bias = Fraction(float(back)), Fraction(float(bias))
        return 1 / counted, Fraction(0), back, bias
    if hw.adc.offset:
        return ratio / (1 << shift), bias / (1 << shift), Fraction(1 << shift), Fraction(0)
    return ratio / (1 << shift), Fraction(0), Fraction(1 << shift), Fraction(float(bias))


def realised_over(requant: Requant, matrix: Matrix, inputs: Inputs, node: str) -> Requant:
    """The same rational map, realised over what the matrix, through its converters, can reach."""
    low, high = matrix.reach(*inputs.ends)
    return make_requant(requant.ratio, requant.bias, requant.lo, requant.hi, (low.ravel(), high.ravel()), node)
