"""The recurrence and its straight-through gradient as compiled CPU loops.

Same numbers as ``recurrence.run_loop(quantized_step(...))``: sums of integers below 2^24 are exact in float32 in any
order. Only the 2x2 diagonal blocks of W are touched, so a step costs O(N), not O(N^2). Sequences lie side by side in
the innermost axis, one to a vector lane; heads are shared among torch's threads. Of the registers only one in
``SEGMENT`` steps is kept for the gradient, the others are computed again, and so is the noise of the converters: a draw
is a function of its address (`ssmc.qat.converter_noise`), and is nowhere stored.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssmc.qat.converter_noise import Noise, analog, drawn, key_of
from ssmc.qat.kernel import Kernel
from ssmc.qat.recurrence import StepRanges
from ssmc.qat.threads import jit, share

Array = np.ndarray[Any, np.dtype[np.float32]]
SEGMENT = 32


def run_compiled(
    w: Kernel,
    ratio: Tensor,
    dac_step: Tensor,
    keep: Tensor,
    ranges: StepRanges,
    u: Tensor,
    adc_noise: float = 0.0,
) -> Tensor:
    """Output codes (N, T, H) from zero state and input codes u (N, T, H); differentiable in W, ratio and u.

    Every conversion has noise of standard deviation ``adc_noise``, in ADC steps; torch's generator seeds it.
    """
    limits = (*ranges.dac, *ranges.adc, *ranges.register)
    noise = drawn(adc_noise) if adc_noise else None
    y: Tensor = _Recurrence.apply(w.decay, w.b, w.c, w.d, u, ratio, 1 / dac_step[:, ::2], keep, limits, noise)  # type: ignore[no-untyped-call]
    return y


def run_compiled_float(m: Kernel, u: Tensor) -> Tensor:
    """Output (N, T, H) of the real recurrence s' = A s + B u, y = C s + D u; ``m`` in direct form."""
    one = torch.ones_like(m.b[..., 0])
    ratio = torch.ones(m.b.shape[0], 2 * m.b.shape[1] + 1)
    y: Tensor = _Recurrence.apply(m.decay, m.b, m.c, m.d, u, ratio, one, torch.zeros_like(one), None, None)  # type: ignore[no-untyped-call]
    return y


class _Recurrence(torch.autograd.Function):
    """``limits`` None: real numbers, nothing is rounded."""

    @staticmethod
    def forward(
        ctx: Any,
        decay: Tensor,
        b: Tensor,
        c: Tensor,
        d: Tensor,
        u: Tensor,
        ratio: Tensor,
        inverse: Tensor,
        keep: Tensor,
        limits: tuple[float, ...] | None,
        noise: Noise | None,
    ) -> Tensor:
        weights = (
            _array(decay.flatten(2).transpose(1, 2)),
            _array(b.transpose(1, 2)),
            _array(c.transpose(1, 2)),
            _array(d),
            _array(ratio[:, :-1].view(len(ratio), -1, 2).transpose(1, 2)),
            _array(ratio[:, -1]),
            _array(inverse),
            _array(keep),
        )
        rounds = limits is not None
        ends = np.array(limits if rounds else (-np.inf, np.inf) * 3, dtype=np.float32)
        inputs = _lanes(u)
        length, heads, batch = inputs.shape
        y = np.empty_like(inputs)
        kept = np.empty((heads, -(-length // SEGMENT), 2, b.shape[1], batch), np.float32)
        share(heads, lambda first, last: _forward(*weights, ends, rounds, noise, inputs, y, kept, first, last))
        ctx.saved = (weights, ends, rounds, noise, inputs, kept)
        return _sequences(y)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        weights, ends, rounds, noise, inputs, kept = ctx.saved
        gy = _lanes(grads[0])
        found = [np.zeros_like(w) for w in weights[:6]]
        gu = np.empty_like(inputs)
        share(
            inputs.shape[1],
            lambda first, last: _backward(*weights, ends, rounds, noise, inputs, kept, gy, *found, gu, first, last),
        )
        decay, b, c, d, rs, ry = (torch.from_numpy(g) for g in found)
        ratio = torch.cat([rs.transpose(1, 2).flatten(1), ry[:, None]], 1)
        blocks = decay.transpose(1, 2).reshape(*b.shape[::2], 2, 2)
        gradients = (blocks, b.transpose(1, 2), c.transpose(1, 2), d, _sequences(gu), ratio)
        return (*gradients, None, None, None, None)


def _array(x: Tensor) -> Array:
    return x.detach().float().contiguous().cpu().numpy()


def _lanes(x: Tensor) -> Array:
    """(N, T, H) -> (T, H, N)."""
    return _array(x.flatten(1).t()).reshape(*x.shape[1:], x.shape[0])


def _sequences(x: Array) -> Tensor:
    """(T, H, N) -> (N, T, H)."""
    flat: Tensor = torch.from_numpy(x.reshape(-1, x.shape[-1])).t().contiguous()
    return flat.view(x.shape[-1], *x.shape[:2])


@jit
def _clip(x, lo, hi):  # type: ignore[no-untyped-def]
    return min(max(x, lo), hi)


@jit
def _advance(decay, b, rs, inv, keep, ends, rounds, noise, h, k, x, r, v):  # type: ignore[no-untyped-def]
    """The registers r (2,N,B) one step on, in place; ``v`` receives what drove the rows.

    Head h at step k: decay (4,N), 2x2 row by row; b, rs (2,N); inv = 2^-p, keep (N); input x (B).
    """
    for m in range(b.shape[1]):
        key0, key1 = key_of(noise, h, k, 2 * m), key_of(noise, h, k, 2 * m + 1)
        for n in range(len(x)):
            r0, r1 = r[0, m, n], r[1, m, n]
            v0, v1 = r0, r1
            if rounds:
                v0 = _clip(np.rint(r0 * inv[m]), ends[0], ends[1])
                v1 = _clip(np.rint(r1 * inv[m]), ends[0], ends[1])
            z0 = (decay[0, m] * v0 + decay[1, m] * v1 + b[0, m] * x[n]) * rs[0, m]
            z1 = (decay[2, m] * v0 + decay[3, m] * v1 + b[1, m] * x[n]) * rs[1, m]
            if rounds:
                q0 = _clip(np.rint(analog(z0, noise, key0, n)), ends[2], ends[3])
                q1 = _clip(np.rint(analog(z1, noise, key1, n)), ends[2], ends[3])
                z0 = _clip(keep[m] * r0 + q0, ends[4], ends[5])
                z1 = _clip(keep[m] * r1 + q1, ends[4], ends[5])
            v[0, m, n] = v0
            v[1, m, n] = v1
            r[0, m, n] = z0
            r[1, m, n] = z1


@jit
def _outputs(c, d, x, v, y):  # type: ignore[no-untyped-def]
    """C v + d x in units of W, into y (B)."""
    for n in range(len(x)):
        y[n] = d * x[n]
    for m in range(c.shape[1]):
        for n in range(len(x)):
            y[n] += c[0, m] * v[0, m, n] + c[1, m] * v[1, m, n]


@jit
def _forward(decay, b, c, d, rs, ry, inv, keep, ends, rounds, noise, u, y, kept, first, last):  # type: ignore[no-untyped-def]
    """Fill y (T,H,B), and ``kept`` (H,S,2,N,B) with the registers at the start of each segment.

    Arguments: decay (H,4,N); b, c, rs (H,2,N); d, ry (H); inv, keep (H,N); u (T,H,B).
    """
    r = np.empty(kept.shape[2:], np.float32)
    v = np.empty_like(r)
    for h in range(first, last):
        r[:] = 0
        for k in range(len(u)):
            if k % SEGMENT == 0:
                kept[h, k // SEGMENT] = r
            _advance(decay[h], b[h], rs[h], inv[h], keep[h], ends, rounds, noise, h, k, u[k, h], r, v)
            _outputs(c[h], d[h], u[k, h], v, y[k, h])
            if rounds:
                key = key_of(noise, h, k, 2 * b.shape[2])
                for n in range(u.shape[2]):
                    y[k, h, n] = _clip(np.rint(analog(y[k, h, n] * ry[h], noise, key, n)), ends[2], ends[3])


@jit
def _backward(  # type: ignore[no-untyped-def]
    decay, b, c, d, rs, ry, inv, keep, ends, rounds, noise, u, kept, gy, gdecay, gb, gc, gd, grs, gry, gu, first, last
):  # fmt: skip
    """Gradients in the shapes of decay, b, c, d, rs, ry, u; every clip passes gradient only inside its range."""
    length, batch = len(u), u.shape[2]
    history = np.empty((SEGMENT, *kept.shape[2:]), np.float32)
    r = np.empty(kept.shape[2:], np.float32)
    v, g = np.empty_like(r), np.empty_like(r)
    ga = np.empty(batch, np.float32)
    for h in range(first, last):
        g[:] = 0
        for segment in range(kept.shape[1] - 1, -1, -1):
            start = segment * SEGMENT
            stop = min(start + SEGMENT, length)
            r[:] = kept[h, segment]
            for k in range(start, stop):
                history[k - start] = r
                _advance(decay[h], b[h], rs[h], inv[h], keep[h], ends, rounds, noise, h, k, u[k, h], r, v)
            for k in range(stop - 1, start - 1, -1):
                r[:] = history[k - start]
                v[:] = r
                if rounds:
                    for m in range(b.shape[2]):
                        for n in range(batch):
                            v[0, m, n] = _clip(np.rint(r[0, m, n] * inv[h, m]), ends[0], ends[1])
                            v[1, m, n] = _clip(np.rint(r[1, m, n] * inv[h, m]), ends[0], ends[1])
                key = key_of(noise, h, k, 2 * b.shape[2])
                _output_gradient(
                    c[h], d[h], ry[h], ends, rounds, noise, key, u[k, h], v, gy[k, h], ga, gd, gry, h, gu[k, h]
                )
                _step_gradient(
                    decay[h], b[h], c[h], rs[h], inv[h], keep[h], ends, rounds, noise, h, k,
                    u[k, h], r, v, ga, g, gdecay[h], gb[h], gc[h], grs[h], gu[k, h],
                )  # fmt: skip


@jit
def _output_gradient(c, d, ry, ends, rounds, noise, key, x, v, gy, ga, gd, gry, h, gx):  # type: ignore[no-untyped-def]
    """``ga`` (B), the gradient at C v + D x; sets gx, adds to gd[h] and gry[h]."""
    _outputs(c, d, x, v, ga)
    total, slope = np.float32(0), np.float32(0)
    for n in range(len(x)):
        code = ga[n] * ry
        if rounds:
            code = np.rint(analog(code, noise, key, n))
        inside = gy[n] if _clip(code, ends[2], ends[3]) == code else np.float32(0)
        slope += inside * ga[n]
        ga[n] = inside * ry
        total += ga[n] * x[n]
        gx[n] = ga[n] * d
    gd[h] += total
    gry[h] += slope


@jit
def _step_gradient(  # type: ignore[no-untyped-def]
    decay, b, c, rs, inv, keep, ends, rounds, noise, h, k, x, r, v, ga, g, gdecay, gb, gc, grs, gx
):  # fmt: skip
    """``g`` (2,N,B), the gradient at the registers, one step back; adds to the gradients of one head."""
    zero, one = np.float32(0), np.float32(1)
    for m in range(b.shape[1]):
        key0, key1 = key_of(noise, h, k, 2 * m), key_of(noise, h, k, 2 * m + 1)
        a0, a1, a2, a3 = decay[0, m], decay[1, m], decay[2, m], decay[3, m]
        d0, d1, d2, d3, b0, b1, c0, c1, t0, t1 = zero, zero, zero, zero, zero, zero, zero, zero, zero, zero
        for n in range(len(x)):
            r0, r1, v0, v1 = r[0, m, n], r[1, m, n], v[0, m, n], v[1, m, n]
            acc0 = a0 * v0 + a1 * v1 + b[0, m] * x[n]
            acc1 = a2 * v0 + a3 * v1 + b[1, m] * x[n]
            e0, e1, s0, s1 = g[0, m, n], g[1, m, n], one, one
            k0, k1 = keep[m] * e0, keep[m] * e1
            if rounds:
                z0 = np.rint(analog(acc0 * rs[0, m], noise, key0, n))
                z1 = np.rint(analog(acc1 * rs[1, m], noise, key1, n))
                q0, q1 = _clip(z0, ends[2], ends[3]), _clip(z1, ends[2], ends[3])
                n0, n1 = keep[m] * r0 + q0, keep[m] * r1 + q1
                in0, in1 = _clip(n0, ends[4], ends[5]) == n0, _clip(n1, ends[4], ends[5]) == n1
                k0 = k0 if in0 else zero
                k1 = k1 if in1 else zero
                e0 = e0 if in0 and q0 == z0 else zero
                e1 = e1 if in1 and q1 == z1 else zero
                s0 = inv[m] if np.rint(r0 * inv[m]) == v0 else zero
                s1 = inv[m] if np.rint(r1 * inv[m]) == v1 else zero
            t0 += e0 * acc0
            t1 += e1 * acc1
            e0 *= rs[0, m]
            e1 *= rs[1, m]
            d0 += e0 * v0
            d1 += e0 * v1
            d2 += e1 * v0
            d3 += e1 * v1
            b0 += e0 * x[n]
            b1 += e1 * x[n]
            c0 += ga[n] * v0
            c1 += ga[n] * v1
            gx[n] += e0 * b[0, m] + e1 * b[1, m]
            g[0, m, n] = k0 + (e0 * a0 + e1 * a2 + ga[n] * c[0, m]) * s0
            g[1, m, n] = k1 + (e0 * a1 + e1 * a3 + ga[n] * c[1, m]) * s1
        gdecay[0, m] += d0
        gdecay[1, m] += d1
        gdecay[2, m] += d2
        gdecay[3, m] += d3
        gb[0, m] += b0
        gb[1, m] += b1
        gc[0, m] += c0
        gc[1, m] += c1
        grs[0, m] += t0
        grs[1, m] += t1
