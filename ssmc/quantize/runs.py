"""A kernel run over data: in real numbers, and in codes for what drives its read-out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssmc.ir.rounding import FloatArray, IntArray, round_half_even
from ssmc.quantize.bases import Kernel
from ssmc.quantize.modes import Modes

MOST_STEPS = 1500
TOGETHER = 8  # steps whose products are summed at once


@dataclass(frozen=True)
class QuantizedKernel:
    """Integer matrix and converters of G groups with n = 2K states, m inputs, p outputs.

    Attributes:
        W: (G, n + p, n + m). ratio: (G, n + p). shift, keep: (G, n).
        u_step: (G, m), real values of one input code. y_step: (G, p), of one output code.
        dac, adc, register: code ranges.
    """

    W: IntArray
    ratio: FloatArray
    shift: IntArray
    keep: IntArray
    u_step: FloatArray
    y_step: FloatArray
    dac: tuple[int, int]
    adc: tuple[int, int]
    register: tuple[int, int]


def float_run(modes: Modes, fed: list[FloatArray]) -> tuple[FloatArray, FloatArray, list[FloatArray]]:
    """States and increments (S, 2, G, K) of evenly chosen steps of the float kernel, and outputs (T, G, p)."""
    every = thinning([len(u) for u in fed])
    states, increments, y, first = [], [], [], 0
    for u in fed:
        drive = np.einsum("gkim,tgm->tgki", modes.B, u)
        path = np.zeros((len(u) + 1, *drive.shape[1:]))
        for t in range(len(u)):
            path[t + 1] = (modes.A @ path[t, ..., None])[..., 0] + drive[t]
        y.append(np.einsum("gpki,tgki->tgp", modes.C, path[:-1]) + np.einsum("gpm,tgm->tgp", modes.D, u))
        chosen = slice(-first % every, None, every)
        states.append(path[1:][chosen])
        increments.append(np.diff(path, axis=0)[chosen])
        first += len(u)
    return np.moveaxis(np.concatenate(states), -1, 1), np.moveaxis(np.concatenate(increments), -1, 1), y


def outputs(kernel: Kernel, fed: list[FloatArray]) -> list[FloatArray]:
    """Of the float kernel, (T, G, p) each."""
    found = []
    for u in fed:
        drive, state = np.einsum("gnm,tgm->tgn", kernel.B, u), np.zeros(kernel.B.shape[:2])
        y = np.einsum("gpm,tgm->tgp", kernel.D, u)
        for t in range(len(u)):
            y[t] += (kernel.C @ state[..., None])[..., 0]
            state = (kernel.A @ state[..., None])[..., 0] + drive[t]
        found.append(y)
    return found


def thinning(lengths: list[int]) -> int:
    """Every so many steps are 1500 to 3000 of many."""
    return max(sum(lengths) // MOST_STEPS, 1)


def normal_equations(
    kernel: QuantizedKernel, fed: list[FloatArray], y: list[FloatArray], limits: tuple[int, int]
) -> tuple[FloatArray, FloatArray]:
    """X^T X (G, n + m, n + m) and Y^T X (G, p, n + m) of the rows X = [R; u] in codes and outputs ``y`` (T, G, p).

    Sequences run side by side, the longest last: those that go on are the last ones.
    """
    order = np.argsort([len(u) for u in fed], kind="stable")
    n = kernel.shift.shape[1]
    A, B, unit = kernel.W[:, :n, :n].astype(np.float64), kernel.W[:, :n, n:].astype(np.float64), np.exp2(kernel.shift)
    codes = [np.clip(round_half_even(fed[i] / kernel.u_step), *limits) for i in order]
    y = [y[i] for i in order]
    gram = np.zeros((len(A), *[kernel.W.shape[2]] * 2))
    moment = np.zeros((len(A), y[0].shape[2], kernel.W.shape[2]))
    r = np.zeros((len(A), len(fed), n))
    seen: list[tuple[FloatArray, FloatArray]] = []
    for t in range(len(codes[-1])):
        u, wanted = (np.stack([x[t] for x in sequences if len(x) > t], 1) for sequences in (codes, y))
        r = r[:, -u.shape[1] :]
        driven = np.clip(round_half_even(r / unit[:, None]), *kernel.dac)
        seen.append((np.concatenate([driven, u], 2), wanted))
        if len(seen) == TOGETHER or t == len(codes[-1]) - 1:
            rows, heard = (np.concatenate(part, 1) for part in zip(*seen, strict=True))
            gram += rows.swapaxes(1, 2) @ rows
            moment += heard.swapaxes(1, 2) @ rows
            seen.clear()
        sums = driven @ A.swapaxes(1, 2) + u @ B.swapaxes(1, 2)
        new = np.clip(round_half_even(sums * kernel.ratio[:, None, :n]), *kernel.adc)
        r = np.clip(kernel.keep[:, None] * r + new, *kernel.register)
    return gram, moment
