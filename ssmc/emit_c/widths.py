"""C integer types by range: the narrowest that holds every value, so that nothing can overflow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ssmc.ir.rounding import IntArray


@dataclass(frozen=True)
class CType:
    """An exact-width integer type of ``stdint.h``.

    Attributes:
        name: as written in C.
        bits: width.
        signed: two's complement, or unsigned.
    """

    name: str
    bits: int
    signed: bool

    @property
    def bytes(self) -> int:
        """Size, and alignment, on the processors this is for."""
        return self.bits // 8

    @property
    def lo(self) -> int:
        """Smallest value."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def hi(self) -> int:
        """Largest value."""
        return (1 << (self.bits - self.signed)) - 1

    @property
    def dtype(self) -> str:
        """The numpy dtype."""
        return f"<{'i' if self.signed else 'u'}{self.bytes}"


INT8, UINT8, INT16, UINT16, INT32, INT64 = (
    CType(f"{'' if signed else 'u'}int{bits}_t", bits, signed)
    for bits, signed in ((8, True), (8, False), (16, True), (16, False), (32, True), (64, True))
)
UINT32 = CType("uint32_t", 32, False)
STORED = (INT8, UINT8, INT16, UINT16, INT32, INT64)


def narrowest(lo: int, hi: int, word: int = 8) -> CType:
    """The narrowest type of at least ``word`` bits that holds lo..hi."""
    return next(t for t in STORED if t.lo <= lo and hi <= t.hi and t.bits >= word)


def holding(values: ArrayLike) -> CType:
    """The narrowest type that holds every element."""
    array: IntArray = as_ints(values)
    return narrowest(int(array.min(initial=0)), int(array.max(initial=0)))


def accumulator(reach: int) -> CType:
    """``int32_t`` where every intermediate result stays within it, else ``int64_t``."""
    return INT32 if reach < 1 << 31 else INT64


def as_ints(values: ArrayLike) -> IntArray:
    """int64 array."""
    return np.asarray(values, np.int64)
