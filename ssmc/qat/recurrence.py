"""One step of the recurrence and its loops, in torch.

The kernel step on codes v = [R; u] (semantics.md §1), with W (H, n+1, n+1), ratio (H, n+1) and 2^p (H, n):

    delta:   R = clip(rhe(r / 2^p));   q = clip(rhe(ratio W v));   r' = clip(r + q[:n], register);   y = q[n]
    direct:  R = r                 ;   q = clip(rhe(ratio W v));   r' = q[:n]                    ;   y = q[n]
    mixed:   delta, with r' = clip(keep r + q[:n], register), keep 1 or 0, and p = 0 where it is 0

The same functions are the training reference, the body of the exported Scan and the oracle of the compiled kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch._higher_order_ops.scan import scan

from ssmc.qat.config import Form, QuantConfig, signed_range

Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class StepRanges:
    """Code ranges of the converters and the register of one layer."""

    form: Form
    dac: tuple[int, int]
    adc: tuple[int, int]
    register: tuple[int, int]

    @classmethod
    def of(cls, config: QuantConfig, largest_shift: int) -> StepRanges:
        """Register of state_dac_bits + p + headroom bits, 24 at most so that float32 holds it exactly."""
        bits = min(24, config.state_dac_bits + largest_shift + config.register_headroom)
        return cls(config.form, signed_range(config.state_dac_bits), signed_range(config.adc_bits), signed_range(bits))


def float_step(m: Tensor) -> Step:
    """Step s' = A s + B u, y = C s + D u with the dense direct matrix M (H, n+1, n+1); s (N, H, n), u (N, H)."""
    n = m.shape[-1] - 1

    def step(s: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        return split(_columns(m, s, u), n)

    return step


def quantized_step(
    w: Tensor,
    ratio: Tensor,
    dac_step: Tensor,
    keep: Tensor,
    ranges: StepRanges,
    adc_noise: float = 0.0,
    normal: Callable[[Tensor], Tensor] = torch.randn_like,
) -> Step:
    """The kernel step on integer codes; register r (N, H, n), input codes u (N, H); ``keep`` (H, n/2) as in Scales.

    ``adc_noise`` times ``normal`` of what is converted (N, H, n+1) is added to it, in ADC steps, before it is rounded.
    """
    n = w.shape[-1] - 1
    one = torch.ones_like(ratio[0, 0])
    kept = keep.repeat_interleave(2, 1)

    def step(r: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        rows = r
        if ranges.form != "direct":
            rows = torch.ops.ssmc.fake_quant(r, dac_step, one, *ranges.dac)
        z = _columns(w, rows, u) * ratio
        if adc_noise:
            z = z + adc_noise * normal(z)
        q = torch.ops.ssmc.fake_quant(z, one, one, *ranges.adc)
        inc, y = split(q, n)
        if ranges.form == "direct":
            return inc, y
        return torch.clamp((r if ranges.form == "delta" else r * kept) + inc, *ranges.register), y

    return step


def run_loop(step: Step, state: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Python loop over u (N, T, H); returns (last state, y (N, T, H))."""
    outputs = []
    for k in range(u.shape[1]):
        state, y = step(state, u[:, k])
        outputs.append(y)
    return state, torch.stack(outputs, 1)


def run_scan(step: Step, state: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """The same as one ``scan``, which exports as one ONNX Scan with dynamic length."""
    last, y = scan(step, state, u.transpose(0, 1))
    return last, y.transpose(0, 1)


def joined(rows: Tensor, u: Tensor) -> Tensor:
    """What drives the rows (N, H, n+1, 1): states (N, H, n) and input (N, H)."""
    return torch.cat([rows, u.unsqueeze(-1)], -1).unsqueeze(-1)


def _columns(w: Tensor, rows: Tensor, u: Tensor) -> Tensor:
    return torch.matmul(w, joined(rows, u)).squeeze(-1)


def split(z: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """(..., n+1) -> states (..., n), y (...); contiguous clones, as a scan body must return."""
    return z[..., :n].clone(memory_format=torch.contiguous_format), z[..., n].clone()
