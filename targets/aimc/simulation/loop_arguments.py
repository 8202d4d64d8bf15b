"""The named tuples that the compiled loops take: numba reads their fields by name in compiled code too.

P parts, G groups, J outputs and I inputs of a group, n states of a group, L lanes. The loops are cached on disk and do
not see that a field moved: after a change to this file, delete __pycache__.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float32]
Whole = NDArray[np.int64]


class ProductArrays(NamedTuple):
    """A product of a tile program on one chip (equation: `numba_kernels`).

    Attributes:
        weight: what the cells hold, in codes, (P, G, J, I) float32; 2 I where a part is signed.
        variance: of its read noise, of the same shape; empty (size 0) where nothing is noisy.
        shared: variance common to the columns of a tile, (P, G, tiles, I); empty where there is none.
        tile_of: tile, within its group, of every output, (J,).
        spans: first row and end of every part, (P, 2).
        planes: bit of the input codes that a part takes, (P,); -1: whole codes.
        signed: positive and negative codes drive rows of their own, (P,) bool.
        ratio, bias: converter input per held sum, (P, G, J) float32.
        lo, hi: converter range, (P, G, J) float32.
        bow: integral non-linearity of the converter in steps, (P, G, J) float32.
        fresh: variance of the converter's noise, in squared units of the held sum, (P, G, J) float32.
        key: name of the converter, (P, G, J) uint32.
        uneven: spread of the widths of its codes, (1,) float32; 0: they are even.
        straight: no converter bends or has uneven codes, (1,) bool.
        gain: of a part's codes in the sum of all parts, (P, G, J) float32.
        live: outputs whose code can differ from 0, (P, G, J) bool; the others are not computed.
    """

    weight: Real
    variance: Real
    shared: Real
    tile_of: Whole
    spans: Whole
    planes: Whole
    signed: NDArray[np.bool_]
    ratio: Real
    bias: Real
    lo: Real
    hi: Real
    bow: Real
    fresh: Real
    key: NDArray[np.uint32]
    uneven: Real
    straight: NDArray[np.bool_]
    gain: Real
    live: NDArray[np.bool_]


class RequantArrays(NamedTuple):
    """An integer requantization without threshold tables, int64 of one shape: (G, J), or (channels,).

    ``clip(round_half_even((multiplier x + offset) / 2^shift), lo, hi)``; where ``divisor`` is not 0, divided by it
    instead. All fields are empty (size 0) where the converter is the quantizer.
    """

    multiplier: Whole
    offset: Whole
    shift: Whole
    divisor: Whole
    lo: Whole
    hi: Whole


class StateArrays(NamedTuple):
    """The registers of a kernel, (G, n) float32.

    Attributes:
        keep: 1 in delta form, 0 in direct form.
        inverse: ``2^-shift`` of the read-out.
        dac_lo, dac_hi: range of the read-out codes.
        lo, hi: range of the register.
        initial: register before the first step.
    """

    keep: Real
    inverse: Real
    dac_lo: Real
    dac_hi: Real
    lo: Real
    hi: Real
    initial: Real


class Workspace(NamedTuple):
    """Scratch of one product at one step, one row of L lanes per input, output or tile.

    Attributes:
        drive, square: codes on the rows, and their squares.
        held, spread: sums of the columns, and the variances of their noise.
        draws: normal draws.
        common: variances of the tiles' offset columns.
        high, low: upper and lower bits of a draw, (L,) int32.
    """

    drive: Real
    square: Real
    held: Real
    spread: Real
    draws: Real
    common: Real
    high: NDArray[Any]
    low: NDArray[Any]
