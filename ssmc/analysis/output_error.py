"""The error of a kernel at its output, weighted by its own input.

For impulse responses k and f, e = k - f, and an input u with autocorrelation r_l = mean of u[t] u[t + l], the mean
square of the difference of the outputs is

    E |e * u|^2 = sum_(s, t) e_s e_t r_|s - t| = e^T R e,        R Toeplitz

the H2 norm weighted by the input's spectrum; a white input gives the plain one. Both responses end after L steps.
For an input that is 0 outside of its N steps, with r_l = sum_t u[t] u[t + l] / N, it is exact.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ssmc.ir.rounding import FloatArray

WHITE = 1e-6  # white input that is added to what was seen, of its power: no direction is free


def autocorrelation(inputs: Iterable[FloatArray], lags: int) -> FloatArray:
    """R (H, L) for lags 0..L-1 of batches of sequences (N, T, H), which are 0 before and after."""
    total, count = np.zeros(()), 0
    for u in inputs:
        size = 1 << (u.shape[1] + lags - 1).bit_length()
        spectrum = (np.abs(np.fft.rfft(u, size, axis=1)) ** 2).sum(0)
        total = total + np.fft.irfft(spectrum, size, axis=0)[:lags].T
        count += u.shape[0] * u.shape[1]
    return np.asarray(total / max(count, 1))


@dataclass(frozen=True)
class Weighting:
    """R of every channel, from autocorrelations r (H, L) of which r_0 is above 0."""

    r: FloatArray

    @cached_property
    def _spectrum(self) -> NDArray[np.complex128]:
        """Of a circulant of twice the size that holds R, (H, 1, F)."""
        lags = self.r.shape[1]
        ring = np.zeros((len(self.r), self.size))
        ring[:, :lags] = self.r
        ring[:, 0] *= 1 + WHITE
        ring[:, self.size - lags + 1 :] = self.r[:, :0:-1]
        return np.fft.rfft(ring, axis=1)[:, None]

    @property
    def size(self) -> int:
        """Length of the transforms."""
        return 1 << int(2 * self.r.shape[1] - 1).bit_length()

    def __call__(self, responses: FloatArray) -> FloatArray:
        """``R x`` for responses x (H, ..., L)."""
        flat = responses.reshape(len(self.r), -1, self.r.shape[1])
        found = np.fft.irfft(np.fft.rfft(flat, self.size, axis=2) * self._spectrum, self.size, axis=2)
        return np.asarray(found[..., : self.r.shape[1]].reshape(responses.shape))

    def power(self, response: FloatArray) -> FloatArray:
        """Mean output power e^T R e (H,) of responses e (H, L)."""
        return np.asarray((response * self(response)).sum(-1))
