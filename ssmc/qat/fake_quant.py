"""The one quantizer of ssmc.qat: q = clip(round_half_even(x / scale), lo, hi), value out_scale * q.

It is a torch custom op, so an exported graph still knows where each quantizer is (``ssmc.export`` turns it into
QuantizeLinear and DequantizeLinear). Gradient: straight through where the code is inside [lo, hi], zero outside.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ssmc.qat.config import Granularity, Mode, QuantConfig, signed_range
from ssmc.qat.devices import has_triton
from ssmc.qat.weights import grid_scale, straight_to

LARGEST_ON_GPU = 1 << 22  # code that the kernels of ssmc.qat.gpu still round
ENOUGH = 1 << 13  # values of one number, in one batch, to choose its step by


def _one_pass(x: Tensor, scale: Tensor, out_scale: Tensor, hi: int) -> ModuleType | None:
    """What computes this in one pass over the memory: float32 with one scale, on the CPU or a GPU; else None."""
    if x.dtype != torch.float32 or scale.numel() != 1 or out_scale.numel() != 1 or not x.numel():
        return None
    if x.device.type == "cpu":
        from ssmc.qat import pointwise  # numba only where it is used

        return pointwise
    if has_triton(x) and hi < LARGEST_ON_GPU:
        from ssmc.qat import gpu

        return gpu
    return None


@torch.library.custom_op("ssmc::fake_quant", mutates_args=())
def fake_quant(x: Tensor, scale: Tensor, out_scale: Tensor, lo: int, hi: int) -> Tensor:
    """out_scale * clip(round_half_even(x / scale), lo, hi); ``scale`` and ``out_scale`` broadcast against x."""
    fast = _one_pass(x, scale, out_scale, hi)
    if fast is not None:
        return fast.quantize(x, scale, out_scale, lo, hi)  # type: ignore[no-any-return]
    return torch.clamp(torch.round(x / scale), lo, hi) * out_scale


@fake_quant.register_fake
def _(x: Tensor, scale: Tensor, out_scale: Tensor, lo: int, hi: int) -> Tensor:
    return torch.empty_like(x)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, scale, out_scale, ctx.lo, ctx.hi = inputs
    ctx.save_for_backward(x, scale, out_scale)


def _straight_through(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, scale, out_scale = ctx.saved_tensors
    found = _gradients(grad, x, scale, out_scale, ctx.lo, ctx.hi)
    wanted = (g if needed else None for g, needed in zip(found, ctx.needs_input_grad, strict=False))
    return (*wanted, None, None)


def _gradients(grad: Tensor, x: Tensor, scale: Tensor, out_scale: Tensor, lo: int, hi: int) -> tuple[Tensor, ...]:
    """Of x, scale and out_scale.

    With both scales one parameter s this is the learned step size of LSQ (arXiv 1902.08153): rhe(x / s) - x / s where
    the code is inside its range, the nearest end where it is not.
    """
    fast = _one_pass(x, scale, out_scale, hi)
    if fast is not None:
        return fast.gradients(grad, x, scale, out_scale, lo, hi)  # type: ignore[no-any-return]
    z = x / scale
    code = torch.round(z)
    inside = grad * ((code >= lo) & (code <= hi))
    slope = (-inside * z * out_scale / scale).sum_to_size(scale.shape)
    total = (grad * code.clamp(lo, hi)).sum_to_size(out_scale.shape)
    return inside * (out_scale / scale), slope, total


fake_quant.register_autograd(_straight_through, setup_context=_keep)


class StepSearch:
    """The step of a quantizer from data: of least squared error, or such that nothing observed is clipped.

    Candidates are powers of two, or quarter powers; one step per entry of the trailing ``shape``, shared along the
    axes where ``granularity`` says so.
    """

    def __init__(
        self,
        lo: int,
        hi: int,
        shape: tuple[int, ...],
        config: QuantConfig,
        granularity: Granularity = "mode",
    ) -> None:
        self.lo, self.hi, self.shape, self.config = lo, hi, shape, config
        self.axes = {"mode": (), "channel": tuple(range(1, len(shape))), "tensor": tuple(range(len(shape)))}[
            granularity
        ]
        self.candidates = torch.exp2(torch.arange(-18.0, 10.0, 1.0 if config.power_of_two else 0.25))
        self.error = torch.zeros(len(self.candidates), *shape, dtype=torch.float64)
        self.largest = torch.zeros(shape)

    def observe(self, x: Tensor) -> None:
        """Add the error of every candidate on x (..., *shape), on some `ENOUGH` of its rows where there are more."""
        from ssmc.qat.pointwise import squared_errors  # numba only where it is used

        rows = x.flatten(0, x.ndim - len(self.shape) - 1).flatten(1) if self.shape else x.reshape(-1, 1)
        self.largest = torch.maximum(self.largest, rows.abs().amax(0).cpu().view(self.shape))
        stride = len(rows) // ENOUGH | 1  # odd: rows alternate between parts and sequences by powers of two
        self.error += squared_errors(rows[::stride], self.candidates, self.lo, self.hi).view_as(self.error)

    def best(self) -> Tensor:
        """(*shape); the largest of equally good candidates, so that all-zero data get a harmless step."""
        if self.config.clipping == "max":
            largest = self.largest.amax(self.axes, keepdim=True) if self.axes else self.largest
            return grid_scale(largest, self.hi, self.config.power_of_two).expand(self.shape)
        axes = tuple(axis + 1 for axis in self.axes)
        error = self.error.sum(axes, keepdim=True) if axes else self.error
        return self.candidates.flip(0)[error.flip(0).argmin(0)].expand(self.shape)


class Quantizer(nn.Module):
    """A per-tensor quantizer whose scale is calibrated from data, then kept or learned.

    ``lo..hi`` is -2^(b-1)..2^(b-1)-1, or 0..2^b-1 with ``signed=False``. ``inside`` (N, T) says which steps it observes
    where some are padding (`see`).
    """

    unit: Tensor
    inside: Tensor | None = None

    def __init__(self, bits: int, config: QuantConfig, signed: bool = True) -> None:
        super().__init__()
        self.lo, self.hi = signed_range(bits) if signed else (0, (1 << bits) - 1)
        self.search = StepSearch(self.lo, self.hi, (), config)
        self.mode = Mode.FLOAT
        self.step = LearnedStep((), config)
        self.register_buffer("unit", torch.tensor(1.0), persistent=False)

    @property
    def ends(self) -> tuple[int, int]:
        """Smallest and largest code."""
        return self.lo, self.hi

    @property
    def scale(self) -> Tensor:
        """The step, a scalar."""
        return self.step()  # type: ignore[no-any-return]

    def forward(self, x: Tensor, codes: bool = False) -> Tensor:
        """The value on the grid (x itself unless QUANTIZED); with ``codes`` the integer codes instead."""
        if self.mode is Mode.CALIBRATE:
            self.observe(x)
        if self.mode is not Mode.QUANTIZED:
            return x
        if codes:
            return self.codes(x)
        scale = self.scale
        return torch.ops.ssmc.fake_quant(x, scale, scale, self.lo, self.hi)  # type: ignore[no-any-return]

    def codes(self, x: Tensor) -> Tensor:
        """The integer codes of x, in any mode."""
        return torch.ops.ssmc.fake_quant(x, self.scale, self.unit, self.lo, self.hi)  # type: ignore[no-any-return]

    @torch.no_grad()
    def observe(self, x: Tensor) -> None:
        """Refine the scale with this batch."""
        x = x.detach()
        self.search.observe(x if self.inside is None else x[self.inside])
        self.step.set(self.search.best())


def see(module: nn.Module, inside: Tensor | None) -> None:
    """Let all that observes in ``module`` see only the steps of (N, T) that are data; None: all."""
    for each in module.modules():
        if getattr(each, "inside", inside) is not inside:
            each.inside = inside  # type: ignore[assignment]


class LearnedStep(nn.Module):
    """Steps 2^w, w a parameter where the configuration says ``learned``; powers of two round w, straight through."""

    frozen: Tensor | None

    def __init__(self, shape: tuple[int, ...], config: QuantConfig) -> None:
        super().__init__()
        self.power_of_two = config.power_of_two
        self.log2_step = nn.Parameter(torch.zeros(shape), requires_grad=config.learned)
        self.register_buffer("frozen", None, persistent=False)

    def forward(self) -> Tensor:
        """The steps."""
        if self.frozen is not None:
            return self.frozen
        w = self.log2_step
        return torch.exp2(straight_to(w.detach().round(), w) if self.power_of_two else w)

    @torch.no_grad()
    def freeze(self) -> None:
        """Keep the float32 values; for export. 2^w elsewhere can differ in the last bit, which decides ties."""
        self.frozen = self.forward().clone()

    @torch.no_grad()
    def set(self, step: Tensor) -> None:
        """Start from ``step``."""
        self.log2_step.copy_(torch.log2(step))
