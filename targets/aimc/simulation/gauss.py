"""Normal draws that depend on nothing but their address: counter-based, compiled, in lanes.

A lane has a 64-bit key (chip, time, sequence, operation); the draw at counter c is a function of (key, c) alone, so
batching, sorting and threads cannot change it. Bits: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014),

    z = key + c * 0x9E3779B97F4A7C15;  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9
    z = (z ^ z >> 27) * 0x94D049BB133111EB;  z ^= z >> 31

Normals: Box-Muller on the upper and lower 23 bits, ``sqrt(-2 ln u) (cos, sin)(2 pi w)``, float32, with polynomials
that are vectorised (relative error 2e-7). Largest draw: sqrt(2 ln 2^24) = 5.8 sigma.
"""
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import float32, int32, uint64
from numpy.typing import NDArray

FAST = {"contract", "nsz", "arcp", "nnan", "reassoc"}
GOLDEN = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1
HALF_ROOT = 0x3F3504F3  # float32 bits of sqrt(1/2)
LN2 = 0.6931471805599453

# Compiled loops are cached on disk and made anew when their own file changes; after a change to what they call in
# another file, delete __pycache__.
compiled: Any = numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
inlined: Any = numba.njit(inline="always")


def derive(key: int, *parts: int) -> int:
    """A 64-bit key from a key and integers, by SplitMix64."""
    for part in parts:
        z = (key + (part + 1) * GOLDEN) & MASK
        z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) & MASK
        key = z ^ z >> 31
    return key


def lane_keys(key: int, ids: NDArray[np.int64]) -> NDArray[np.uint64]:
    """One key per sequence."""
    return np.array([derive(key, index) for index in ids.tolist()], np.uint64)


@inlined
def normal_pairs(keys, counter, first, second, high, low):
    """Two draws per lane into ``first`` and ``second`` (L,) float32; ``high`` and ``low`` (L,) int32 are scratch."""
    for lane in range(len(keys)):
        z = keys[lane] + counter * uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> uint64(27))) * uint64(0x94D049BB133111EB)
        z = z ^ (z >> uint64(31))
        high[lane] = int32(z >> uint64(41))
        low[lane] = int32(z & uint64(0x7FFFFF))
    for lane in range(len(keys)):
        # u = (high + 1/2) / 2^23 = m 2^e, m in [sqrt(1/2), sqrt(2)):  ln u = e ln 2 + 2 artanh((m - 1) / (m + 1))
        bits = int32(np.float32(float32(high[lane]) + float32(0.5)).view(np.int32) - int32(HALF_ROOT))
        m = np.int32(int32(bits & int32(0x7FFFFF)) + int32(HALF_ROOT)).view(np.float32)
        s = (m - float32(1)) / (m + float32(1))
        w = s * s
        series = float32(1) + w * (float32(1 / 3) + w * (float32(1 / 5) + w * (float32(1 / 7) + w * float32(1 / 9))))
        log = (float32(int32(bits >> int32(23))) - float32(23)) * float32(LN2) + float32(2) * s * series
        radius = np.sqrt(float32(-2) * log)
        quadrant = int32(low[lane] >> int32(21))
        f = (float32(int32(low[lane] & int32(0x1FFFFF))) + float32(0.5 - 2**20)) * float32(np.pi / 2**22)
        g = f * f
        sin = f * (float32(1) + g * (float32(-1 / 6) + g * (float32(1 / 120) + g * float32(-1 / 5040))))
        tail = float32(1 / 24) + g * (float32(-1 / 720) + g * float32(1 / 40320))
        cos = float32(1) + g * (float32(-0.5) + g * tail)
        odd = int32(quadrant & int32(1)) != int32(0)
        signed = radius * float32(int32(int32(1) - int32(quadrant & int32(2))))
        first[lane] = signed * (sin if odd else cos)
        second[lane] = signed * (cos if odd else sin)


@compiled
def fill_normals(keys, counter, out):
    """Draws (2 P, L): pair p of lane l is that of (keys[l], counter + p)."""
    lanes = len(keys)
    high, low = np.empty(lanes, np.int32), np.empty(lanes, np.int32)
    for pair in range(out.shape[0] // 2):
        normal_pairs(keys, uint64(counter + pair), out[2 * pair], out[2 * pair + 1], high, low)
