"""Exponentially weighted pooling: ``m' = m + (x' - m) / 2^shift`` from the first step on, read at the last one.

Quantized as `ssmc.ir.operations.ExponentialMean`: codes on the grid of what is pooled, and a register that keeps what
rounding leaves. The gradient is that of the real mean.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssmc.qat.config import Mode
from ssmc.qat.fake_quant import Quantizer
from ssmc.qat.recurrence import Step, run_loop, run_scan
from ssmc.qat.weights import straight_to


def exponential_mean(x: Tensor, shift: int, quantizer: Quantizer, lengths: Tensor | None = None) -> Tensor:
    """Means (N, C) at the last true step of x (N, T, C), which ``quantizer`` has made; T is 1 at least."""
    if torch.compiler.is_exporting() or not x.requires_grad:
        return _walked(x, shift, quantizer, lengths)
    real = _weighted(x, shift, lengths)
    if quantizer.mode is not Mode.QUANTIZED:
        return real
    with torch.no_grad():
        codes = _walked(x, shift, quantizer, lengths)
    return straight_to(codes, real)


def _walked(x: Tensor, shift: int, quantizer: Quantizer, lengths: Tensor | None) -> Tensor:
    """Step by step."""
    run = run_scan if torch.compiler.is_exporting() else run_loop
    if quantizer.mode is Mode.QUANTIZED:
        codes = quantizer.codes(x)
        means = run(_quantized_step(shift, quantizer), codes[:, 0] * 2.0**shift, codes)[1] * quantizer.scale
    else:
        means = run(_real_step(shift), x[:, 0], x)[1]
    if lengths is None:
        return means[:, -1]
    return means[torch.arange(len(x), device=x.device), lengths - 1]


def _real_step(shift: int) -> Step:
    def step(m: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        new = m + (x - m) / 2.0**shift
        return new, new.clone()

    return step


def _quantized_step(shift: int, quantizer: Quantizer) -> Step:
    """One step on codes; nothing clips: the ends say how wide the codes are."""
    lo, hi = quantizer.ends
    one, unit = quantizer.unit, quantizer.unit * 2.0**shift

    def step(r: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        held = torch.ops.ssmc.fake_quant(r, unit, one, lo, hi)
        moved = torch.ops.ssmc.fake_quant(u - held, one, one, lo - hi, hi - lo)
        new = torch.clamp(r + moved, lo * 2**shift, hi * 2**shift)
        return new, torch.ops.ssmc.fake_quant(new, unit, one, lo, hi)

    return step


def _weighted(x: Tensor, shift: int, lengths: Tensor | None) -> Tensor:
    """The same in real numbers: weights ``2^-shift (1 - 2^-shift)^age``, the first step with all that is before it."""
    steps, last = torch.arange(x.shape[1], device=x.device), x.shape[1] - 1
    age = (last - steps if lengths is None else lengths[:, None] - 1 - steps).to(x)
    kept = (1 - 2.0**-shift) ** age.clamp(min=0)
    weight = torch.where(age < 0, torch.zeros_like(kept), torch.where(steps == 0, kept, 2.0**-shift * kept))
    return (x * weight.unsqueeze(-1)).sum(1)
