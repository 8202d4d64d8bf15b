"""A finite impulse response over time as a state space whose states are the last inputs: ``s' = [u, s_1, ...]``."""

from __future__ import annotations

import numpy as np

from ssmc.folding.signals import Convolved, Mixed
from ssmc.ir.rounding import FloatArray


def read_out(signal: Convolved | Mixed) -> tuple[FloatArray, int]:
    """Rows (G, p, n + m) of [states, inputs] in units of a code of the source, and the inputs m of a group.

    A depthwise convolution has a group for every channel, another one group with all of them.
    """
    if isinstance(signal, Convolved):
        taps = signal.taps * signal.source.scale[:, None]
        return np.concatenate([taps[:, 1:], taps[:, :1]], 1)[:, None], 1
    taps = signal.taps * signal.source.scale[None, :, None]
    lagged = np.concatenate([taps[..., 1:], taps[..., :1]], 2).transpose(0, 2, 1)
    return lagged.reshape(1, signal.size, -1), signal.source.size


def registers(groups: int, n: int, m: int, lo: int, hi: int) -> dict[str, FloatArray]:
    """What moves n states and m inputs a group on by one step, codes lo..hi as they are."""
    shift = np.zeros((groups, n, n + m))
    shift[:, np.arange(m), n + np.arange(m)] = 1.0
    shift[:, np.arange(m, n), np.arange(n - m)] = 1.0
    edge = np.ones((groups, n))
    return {
        "W": shift,
        **dict.fromkeys(("gain", "step", "unit"), edge),
        **dict.fromkeys(("offset", "keep", "r0"), 0 * edge),
        **dict.fromkeys(("lo", "dac_lo", "reg_lo"), lo * edge),
        **dict.fromkeys(("hi", "dac_hi", "reg_hi"), hi * edge),
    }
