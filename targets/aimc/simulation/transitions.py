"""Where the codes of a real converter begin: transition levels that are not evenly spaced (differential nonlinearity).

Code k of an ideal converter begins at k - 1/2, of a real one at t_k = k - 1/2 + d_k with independent d_k of spread
s / sqrt 2, so that the widths t_(k+1) - t_k have spread s (`noise.adc_dnl_lsb`); d_k is cut to half a code, so that
transitions keep their order. d_k is a function of converter and code alone, the four bytes of a 32-bit hash, summed and
scaled: mean 0, none beyond 3.45 spreads. `numba_kernels.uneven` is the same in compiled loops.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ssmc.hardware.conductances import Real

#: deviation of the sum of four uniform bytes, whose mean is 510
BYTES_STD = float(np.sqrt(4 * (256**2 - 1) / 12))
WORD = np.uint32


def _mixed(x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """A hash of 32 bits to 32 bits ("lowbias32", Wellons 2018)."""
    x = (x ^ (x >> WORD(16))) * WORD(0x7FEB352D)
    x = (x ^ (x >> WORD(15))) * WORD(0x846CA68B)
    return np.asarray(x ^ (x >> WORD(16)))


def displaced(codes: Real, keys: NDArray[np.uint32], spread: float) -> Real:
    """d_k of codes k, of converters with these keys; both of one shape, or broadcast."""
    words = codes.astype(np.int64).astype(WORD) + keys
    x = _mixed(words.astype(WORD))
    total = sum(((x >> WORD(8 * byte)) & WORD(255)).astype(np.float64) for byte in range(4))
    return np.asarray(np.clip((total - 510) * (spread / np.sqrt(2) / BYTES_STD), -0.5, 0.5))


def uneven_codes(x: Real, keys: NDArray[np.uint32], spread: float) -> Real:
    """Codes of unrounded ones: the largest k with t_k <= x."""
    below = np.floor(x)
    return np.asarray(below + (x - below >= 0.5 + displaced(below + 1, keys, spread)))
