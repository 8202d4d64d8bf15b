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
            as_array(decay.flatten(2).transpose(1, 2)),
            as_array(b.transpose(1, 2)),
            as_array(c.transpose(1, 2)),
            as_array(d),
            as_array(ratio[:, :-1].view(len(ratio), -1, 2).transpose(1, 2)),
            as_array(ratio[:, -1]),
            as_array(inverse),
            as_array(keep),
        )
        ends = None if limits is None else tuple(np.float32(limit) for limit in limits)
        inputs = lanes(u)
        heads, length, batch = inputs.shape
        y = np.empty_like(inputs)
        kept = np.empty((heads, -(-length // SEGMENT), 2, b.shape[1], batch), np.float32)
        share(heads, lambda first, last: _forward(*weights, ends, noise, inputs, y, kept, first, last))
        ctx.saved = (weights, ends, noise, inputs, kept)
        return sequences(y)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        weights, ends, noise, inputs, kept = ctx.saved
        gy = lanes(grads[0])
        found = [np.zeros_like(w) for w in weights[:6]]
        gu = np.empty_like(inputs)
        share(
            inputs.shape[0],
            lambda first, last: _backward(*weights, ends, noise, inputs, kept, gy, *found, gu, first, last),
        )
        decay, b, c, d, rs, ry = (torch.from_numpy(g) for g in found)
        ratio = torch.cat([rs.transpose(1, 2).flatten(1), ry[:, None]], 1)
        blocks = decay.transpose(1, 2).reshape(*b.shape[::2], 2, 2)
        gradients = (blocks, b.transpose(1, 2), c.transpose(1, 2), d, sequences(gu), ratio)
        return (*gradients, None, None, None, None)


def as_array(x: Tensor) -> Array:
    """Contiguous float32 in memory."""
    return x.detach().float().contiguous().cpu().numpy()


def lanes(x: Tensor) -> Array:
    """(N, T, H) -> (H, T, N), as a transposition and a copy of rows: faster than one permutation."""
    rows = x.detach().flatten(1).t().contiguous()
    return as_array(rows.view(*x.shape[1:], len(x)).transpose(0, 1))


def sequences(x: Array) -> Tensor:
    """(H, T, N) -> (N, T, H)."""
    heads, length, batch = x.shape
    rows = torch.from_numpy(x).transpose(0, 1).contiguous()
    return rows.view(-1, batch).t().contiguous().view(batch, length, heads)


@jit
def clip(x, lo, hi):  # type: ignore[no-untyped-def]
    """The nearest number of lo..hi."""
    return min(max(x, lo), hi)


@jit
def _advance(decay, b, rs, inv, keep, ends, noise, u, h, k, r, v, i):  # type: ignore[no-untyped-def]
    """Step k of head h, the i-th of its segment: what drives the rows, v[i], and the next registers, r[i + 1]."""
    for m in range(r.shape[2]):
        key0, key1 = key_of(noise, h, k, 2 * m), key_of(noise, h, k, 2 * m + 1)
        a0, a1, a2, a3 = decay[h, 0, m], decay[h, 1, m], decay[h, 2, m], decay[h, 3, m]
        b0, b1, rs0, rs1, back, kept = b[h, 0, m], b[h, 1, m], rs[h, 0, m], rs[h, 1, m], inv[h, m], keep[h, m]
        for n in range(r.shape[3]):
            r0, r1, x = r[i, 0, m, n], r[i, 1, m, n], u[h, k, n]
            v0, v1 = r0, r1
            if ends is not None:
                v0 = clip(np.rint(r0 * back), ends[0], ends[1])
                v1 = clip(np.rint(r1 * back), ends[0], ends[1])
            z0 = (a0 * v0 + a1 * v1 + b0 * x) * rs0
            z1 = (a2 * v0 + a3 * v1 + b1 * x) * rs1
            if ends is not None:
                q0 = clip(np.rint(analog(z0, noise, key0, n)), ends[2], ends[3])
                q1 = clip(np.rint(analog(z1, noise, key1, n)), ends[2], ends[3])
                z0 = clip(kept * r0 + q0, ends[4], ends[5])
                z1 = clip(kept * r1 + q1, ends[4], ends[5])
            v[i, 0, m, n] = v0
            v[i, 1, m, n] = v1
            r[i + 1, 0, m, n] = z0
            r[i + 1, 1, m, n] = z1


@jit
def _outputs(c, d, u, h, k, v, i, y):  # type: ignore[no-untyped-def]
    """C v + d u of head h at step k, in units of W, into y (B)."""
    skip = d[h]
    for n in range(y.shape[0]):
        y[n] = skip * u[h, k, n]
    for m in range(v.shape[2]):
        c0, c1 = c[h, 0, m], c[h, 1, m]
        for n in range(y.shape[0]):
            y[n] += c0 * v[i, 0, m, n] + c1 * v[i, 1, m, n]


@jit
def _forward(decay, b, c, d, rs, ry, inv, keep, ends, noise, u, y, kept, first, last):  # type: ignore[no-untyped-def]
    """Fill y (H,T,B), and ``kept`` (H,S,2,N,B) with the registers at the start of each segment.

    Arguments: decay (H,4,N), 2x2 row by row; b, c, rs (H,2,N); d, ry (H); inv = 2^-p, keep (H,N); u (H,T,B). The inner
    functions take whole arrays and indices: a view made at every step would cost more than the step.
    """
    r = np.empty((SEGMENT + 1, *kept.shape[2:]), np.float32)
    v = np.empty((SEGMENT, *kept.shape[2:]), np.float32)
    sums = np.empty(u.shape[2], np.float32)
    for h in range(first, last):
        r[SEGMENT] = 0
        for k in range(u.shape[1]):
            i = k % SEGMENT
            if i == 0:
                r[0] = r[SEGMENT]
                kept[h, k // SEGMENT] = r[0]
            _advance(decay, b, rs, inv, keep, ends, noise, u, h, k, r, v, i)
            _outputs(c, d, u, h, k, v, i, sums)
            key, ratio = key_of(noise, h, k, 2 * r.shape[2]), ry[h]
            for n in range(u.shape[2]):
                z = sums[n]
                if ends is not None:
                    z = clip(np.rint(analog(z * ratio, noise, key, n)), ends[2], ends[3])
                y[h, k, n] = z


@jit
def _backward(  # type: ignore[no-untyped-def]
    decay, b, c, d, rs, ry, inv, keep, ends, noise, u, kept, gy, gdecay, gb, gc, gd, grs, gry, gu, first, last
):  # fmt: skip
    """Gradients in the shapes of decay, b, c, d, rs, ry, u; every clip passes gradient only inside its range."""
    r = np.empty((SEGMENT + 1, *kept.shape[2:]), np.float32)
    v = np.empty((SEGMENT, *kept.shape[2:]), np.float32)
    g = np.empty(kept.shape[2:], np.float32)
    ga = np.empty(u.shape[2], np.float32)
    for h in range(first, last):
        g[:] = 0
        for segment in range(kept.shape[1] - 1, -1, -1):
            start = segment * SEGMENT
            steps = min(SEGMENT, u.shape[1] - start)
            r[0] = kept[h, segment]
            for i in range(steps):
                _advance(decay, b, rs, inv, keep, ends, noise, u, h, start + i, r, v, i)
            for back in range(steps):
                i = steps - 1 - back
                k = start + i
                _output_gradient(c, d, ry, ends, noise, u, h, k, v, i, gy, ga, gd, gry, gu)
                _step_gradient(
                    decay, b, c, rs, inv, keep, ends, noise, u, h, k, r, v, i,
                    ga, g, gdecay, gb, gc, grs, gu,
                )  # fmt: skip


@jit
def _output_gradient(c, d, ry, ends, noise, u, h, k, v, i, gy, ga, gd, gry, gu):  # type: ignore[no-untyped-def]
    """``ga`` (B), the gradient at C v + D u of head h at step k; sets gu[h, k], adds to gd[h] and gry[h]."""
    _outputs(c, d, u, h, k, v, i, ga)
    key, ratio, skip = key_of(noise, h, k, 2 * v.shape[2]), ry[h], d[h]
    total, slope = np.float32(0), np.float32(0)
    for n in range(ga.shape[0]):
        inside = gy[h, k, n]
        if ends is not None:
            code = np.rint(analog(ga[n] * ratio, noise, key, n))
            inside = inside if clip(code, ends[2], ends[3]) == code else np.float32(0)
        slope += inside * ga[n]
        inside *= ratio
        ga[n] = inside
        total += inside * u[h, k, n]
        gu[h, k, n] = inside * skip
    gd[h] += total
    gry[h] += slope


@jit
def _step_gradient(  # type: ignore[no-untyped-def]
    decay, b, c, rs, inv, keep, ends, noise, u, h, k, r, v, i, ga, g, gdecay, gb, gc, grs, gu
):  # fmt: skip
    """``g`` (2,N,B), the gradient at the registers of head h, before step k; adds to the gradients of the head."""
    zero, one = np.float32(0), np.float32(1)
    for m in range(g.shape[1]):
        key0, key1 = key_of(noise, h, k, 2 * m), key_of(noise, h, k, 2 * m + 1)
        a0, a1, a2, a3 = decay[h, 0, m], decay[h, 1, m], decay[h, 2, m], decay[h, 3, m]
        b0, b1, c0, c1, rs0, rs1 = b[h, 0, m], b[h, 1, m], c[h, 0, m], c[h, 1, m], rs[h, 0, m], rs[h, 1, m]
        back, kept = inv[h, m], keep[h, m]
        d0, d1, d2, d3, gb0, gb1, gc0, gc1, t0, t1 = zero, zero, zero, zero, zero, zero, zero, zero, zero, zero
        for n in range(g.shape[2]):
            r0, r1, v0, v1, x = r[i, 0, m, n], r[i, 1, m, n], v[i, 0, m, n], v[i, 1, m, n], u[h, k, n]
            acc0 = a0 * v0 + a1 * v1 + b0 * x
            acc1 = a2 * v0 + a3 * v1 + b1 * x
            e0, e1, s0, s1 = g[0, m, n], g[1, m, n], one, one
            k0, k1 = kept * e0, kept * e1
            if ends is not None:
                z0 = np.rint(analog(acc0 * rs0, noise, key0, n))
                z1 = np.rint(analog(acc1 * rs1, noise, key1, n))
                q0, q1 = clip(z0, ends[2], ends[3]), clip(z1, ends[2], ends[3])
                n0, n1 = kept * r0 + q0, kept * r1 + q1
                in0, in1 = clip(n0, ends[4], ends[5]) == n0, clip(n1, ends[4], ends[5]) == n1
                k0 = k0 if in0 else zero
                k1 = k1 if in1 else zero
                e0 = e0 if in0 and q0 == z0 else zero
                e1 = e1 if in1 and q1 == z1 else zero
                s0 = back if np.rint(r0 * back) == v0 else zero
                s1 = back if np.rint(r1 * back) == v1 else zero
            t0 += e0 * acc0
            t1 += e1 * acc1
            e0 *= rs0
            e1 *= rs1
            d0 += e0 * v0
            d1 += e0 * v1
            d2 += e1 * v0
            d3 += e1 * v1
            gb0 += e0 * x
            gb1 += e1 * x
            gc0 += ga[n] * v0
            gc1 += ga[n] * v1
            gu[h, k, n] += e0 * b0 + e1 * b1
            g[0, m, n] = k0 + (e0 * a0 + e1 * a2 + ga[n] * c0) * s0
            g[1, m, n] = k1 + (e0 * a1 + e1 * a3 + ga[n] * c1) * s1
        gdecay[h, 0, m] += d0
        gdecay[h, 1, m] += d1
        gdecay[h, 2, m] += d2
        gdecay[h, 3, m] += d3
        gb[h, 0, m] += gb0
        gb[h, 1, m] += gb1
        gc[h, 0, m] += gc0
        gc[h, 1, m] += gc1
        grs[h, 0, m] += t0
        grs[h, 1, m] += t1
