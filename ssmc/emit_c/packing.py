"""Weights in flash: bytes, 16-bit words, or several codes a byte.

Widths of a packed code, chosen as the narrowest that holds every code of the matrix:

====== ============== =============================================
bits   codes          stored as
====== ============== =============================================
1      -1, +1         ``(code + 1) / 2``
2      -2..1          two's complement (ternary codes among them)
4      -8..7          two's complement
8, 16  the rest       ``int8_t``, ``int16_t`` (no packing)
====== ============== =============================================

The first code of a byte lies in its lowest bits. Every row (the unit that is unpacked at once) begins at a byte.
"""

from __future__ import annotations

import numpy as np

from ssmc.emit_c.widths import holding
from ssmc.ir.rounding import IntArray

SUB_BYTE = (1, 2, 4)


def packed_bits(codes: IntArray) -> int:
    """Width of one stored code, 1 to 32."""
    lo, hi = int(codes.min(initial=0)), int(codes.max(initial=0))
    if codes.size and bool((np.abs(codes) == 1).all()):
        return 1
    for bits in SUB_BYTE[1:]:
        if -(1 << (bits - 1)) <= lo and hi < 1 << (bits - 1):
            return bits
    stored = holding([lo, hi, -1])
    return stored.bits


def pack_rows(codes: IntArray, bits: int) -> IntArray:
    """Codes (rows, n) to bytes (rows, ceil(n bits / 8)), each 0..255; ``bits`` of 1, 2 or 4."""
    per_byte = 8 // bits
    fields = (codes + 1) // 2 if bits == 1 else codes & ((1 << bits) - 1)
    rows, n = codes.shape
    padded = np.zeros((rows, -(-n // per_byte) * per_byte), np.int64)
    padded[:, :n] = fields
    shifts = bits * np.arange(per_byte)
    return np.asarray((padded.reshape(rows, -1, per_byte) << shifts).sum(-1), np.int64)
