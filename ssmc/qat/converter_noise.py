"""Noise of converters, drawn inside the compiled loops and never stored.

A draw is a function of its address (seed, head, step, column, sequence), so what is computed again for the gradient
meets the same noise, whatever the order and the number of threads. ``noise`` None is no noise: numba then compiles the
loops without it.
"""

from __future__ import annotations

import numpy as np
import torch

from ssmc.qat.threads import jit

Noise = tuple[np.float32, np.uint32]  # standard deviation in ADC steps, seed
BYTES_STD = np.float32(np.sqrt(4 * (256**2 - 1) / 12))  # of the sum of four uniform bytes


def drawn(sigma: float) -> Noise:
    """Noise of standard deviation ``sigma``, seeded by torch's generator."""
    return np.float32(sigma), np.uint32(torch.randint(1 << 32, ()).item())


@jit
def _mixed(x):  # type: ignore[no-untyped-def]
    """A hash of 32 bits to 32 bits ("lowbias32", Wellons 2018); numba widens to 64 what is not cast."""
    x = np.uint32(x ^ (x >> np.uint32(16)))
    x = np.uint32(x * np.uint32(0x7FEB352D))
    x = np.uint32(x ^ (x >> np.uint32(15)))
    x = np.uint32(x * np.uint32(0x846CA68B))
    return np.uint32(x ^ (x >> np.uint32(16)))


@jit
def key_of(noise, head, step, column):  # type: ignore[no-untyped-def]
    """Where the draws of one converter at one step begin."""
    if noise is None:
        return np.uint32(0)
    key = _mixed(np.uint32(noise[1] + np.uint32(head)))
    key = _mixed(np.uint32(key + np.uint32(step)))
    return _mixed(np.uint32(key + np.uint32(column)))


@jit
def draw(key, n):  # type: ignore[no-untyped-def]
    """Mean 0, variance 1: the four bytes of a hash, summed. Nearly Gaussian: kurtosis 2.7, none beyond 3.45."""
    x = _mixed(np.uint32(key + np.uint32(n)))
    pairs = np.uint32(x & np.uint32(0x00FF00FF)) + np.uint32((x >> np.uint32(8)) & np.uint32(0x00FF00FF))
    total = np.int32((pairs & np.uint32(0xFFFF)) + (pairs >> np.uint32(16)))
    return (np.float32(total) - np.float32(510)) / BYTES_STD


@jit
def analog(z, noise, key, n):  # type: ignore[no-untyped-def]
    """What the converter of sequence n sees."""
    if noise is None:
        return z
    return z + noise[0] * draw(key, n)
