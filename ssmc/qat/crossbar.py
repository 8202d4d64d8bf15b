"""The recurrence through every cell of a crossbar, and its straight-through gradient, as compiled CPU loops.

The numbers of ``run_loop(Crossbar.step(...))`` (`ssmc.qat.columns`). A step costs O(N^2): cells without a code have
noise too. Layout, segments and draws as in `ssmc.qat.compiled`. The gradient takes noise for a constant.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssmc.qat.columns import Crossbar
from ssmc.qat.compiled import SEGMENT, Array, as_array, clip, lanes, sequences
from ssmc.qat.converter_noise import Noise, draw, drawn, key_of
from ssmc.qat.recurrence import StepRanges
from ssmc.qat.threads import jit, share


def run_crossbar(bar: Crossbar, dac_step: Tensor, keep: Tensor, ranges: StepRanges, u: Tensor) -> Tensor:
    """Output codes (N, T, H) from zero state and input codes u (N, T, H); differentiable in weight, ratio and u."""
    noisy = bar.variance is not None or bar.noise > 0
    direct = ranges.form == "direct"
    limits = (*ranges.dac, *bar.columns.ends, *((-np.inf, np.inf) if direct else ranges.register))
    fixed = (
        *(
            as_array(x)
            for x in (bar.columns.unit, bar.columns.bias, bar.columns.bow, bar.columns.first, bar.columns.last)
        ),
        as_array(bar.columns.back),
        as_array(torch.ones_like(dac_step) if direct else 1 / dac_step),
        as_array(keep.repeat_interleave(2, 1)),
        tuple(np.float32(limit) for limit in limits),
        None if bar.variance is None else as_array(bar.variance),
        drawn(bar.noise) if noisy else None,
    )
    y: Tensor = _Crossbar.apply(bar.weight, bar.columns.ratio, u, bar.gradient_through, fixed)  # type: ignore[no-untyped-call]
    return y


class _Crossbar(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, ratio: Tensor, u: Tensor, through: Tensor, fixed: tuple[Array | Noise | None, ...]
    ) -> Tensor:
        cells, inputs = (as_array(weight), as_array(ratio)), lanes(u)
        heads, length, batch = inputs.shape
        y = np.empty_like(inputs)
        kept = np.empty((heads, -(-length // SEGMENT), weight.shape[1] - 1, batch), np.float32)
        share(heads, lambda first, last: _forward(*cells, *fixed, inputs, y, kept, first, last))
        ctx.saved = (cells, fixed, inputs, kept, as_array(through))
        return sequences(y)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        cells, fixed, inputs, kept, through = ctx.saved
        gy = lanes(grads[0])
        found = [np.zeros_like(x) for x in cells]
        gu = np.empty_like(inputs)
        share(
            inputs.shape[0],
            lambda first, last: _backward(*cells, *fixed, through, inputs, kept, gy, *found, gu, first, last),
        )
        weight, ratio = (torch.from_numpy(g) for g in found)
        return weight, ratio, sequences(gu), None, None


@jit
def _drive(inv, ends, u, h, k, r, i, v):  # type: ignore[no-untyped-def]
    """What drives the rows of head h at step k, the i-th of its segment, into v (n+1, B)."""
    states = v.shape[0] - 1
    for m in range(states):
        back = inv[h, m]
        for n in range(v.shape[1]):
            v[m, n] = clip(np.rint(r[i, m, n] * back), ends[0], ends[1])
    for n in range(v.shape[1]):
        v[states, n] = u[h, k, n]


@jit
def _convert(  # type: ignore[no-untyped-def]
    w, ratio, unit, bias, bow, first, last, variance, noise, h, k, j, v, acc, x
):  # fmt: skip
    """Column j: ``acc`` (B), the sum in units of W, and ``x`` (B), the unrounded code of the converter."""
    scale, size, offset, bend, lo, hi = ratio[h, j], unit[h, j], bias[h, j], bow[h, j], first[h, j], last[h, j]
    acc[:] = 0
    for m in range(v.shape[0]):
        cell = w[h, j, m]
        for n in range(v.shape[1]):
            acc[n] += cell * v[m, n]
    for n in range(v.shape[1]):
        x[n] = acc[n] * scale / size + offset
    if bend != 0:
        for n in range(v.shape[1]):
            relative = (np.float32(2) * x[n] - lo - hi) / (hi - lo)
            x[n] += bend * (np.float32(1) - relative * relative)
    scale /= size
    if noise is not None:
        key = key_of(noise, h, k, j)
        for n in range(v.shape[1]):
            spread = noise[0] * noise[0]
            if variance is not None:
                read = np.float32(0)
                for m in range(v.shape[0]):
                    read += variance[h, j, m] * v[m, n] * v[m, n]
                spread += read * scale * scale
            x[n] += np.sqrt(spread) * draw(key, n)


@jit
def _forward(  # type: ignore[no-untyped-def]
    w, ratio, unit, bias, bow, first, last, back, inv, keep, ends, variance, noise, u, y, kept, start, stop
):  # fmt: skip
    """Fill y (H,T,B), and ``kept`` (H,S,n,B) with the registers at the start of each segment.

    Arguments: w, variance (H,n+1,n+1); ratio to back (H,n+1); inv = 2^-p, keep (H,n); u (H,T,B).
    """
    states, batch = kept.shape[2], u.shape[2]
    r = np.empty((2, states, batch), np.float32)
    v, q = np.empty((states + 1, batch), np.float32), np.empty((states + 1, batch), np.float32)
    acc, x = np.empty(batch, np.float32), np.empty(batch, np.float32)
    for h in range(start, stop):
        r[0] = 0
        for k in range(u.shape[1]):
            if k % SEGMENT == 0:
                kept[h, k // SEGMENT] = r[0]
            _advance(
                w,
                ratio,
                unit,
                bias,
                bow,
                first,
                last,
                back,
                inv,
                keep,
                ends,
                variance,
                noise,
                u,
                h,
                k,
                r,
                0,
                v,
                q,
                acc,
                x,
            )
            r[0] = r[1]
            y[h, k] = q[states]


@jit
def _advance(  # type: ignore[no-untyped-def]
    w, ratio, unit, bias, bow, first, last, back, inv, keep, ends, variance, noise, u, h, k, r, i, v, q, acc, x
):  # fmt: skip
    """Step k of head h, the i-th of its segment: drives v, codes q (n+1, B), and the next registers r[i + 1]."""
    _drive(inv, ends, u, h, k, r, i, v)
    states = v.shape[0] - 1
    for j in range(states + 1):
        _convert(w, ratio, unit, bias, bow, first, last, variance, noise, h, k, j, v, acc, x)
        lo, hi, gain = first[h, j], last[h, j], back[h, j]
        for n in range(v.shape[1]):
            q[j, n] = clip(np.rint(gain * clip(np.rint(x[n]), lo, hi)), ends[2], ends[3])
    for m in range(states):
        kept = keep[h, m]
        for n in range(v.shape[1]):
            r[i + 1, m, n] = clip(kept * r[i, m, n] + q[m, n], ends[4], ends[5])


@jit
def _backward(  # type: ignore[no-untyped-def]
    w, ratio, unit, bias, bow, first, last, back, inv, keep, ends, variance, noise, through,
    u, kept, gy, gw, gratio, gu, start, stop,
):  # fmt: skip
    """Gradients in the shapes of w, ratio and u; every clip passes gradient only inside its range."""
    states, batch = kept.shape[2], u.shape[2]
    r = np.empty((SEGMENT + 1, states, batch), np.float32)
    v, q = np.empty((states + 1, batch), np.float32), np.empty((states + 1, batch), np.float32)
    acc, x, e = np.empty(batch, np.float32), np.empty(batch, np.float32), np.empty(batch, np.float32)
    g, gv = np.empty((states, batch), np.float32), np.empty((states + 1, batch), np.float32)
    for h in range(start, stop):
        g[:] = 0
        for segment in range(kept.shape[1] - 1, -1, -1):
            begin = segment * SEGMENT
            steps = min(SEGMENT, u.shape[1] - begin)
            r[0] = kept[h, segment]
            for i in range(steps):
                _advance(
                    w, ratio, unit, bias, bow, first, last, back, inv, keep, ends, variance, noise,
                    u, h, begin + i, r, i, v, q, acc, x,
                )  # fmt: skip
            for reverse in range(steps):
                i = steps - 1 - reverse
                k = begin + i
                _drive(inv, ends, u, h, k, r, i, v)
                gv[:] = 0
                for j in range(states + 1):
                    _convert(w, ratio, unit, bias, bow, first, last, variance, noise, h, k, j, v, acc, x)
                    _column_gradient(
                        through, ratio, unit, first, last, back, keep, ends, h, k, j,
                        r, i, v, acc, x, e, g, gy, gv, gw, gratio,
                    )  # fmt: skip
                for m in range(states):
                    scale = inv[h, m]
                    for n in range(batch):
                        here = r[i, m, n] * scale
                        open_ = scale if np.rint(here) == v[m, n] else np.float32(0)
                        g[m, n] += gv[m, n] * open_
                for n in range(batch):
                    gu[h, k, n] = gv[states, n]


@jit
def _column_gradient(  # type: ignore[no-untyped-def]
    through, ratio, unit, first, last, back, keep, ends, h, k, j, r, i, v, acc, x, e, g, gy, gv, gw, gratio
):  # fmt: skip
    """From the gradient at the registers after the step, or at y, back through column j; ``g`` becomes what stays."""
    zero = np.float32(0)
    lo, hi, gain, scale = first[h, j], last[h, j], back[h, j], ratio[h, j] / unit[h, j]
    states = g.shape[0]
    slope = zero
    for n in range(e.shape[0]):
        code = np.rint(x[n])
        inside = clip(code, lo, hi)
        value = np.rint(gain * inside)
        q = clip(value, ends[2], ends[3])
        if j < states:
            total = keep[h, j] * r[i, j, n] + q
            upstream = g[j, n] if clip(total, ends[4], ends[5]) == total else zero
            g[j, n] = keep[h, j] * upstream
        else:
            upstream = gy[h, k, n]
        e[n] = upstream * gain if code == inside and q == value else zero
        slope += e[n] * acc[n]
    gratio[h, j] += slope / unit[h, j]
    for m in range(states + 1):
        cell, total = through[h, j, m] * scale, zero
        for n in range(e.shape[0]):
            total += e[n] * v[m, n]
            gv[m, n] += e[n] * cell
        gw[h, j, m] += total * scale
