"""Predicted power of the error at a kernel's output, by mode."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ssmc.analysis.noise import lyapunov
from ssmc.analysis.refit import fitted
from ssmc.ir.rounding import FloatArray
from ssmc.quantize.modes import Modes

FREQUENCIES = 256
CACHED = 1 << 17


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

    With ``refit`` what is left by the C that fits best. Spectra of real signals are even: half the circle is enough.
    """
    half = np.arange(FREQUENCIES // 2 + 1)
    z = np.exp(2j * np.pi * half / FREQUENCIES)
    power = spectrum[half] * np.where(half % (FREQUENCIES // 2), 2, 1)[:, None, None]
    sums = np.zeros((3, *A.shape))
    for part in np.array_split(half, -(-B.size * len(half) // CACHED)):
        made, wanted = (_response(z[part], a, b) for a, b in ((A, B), (modes.A, modes.B)))
        weighted = power[part][:, :, None, None]
        for i, (x, y) in enumerate(((made, made), (wanted, made), (wanted, wanted))):
            sums[i] += _products(x, y * weighted)
    gram, cross, energy = sums
    C = np.moveaxis(modes.C, 2, 1)  # (G, K, p, 2)
    moment = C @ cross
    best = fitted(gram, moment, C) if refit else C
    left = ((C @ energy) * C).sum((-1, -2)) + ((best @ gram - 2 * moment) * best).sum((-1, -2))
    return np.asarray(np.maximum(left, 0) / FREQUENCIES)


def _response(z: NDArray[np.complex128], A: FloatArray, B: FloatArray) -> NDArray[np.complex128]:
    """(z - A)^-1 B of 2 x 2 blocks, (F, G, K, 2, m)."""
    a, b, c, d = (A[..., i, j, None] for i in (0, 1) for j in (0, 1))
    z = z[:, None, None, None]
    upper, lower = (z - d) * B[..., 0, :] + b * B[..., 1, :], c * B[..., 0, :] + (z - a) * B[..., 1, :]
    return np.asarray(np.stack([upper, lower], -2) / ((z - a) * (z - d) - b * c)[..., None, :])


def _products(x: NDArray[np.complex128], y: NDArray[np.complex128]) -> FloatArray:
    """Real part of the sum over frequencies and inputs of x_i y_j*, (G, K, 2, 2)."""
    pairs = [[(x[..., i, :] * y[..., j, :].conj()).real.sum((0, -1)) for j in (0, 1)] for i in (0, 1)]
    return np.moveaxis(np.asarray(pairs), (0, 1), (-2, -1))


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
