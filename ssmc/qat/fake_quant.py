"""The one quantizer of ssmc.qat: q = clip(round_half_even(x / scale), lo, hi), value out_scale * q.

It is a torch custom op, so an exported graph still knows where each quantizer is (``ssmc.export`` turns it into
QuantizeLinear and DequantizeLinear). Gradient: straight through where the code is inside [lo, hi], zero outside.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ssmc.qat.config import Mode, QuantConfig, signed_range


@torch.library.custom_op("ssmc::fake_quant", mutates_args=())
def fake_quant(x: Tensor, scale: Tensor, out_scale: Tensor, lo: int, hi: int) -> Tensor:
    """out_scale * clip(round_half_even(x / scale), lo, hi); ``scale`` and ``out_scale`` broadcast against x."""
    return torch.clamp(torch.round(x / scale), lo, hi) * out_scale


@fake_quant.register_fake
def _(x: Tensor, scale: Tensor, out_scale: Tensor, lo: int, hi: int) -> Tensor:
    return torch.empty_like(x)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, scale, out_scale, ctx.lo, ctx.hi = inputs
    ctx.save_for_backward(x, scale, out_scale)


def _straight_through(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
    x, scale, out_scale = ctx.saved_tensors
    code = torch.round(x / scale)
    inside = (code >= ctx.lo) & (code <= ctx.hi)
    return grad * inside * (out_scale / scale), None, None, None, None


fake_quant.register_autograd(_straight_through, setup_context=_keep)


def grid_scale(largest: Tensor, codes: float, power_of_two: bool) -> Tensor:
    """Smallest scale with ``largest <= codes * scale``; rounded up to a power of two if asked. Zero maps to 1."""
    scale = torch.where(largest > 0, largest, torch.full_like(largest, codes)) / codes
    return torch.exp2(torch.ceil(torch.log2(scale))) if power_of_two else scale


class StepSearch:
    """The step that quantizes observed data with the least squared error (clipping traded against resolution).

    Candidates are powers of two, or quarter powers; one step per entry of the trailing ``shape``.
    """

    def __init__(self, lo: int, hi: int, shape: tuple[int, ...], power_of_two: bool) -> None:
        self.lo, self.hi = lo, hi
        self.candidates = torch.exp2(torch.arange(-18.0, 10.0, 1.0 if power_of_two else 0.25))
        self.error = torch.zeros(len(self.candidates), *shape, dtype=torch.float64)

    def observe(self, x: Tensor) -> None:
        """Add the error of every candidate on x (..., *shape)."""
        axes = tuple(range(x.ndim - self.error.ndim + 1))
        for row, step in zip(self.error, self.candidates, strict=True):
            error = x - step * torch.clamp(torch.round(x / step), self.lo, self.hi)
            row += error.double().square().sum(axes).cpu()

    def best(self) -> Tensor:
        """(*shape); the largest of equally good candidates, so that all-zero data get a harmless step."""
        flipped = self.error.flip(0)
        return self.candidates.flip(0)[flipped.argmin(0)]


class Quantizer(nn.Module):
    """A per-tensor quantizer whose scale is calibrated from data, then frozen.

    ``lo..hi`` is -2^(b-1)..2^(b-1)-1, or 0..2^b-1 with ``signed=False``.
    """

    scale: Tensor
    unit: Tensor

    def __init__(self, bits: int, config: QuantConfig, signed: bool = True) -> None:
        super().__init__()
        self.lo, self.hi = signed_range(bits) if signed else (0, (1 << bits) - 1)
        self.search = StepSearch(self.lo, self.hi, (), config.power_of_two)
        self.mode = Mode.FLOAT
        self.register_buffer("scale", torch.tensor(1.0))
        self.register_buffer("unit", torch.tensor(1.0), persistent=False)

    def forward(self, x: Tensor, codes: bool = False) -> Tensor:
        """The value on the grid (x itself unless QUANTIZED); with ``codes`` the integer codes instead."""
        if self.mode is Mode.CALIBRATE:
            self.observe(x)
        if self.mode is not Mode.QUANTIZED:
            return x
        out_scale = self.unit if codes else self.scale
        return torch.ops.ssmc.fake_quant(x, self.scale, out_scale, self.lo, self.hi)  # type: ignore[no-any-return]

    @torch.no_grad()
    def observe(self, x: Tensor) -> None:
        """Refine the scale with this batch."""
        self.search.observe(x.detach())
        self.scale.copy_(self.search.best())
