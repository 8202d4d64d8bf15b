"""Predicted power of the error at a kernel's output, by mode."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ssmc.analysis.noise import lyapunov
from ssmc.analysis.refit import fitted
from ssmc.ir.rounding import FloatArray
from ssmc.quantize.modes import Modes

FREQUENCIES = 256


def spectrum(fed: list[FloatArray]) -> FloatArray:
    """Mean periodogram of the inputs, (F, G, m): its mean over F is their power."""
    total, count = np.zeros((FREQUENCIES, *fed[0].shape[1:])), 0
    for u in fed:
        for start in range(0, len(u), FREQUENCIES):
            total += np.abs(np.fft.fft(u[start : start + FREQUENCIES], FREQUENCIES, 0)) ** 2
        count += len(u)
    return total / max(count, 1)


def coefficient_error(modes: Modes, A: FloatArray, B: FloatArray, spectrum: FloatArray, refit: bool) -> FloatArray:
    """Power at the output by coefficients off their value: mean over frequency of |H_quantized - H|^2 S_u, (G, K).

    With ``refit`` what is left by the C that fits best.
    """
    z = np.exp(2j * np.pi * np.arange(FREQUENCIES) / FREQUENCIES)
    C = np.moveaxis(modes.C, 2, 1)  # (G, K, p, 2)
    gram, moment, energy = np.zeros(A.shape), np.zeros(C.shape), np.zeros(A.shape[:2])
    for point, power in zip(z, spectrum, strict=True):
        x, wanted = (_resolvent(point, a) @ b for a, b in ((A, B), (modes.A, modes.B)))
        y, weighted = C @ wanted, (x * power[:, None, None, :]).conj().swapaxes(-1, -2)
        gram += (x @ weighted).real
        moment += (y @ weighted).real
        energy += (np.abs(y) ** 2 * power[:, None, None, :]).sum((-1, -2))
    best = fitted(gram, moment, C) if refit else C
    left = energy + ((best @ gram - 2 * moment) * best).sum((-1, -2))
    return np.asarray(np.maximum(left, 0) / FREQUENCIES)


def _resolvent(z: complex, A: FloatArray) -> NDArray[np.complex128]:
    """(z - A)^-1 of 2 x 2 blocks."""
    a, b, c, d = A[..., 0, 0], A[..., 0, 1], A[..., 1, 0], A[..., 1, 1]
    adjoint = np.stack([np.stack([z - d, b], -1), np.stack([c, z - a], -1)], -2)
    return np.asarray(adjoint / ((z - a) * (z - d) - b * c)[..., None, None])


def converter_noise(modes: Modes, A: FloatArray, sigma: FloatArray, shift: FloatArray, delta: bool) -> FloatArray:
    """Noise power at the output by the white-noise model (`ssmc.analysis.noise`), in real units, (G, K)."""
    out = np.moveaxis(modes.C, 2, 1)
    W = lyapunov(A.swapaxes(-1, -2), out.swapaxes(-1, -2) @ out)
    noise = (sigma / np.exp2(shift)) ** 2 / 12 * np.trace(W, axis1=-2, axis2=-1)
    if not delta:
        return np.asarray(noise)
    change = A - np.eye(2)
    through = np.trace(change.swapaxes(-1, -2) @ W @ change, axis1=-2, axis2=-1) + (out**2).sum((-1, -2))
    return np.asarray(noise + np.where(shift > 0, sigma**2 / 12 * through, 0.0))
