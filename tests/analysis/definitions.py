"""What the analyses mean, step by step and without any structure: the closed forms are held against these."""

from __future__ import annotations

import numpy as np

from ssmc.analysis.linear import LinearKernel
from ssmc.ir.rounding import FloatArray

CHUNK, MOST_CHUNKS, SMALL = 64, 64, 0.02


def absolute_sum(A: FloatArray, X: FloatArray, L: FloatArray) -> FloatArray:
    """``sum_k |L A^k X|``, (H, i, j): A (H, n, n), X (H, n, j), L (H, i, n); terms, then a bound of the later ones."""
    n = A.shape[-1]
    out = np.zeros((len(A), L.shape[1], X.shape[-1]))
    for group, (a, x, rows) in enumerate(zip(A, X, L, strict=True)):
        state, power, moved = np.zeros(x.shape), np.eye(n), x
        for step in range(CHUNK * MOST_CHUNKS):
            out[group] += np.abs(rows @ moved)
            state += np.abs(moved)
            power, moved = a @ power, a @ moved
            if (step + 1) % CHUNK == 0 and np.abs(power).sum(-1).max() <= SMALL:
                break
        rest = np.abs(power)
        decays = np.abs(np.linalg.eigvals(rest)).max() < 1
        tail = np.linalg.solve(np.eye(n) - rest, rest @ state) if decays else np.full(x.shape, np.inf)
        out[group] += np.abs(rows) @ tail if decays else np.inf
    return out


def simulated(kernel: LinearKernel, drive: FloatArray, start: FloatArray) -> FloatArray:
    """``r' = A r + drive`` one step after the other: r before every step and after all, (H, n, N, T + 1)."""
    r, path = start, [start]
    for t in range(drive.shape[3]):
        r = kernel.A @ r + drive[..., t]
        path.append(r)
    return np.stack(path, 3)


def summed(kernel: LinearKernel, P: FloatArray, steps: int) -> tuple[FloatArray, FloatArray]:
    """``sum_(k < steps) C A^k P (A^k)^T C^T`` (H, p), and the mean over the steps of the sums up to each."""
    total, mean, row = np.zeros((2, *kernel.C.shape[:2])), np.zeros(kernel.C.shape[:2]), kernel.C
    total = total[0]
    for _ in range(steps):
        mean = mean + total
        total = total + ((row @ P) * row).sum(-1)
        row = row @ kernel.A
    return total, mean / steps


def autocorrelations(kernel: LinearKernel, steps: int, lags: int) -> tuple[FloatArray, FloatArray]:
    """Of the responses to e_R and to e_q within ``steps`` steps, 1 at lag 0, (lags + 1, H, p, n) each."""
    rows = [kernel.C]
    for _ in range(steps - 1):
        rows.append(rows[-1] @ kernel.A)
    state = np.stack(rows)
    found = []
    for response in (np.concatenate([kernel.F[None], state[:-1] @ kernel.G]), state):
        sums = np.stack([(response[: steps - lag] * response[lag:]).sum(0) for lag in range(lags + 1)])
        found.append(sums / np.where(sums[0] > 0, sums[0], 1.0))
    return found[0], found[1]


def watched(z: FloatArray, lengths: list[int], lags: int, harmonics: int) -> tuple[FloatArray, FloatArray]:
    """Autocorrelation (lags + 1, H, k) of rounding errors and their correlation (H, k, k), both relative to white.

    z (H, N, T, k) in steps of the quantizer, sequence i of ``lengths[i]`` steps.
    """
    weight = sum(1 / m**2 for m in range(1, harmonics + 1))
    H, _, _, k = z.shape
    lagged, crossed, count = np.zeros((lags + 1, H, k)), np.zeros((H, k, k)), np.zeros(lags + 1)
    for number, length in enumerate(lengths):
        x = 2 * np.pi * z[:, number, :length]
        for lag in range(min(lags + 1, length)):
            count[lag] += length - lag
            moved = x[:, lag:] - x[:, : length - lag]
            lagged[lag] += sum(np.cos(m * moved).sum(1) / m**2 for m in range(1, harmonics + 1))
        for m in range(1, harmonics + 1):
            apart, both = x[..., :, None] - x[..., None, :], x[..., :, None] + x[..., None, :]
            crossed += (np.cos(m * apart) - np.cos(m * both)).sum(1) / m**2
    return lagged / (weight * np.maximum(count, 1)[:, None, None]), crossed / (weight * count[0])
