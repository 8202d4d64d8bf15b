"""How a matrix is cut to fit arrays: weight slices, bit planes, and which converter serves which column."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from ssmc.conversion.ranges import Range
from ssmc.errors import ModelError
from ssmc.hardware.model import Hardware
from ssmc.ir.quant import bits_for
from ssmc.ir.rounding import IntArray

Position = TypeVar("Position", int, IntArray)


def slice_gains(codes: IntArray, hw: Hardware) -> tuple[int, ...]:
    """Weights of the slices: one slice where a cell holds every code, else powers of the largest binary digit.

    Two's complement has a bit a slice, the highest weighing negative where a code is.
    """
    if hw.cell.scheme == "twos_complement":
        signed, width = bits_of(int(codes.min(initial=0)), int(codes.max(initial=0)))
        return (*(1 << bit for bit in range(width - 1)), (-1 if signed else 1) << (width - 1))
    top = int(np.abs(codes).max(initial=0))
    if top <= hw.largest_digit:
        return (1,)
    bits = (hw.largest_digit + 1).bit_length() - 1
    return tuple(1 << (bits * k) for k in range(-(-top.bit_length() // bits)))


def bits_of(lo: int, hi: int) -> tuple[bool, int]:
    """Whether codes lo..hi have a sign, and the bits of two's complement, at least one, that hold them with it."""
    signed = lo < 0
    return signed, max(hi.bit_length(), (-lo - 1).bit_length() if signed else 1) + signed


def slices(codes: IntArray, gains: tuple[int, ...]) -> list[IntArray]:
    """Digits of the codes, ``codes == sum(gain * slice)``: sign on every digit, or bits of two's complement."""
    if gains[-1] < 0:
        return [codes >> bit & 1 for bit in range(len(gains))]
    if len(gains) == 1:
        return [codes]
    base = gains[1]
    return [np.sign(codes) * (np.abs(codes) // gain % base) for gain in gains]


def drive_planes(name: str, inputs: Range, hw: Hardware) -> tuple[tuple[int, int], ...]:
    """Bits and gains of a serial drive; empty where the drivers take whole codes."""
    lo, hi = min(int(inputs[0].min(initial=0)), 0), max(int(inputs[1].max(initial=0)), 0)
    if hw.dac.bit_serial:
        signed, width = bits_of(lo, hi)
        return tuple((bit, -(1 << bit) if signed and bit == width - 1 else 1 << bit) for bit in range(width))
    if bits_for(lo, hi) > hw.dac.bits:
        fact = f"inputs {lo}..{hi} have {bits_for(lo, hi)} bits, a driver of '{hw.name}' takes {hw.dac.bits}"
        each = (bits_for(min(low, 0), max(high, 0)) for low, high in zip(*(end.flat for end in inputs), strict=True))
        narrow = "quantize signed all that it reads" if max(each) <= hw.dac.bits else "retrain with narrower codes"
        remedy = f"{narrow}, use hardware with dac.bit_serial, or run it digital: --place auto"
        raise ModelError("SSMC-A02", fact, remedy, name)
    return ()


def outputs_per_tile(slice_count: int, hw: Hardware) -> int:
    """Outputs that fit the columns of one array."""
    return (hw.array.columns - hw.reference_columns) // (hw.cells_per_code * slice_count)


def converter_of(
    output: Position, slice_index: int, slice_count: int, hw: Hardware, column: Position | int = 0
) -> Position:
    """Converter, within its array, of outputs counted from the tile's first, which starts at a physical column.

    Converters interleave the columns of an array, a pair being one: the next column goes to the next converter.
    """
    return (column // hw.cells_per_code + output * slice_count + slice_index) % hw.adcs_per_array
