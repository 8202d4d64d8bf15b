"""The quantized recurrence and its straight-through gradient as compiled CPU loops.

Same numbers as ``recurrence.run_loop(quantized_step(...))``: sums of integers below 2^24 are exact in float32 in any
order. Only the 2x2 diagonal blocks of W are touched, so a step costs O(N), not O(N^2).
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from ssmc.qat.kernel import Kernel
from ssmc.qat.recurrence import StepRanges


def run_compiled(w: Kernel, ratio: Tensor, dac_step: Tensor, ranges: StepRanges, u: Tensor) -> Tensor:
    """Output codes (N, T, H) from zero state and input codes u (N, T, H); differentiable in W and u."""
    y: Tensor = _Recurrence.apply(w.decay, w.b, w.c, w.d, u, ratio, dac_step, ranges)  # type: ignore[no-untyped-call]
    return y


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        decay: Tensor,
        b: Tensor,
        c: Tensor,
        d: Tensor,
        u: Tensor,
        ratio: Tensor,
        dac_step: Tensor,
        ranges: StepRanges,
    ) -> Tensor:
        arrays = (
            _array(decay.flatten(2).transpose(1, 2)),
            _array(b.transpose(1, 2)),
            _array(c.transpose(1, 2)),
            _array(d),
            _array(ratio[:, :-1:2]),
            _array(ratio[:, -1]),
            _array(1 / dac_step[:, ::2]),
        )
        limits = np.array([*ranges.dac, *ranges.adc, *ranges.register, ranges.form == "delta"], dtype=np.float32)
        inputs = _array(u.permute(2, 0, 1))
        y, inside, history = _forward(*arrays, limits, inputs)
        ctx.saved = (arrays, limits, inputs, inside, history)
        return torch.from_numpy(y).permute(1, 2, 0).contiguous()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        arrays, limits, inputs, inside, history = ctx.saved
        gy = _array(grads[0].permute(2, 0, 1))
        found = _backward(*arrays, limits, inputs, inside, history, gy)  # type: ignore[call-arg]
        decay, b, c, d, u = (torch.from_numpy(g) for g in found)
        return (
            decay.transpose(1, 2).reshape(*b.shape[::2], 2, 2),
            b.transpose(1, 2),
            c.transpose(1, 2),
            d,
            u.permute(1, 2, 0),
            None,
            None,
            None,
        )


def _array(x: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.ascontiguousarray(x.detach().cpu().numpy(), dtype=np.float32)


@numba.njit(cache=True, fastmath={"reassoc", "nsz"}, error_model="numpy")
def _forward(decay, b, c, d, rs, ry, inv, lim, u):  # type: ignore[no-untyped-def]
    """Outputs and ADC range masks (H,B,T), and the register history (H,B,T,2,N).

    Arguments: decay (H,4,N), 2x2 row by row; b, c (H,2,N); d, ry (H); rs, inv = 2^-p (H,N); u (H,B,T).
    """
    heads, batch, length = u.shape
    modes = b.shape[2]
    dac_lo, dac_hi, adc_lo, adc_hi, reg_lo, reg_hi, keep = lim
    y = np.empty((heads, batch, length), np.float32)
    inside = np.empty((heads, batch, length), np.float32)
    history = np.empty((heads, batch, length, 2, modes), np.float32)
    r = np.empty((2, modes), np.float32)
    for h in range(heads):
        for n in range(batch):
            r[:] = 0
            for k in range(length):
                x = u[h, n, k]
                acc = d[h] * x
                for m in range(modes):
                    r0, r1 = r[0, m], r[1, m]
                    history[h, n, k, 0, m] = r0
                    history[h, n, k, 1, m] = r1
                    v0 = min(max(np.rint(r0 * inv[h, m]), dac_lo), dac_hi)
                    v1 = min(max(np.rint(r1 * inv[h, m]), dac_lo), dac_hi)
                    z0 = (decay[h, 0, m] * v0 + decay[h, 1, m] * v1 + b[h, 0, m] * x) * rs[h, m]
                    z1 = (decay[h, 2, m] * v0 + decay[h, 3, m] * v1 + b[h, 1, m] * x) * rs[h, m]
                    acc += c[h, 0, m] * v0 + c[h, 1, m] * v1
                    q0 = min(max(np.rint(z0), adc_lo), adc_hi)
                    q1 = min(max(np.rint(z1), adc_lo), adc_hi)
                    r[0, m] = min(max(keep * r0 + q0, reg_lo), reg_hi)
                    r[1, m] = min(max(keep * r1 + q1, reg_lo), reg_hi)
                code = np.rint(acc * ry[h])
                y[h, n, k] = min(max(code, adc_lo), adc_hi)
                inside[h, n, k] = np.float32(code >= adc_lo) * np.float32(code <= adc_hi)
    return y, inside, history


@numba.njit(cache=True, fastmath={"reassoc", "nsz"}, error_model="numpy")
def _backward(decay, b, c, d, rs, ry, inv, lim, u, inside, history, gy):  # type: ignore[no-untyped-def]
    """Gradients of decay (H,4,N), b, c (H,2,N), d (H), u (H,B,T); every clip passes gradient only inside its range."""
    heads, batch, length = u.shape
    modes = b.shape[2]
    dac_lo, dac_hi, adc_lo, adc_hi, reg_lo, reg_hi, keep = lim
    gdecay, gb, gc = np.zeros_like(decay), np.zeros_like(b), np.zeros_like(c)
    gd, gu = np.zeros_like(d), np.empty_like(u)
    g = np.empty((2, modes), np.float32)
    one, zero = np.float32(1), np.float32(0)
    for h in range(heads):
        for n in range(batch):
            g[:] = 0
            for k in range(length - 1, -1, -1):
                x = u[h, n, k]
                ga = gy[h, n, k] * inside[h, n, k] * ry[h]
                gd[h] += ga * x
                gx = ga * d[h]
                for m in range(modes):
                    r0, r1 = history[h, n, k, 0, m], history[h, n, k, 1, m]
                    w0, w1 = np.rint(r0 * inv[h, m]), np.rint(r1 * inv[h, m])
                    v0, v1 = min(max(w0, dac_lo), dac_hi), min(max(w1, dac_lo), dac_hi)
                    z0 = np.rint((decay[h, 0, m] * v0 + decay[h, 1, m] * v1 + b[h, 0, m] * x) * rs[h, m])
                    z1 = np.rint((decay[h, 2, m] * v0 + decay[h, 3, m] * v1 + b[h, 1, m] * x) * rs[h, m])
                    q0, q1 = min(max(z0, adc_lo), adc_hi), min(max(z1, adc_lo), adc_hi)
                    n0, n1 = keep * r0 + q0, keep * r1 + q1
                    g0 = g[0, m] if min(max(n0, reg_lo), reg_hi) == n0 else zero
                    g1 = g[1, m] if min(max(n1, reg_lo), reg_hi) == n1 else zero
                    e0 = (g0 if q0 == z0 else zero) * rs[h, m]
                    e1 = (g1 if q1 == z1 else zero) * rs[h, m]
                    gdecay[h, 0, m] += e0 * v0
                    gdecay[h, 1, m] += e0 * v1
                    gdecay[h, 2, m] += e1 * v0
                    gdecay[h, 3, m] += e1 * v1
                    gb[h, 0, m] += e0 * x
                    gb[h, 1, m] += e1 * x
                    gc[h, 0, m] += ga * v0
                    gc[h, 1, m] += ga * v1
                    gx += e0 * b[h, 0, m] + e1 * b[h, 1, m]
                    s0 = (one if v0 == w0 else zero) * inv[h, m]
                    s1 = (one if v1 == w1 else zero) * inv[h, m]
                    g[0, m] = keep * g0 + (e0 * decay[h, 0, m] + e1 * decay[h, 2, m] + ga * c[h, 0, m]) * s0
                    g[1, m] = keep * g1 + (e0 * decay[h, 1, m] + e1 * decay[h, 3, m] + ga * c[h, 1, m]) * s1
                gu[h, n, k] = gx
    return gdecay, gb, gc, gd, gu
