"""A per-tensor quantizer and its gradients in one pass over the memory each, on the CPU."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ssmc.qat.threads import jit, share


def quantize(x: Tensor, scale: Tensor, out_scale: Tensor, lo: int, hi: int) -> Tensor:
    """out_scale * clip(round_half_even(x / scale), lo, hi)."""
    source = x.detach().contiguous()
    result = torch.empty_like(source)
    arrays = source.numpy().reshape(-1), result.numpy().reshape(-1)
    step, out = np.float32(scale.item()), np.float32(out_scale.item())
    share(source.numel(), lambda first, last: _quantize(*arrays, step, out, lo, hi, first, last))
    return result


def gradients(grad: Tensor, x: Tensor, scale: Tensor, out_scale: Tensor, lo: int, hi: int) -> tuple[Tensor, ...]:
    """Straight-through gradients of x, scale and out_scale; of the first two, zero where the code is clipped."""
    upstream, source = grad.contiguous(), x.detach().contiguous()
    result = torch.empty_like(source)
    arrays = [t.numpy().reshape(-1) for t in (upstream, source, result)]
    step, out = np.float32(scale.item()), np.float32(out_scale.item())
    sums = share(source.numel(), lambda first, last: _gradients(*arrays, step, out, lo, hi, first, last))
    slope, total = (sum(parts) for parts in zip(*sums, strict=True))
    return result, torch.full_like(scale, slope), torch.full_like(out_scale, total)


def squared_errors(x: Tensor, steps: Tensor, lo: int, hi: int) -> Tensor:
    """Summed over rows, the squared errors of quantizing x (M, K) with each of ``steps`` (S): (S, K) float64."""
    errors = torch.zeros(len(steps), x.shape[1], dtype=torch.float64)
    arrays = x.detach().float().contiguous().cpu().numpy(), steps.float().numpy(), errors.numpy()
    share(x.shape[1], lambda first, last: _squared_errors(*arrays, lo, hi, first, last))
    return errors


@jit
def _squared_errors(x, steps, errors, lo, hi, first, last):  # type: ignore[no-untyped-def]
    low, high = np.float32(lo), np.float32(hi)
    for i in range(x.shape[0]):
        for s in range(len(steps)):
            step, inverse = steps[s], np.float32(1) / steps[s]
            for k in range(first, last):
                error = x[i, k] - step * min(max(np.rint(x[i, k] * inverse), low), high)
                errors[s, k] += error * error


@jit
def _quantize(x, y, scale, out, lo, hi, first, last):  # type: ignore[no-untyped-def]
    low, high = np.float32(lo), np.float32(hi)
    x, y = x[first:last], y[first:last]  # an index from 0 needs no test for a negative one: the loop becomes vectors
    for i in range(len(x)):
        y[i] = min(max(np.rint(x[i] / scale), low), high) * out


@jit
def _gradients(g, x, gx, scale, out, lo, hi, first, last):  # type: ignore[no-untyped-def]
    low, high, zero = np.float32(lo), np.float32(hi), np.float32(0)
    slope, total = zero, zero
    ratio = out / scale
    g, x, gx = g[first:last], x[first:last], gx[first:last]
    for i in range(len(x)):
        z = x[i] / scale
        code = np.rint(z)
        clipped = min(max(code, low), high)
        inside = g[i] if clipped == code else zero
        gx[i] = inside * ratio
        slope -= inside * z
        total += g[i] * clipped
    return slope * ratio, total
