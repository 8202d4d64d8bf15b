"""Partial sums of a matrix: lossless where the converter covers all that can be reached, else of least squared error.

A lossy partial sum has a step of 2^e accumulator units, so that the digital unit adds shifted codes. Its range is not
what a proof of no overflow would need, but what the sums are expected to be (`column_sums`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from ssmc.conversion.column_sums import Inputs
from ssmc.conversion.converter_steps import Columns, step_sets, window_error
from ssmc.conversion.cuts import bits_of, slices
from ssmc.conversion.ranges import Range
from ssmc.hardware.model import Hardware
from ssmc.ir.connectivity import live_columns
from ssmc.ir.matrix import Matrix, PartialSum, excess
from ssmc.ir.parts import driven
from ssmc.ir.requant import Requant
from ssmc.ir.rounding import FloatArray, IntArray
from ssmc.targets.aimc.lowering.shared_exponents import shared_exponents


@dataclass(frozen=True)
class Cut:
    """One conversion of every output: a slice of some rows, driven by whole codes or by one bit of them.

    Attributes:
        codes: digits (G, out, rows).
        rows: which inputs, (start, stop).
        piece: number of the slice.
        plane: bit of the input codes; None: whole codes.
        gain: of the slice, without that of the bit.
        plane_gain: of the bit.
    """

    codes: IntArray
    rows: tuple[int, int]
    piece: int
    plane: int | None
    gain: int
    plane_gain: int

    def inputs(self, inputs: Inputs) -> Inputs:
        """What drives it."""
        return inputs.of(self.rows).driven(self.plane)


def every_cut(
    codes: IntArray, rows: Sequence[tuple[int, int]], gains: tuple[int, ...], planes: Sequence[tuple[int, int]]
) -> tuple[Cut, ...]:
    """The conversions of codes (G, out, in): by rows, then slices, then bits."""
    return tuple(
        Cut(np.ascontiguousarray(digits[:, :, span[0] : span[1]]), span, piece, plane, gain, plane_gain)
        for span in rows
        for piece, (gain, digits) in enumerate(zip(gains, slices(codes, gains), strict=True))
        for plane, plane_gain in planes or ((None, 1),)
    )


def lossless_parts(cuts: Sequence[Cut], inputs: Range, hw: Hardware) -> tuple[PartialSum, ...]:
    """Partial sums with step 1; none where a converter does not cover all that some column can reach."""
    found = []
    for cut in cuts:
        ends = driven((inputs[0][:, slice(*cut.rows)], inputs[1][:, slice(*cut.rows)]), cut.plane)
        low, high = Matrix(cut.codes).reach(*ends)
        window = whole_window(int(low.min(initial=0)), int(high.max(initial=0)), hw)
        if window is None:
            return ()
        one = np.ones(low.shape, np.int64)
        numbers = one, window[0] * one, window[1] * one
        found.append(PartialSum(cut.codes, cut.rows, cut.plane, cut.gain * cut.plane_gain, *numbers, 0 * one))
    return tuple(found)


def whole_window(low: int, high: int, hw: Hardware) -> tuple[int, int] | None:
    """The range of codes with which the converter gives every sum low..high itself; None where it has too few.

    An adder tree of a digital macro is as wide as its sums.
    """
    levels = 1 << (max(hw.adc.bits, bits_of(low, high)[1]) if hw.exact_cells else hw.adc.bits)
    if hw.adc.offset and high - low < levels:
        first = low - (levels - 1 - (high - low)) // 2
        return first, first + levels - 1
    if low >= 0 and high < levels:
        return 0, levels - 1
    if -levels // 2 <= low and high < levels // 2:
        return -levels // 2, levels // 2 - 1
    return None


def lossy_parts(cuts: Sequence[Cut], requant: Requant, inputs: Inputs, hw: Hardware) -> tuple[PartialSum, ...]:
    """Partial sums whose steps have the least squared error, in codes of each output's own quantizer.

    A converter has one setting: the bits of a serial drive share it, and columns as ``adc.step`` says.
    """
    ratio = np.array([abs(float(r)) for r in requant.ratio])
    parts: list[PartialSum] = []
    for _, split in groupby(cuts, key=lambda cut: cut.rows):
        pieces = [list(piece) for _, piece in groupby(split, key=lambda cut: cut.piece)]
        found = [_expected(piece, inputs, ratio) for piece in pieces]
        live = np.any([live_columns(piece[0].codes) for piece in pieces], 0)
        sets = step_sets(live, len(pieces), hw).reshape(len(pieces), -1)
        exponents = shared_exponents(found, sets, hw)
        for piece, columns, exponent in zip(pieces, found, exponents, strict=True):
            first, _ = window_error(columns, np.exp2(exponent), np.zeros(len(exponent)), hw)
            parts += [_part(cut, 1 << exponent, first, inputs, hw) for cut in piece]
    return tuple(parts)


def _expected(piece: Sequence[Cut], inputs: Inputs, ratio: FloatArray) -> Columns:
    """The sums of one slice, all bits of the drive together."""
    points = [cut.inputs(inputs).sums(cut.codes) for cut in piece]
    gains = np.concatenate(
        [np.full(p.shape[1], float(cut.gain * cut.plane_gain)) for cut, p in zip(piece, points, strict=True)]
    )
    ends = [Matrix(cut.codes).reach(*cut.inputs(inputs).ends) for cut in piece]
    low = np.min([end[0].ravel() for end in ends], 0).astype(np.float64)
    high = np.max([end[1].ravel() for end in ends], 0).astype(np.float64)
    free = np.full(len(low), np.inf)
    return Columns(np.concatenate(points, 1), (ratio[:, None] * gains) ** 2, (low, high), (-free, free))


def _part(cut: Cut, step: IntArray, first: IntArray, inputs: Inputs, hw: Hardware) -> PartialSum:
    shape = cut.codes.shape[:2]
    numbers = step.reshape(shape), first.reshape(shape), first.reshape(shape) + (1 << hw.adc.bits) - 1
    beyond = excess(cut.codes, cut.inputs(inputs).ends, *numbers)
    return PartialSum(cut.codes, cut.rows, cut.plane, cut.gain * cut.plane_gain, *numbers, beyond)
