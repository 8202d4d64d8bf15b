"""Weights on a grid, and the noise of the cells that hold them: scales, codes, a straight-through gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ssmc.qat.config import Clipping, Grid, QuantConfig


def grid_scale(largest: Tensor, codes: float, power_of_two: bool) -> Tensor:
    """Smallest scale with ``largest <= codes * scale``; rounded up to a power of two if asked. Zero maps to 1."""
    scale = torch.where(largest > 0, largest, torch.full_like(largest, codes)) / codes
    return torch.exp2(torch.ceil(torch.log2(scale))) if power_of_two else scale


def straight_to(value: Tensor, through: Tensor) -> Tensor:
    """``value`` forward, the gradient of ``through`` backward (exact: no a + (b - a))."""
    return _Replace.apply(value, through)  # type: ignore[no-any-return,no-untyped-call]


class _Replace(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, value: Tensor, through: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: object, *grads: Tensor) -> tuple[None, Tensor]:
        return None, grads[0]


@torch.no_grad()
def weight_scale(rows: Tensor, grid: Grid, power_of_two: bool, clipping: Clipping = "mse") -> Tensor:
    """One scale for each row of weights (rows, n): of least squared error, or such that nothing is clipped.

    Without zero: the mean magnitude, which is the best scale of -1 and 1 (arXiv 1603.05279).
    """
    limit = grid.limit
    if not grid.zero:
        return grid_scale(rows.abs().mean(1), 1 / math.sqrt(2) if power_of_two else 1, power_of_two)
    widest = grid_scale(rows.abs().amax(1), limit, power_of_two)
    if clipping == "max":
        return widest
    candidates = widest[:, None] * torch.exp2(-torch.arange(0, 3.25, 1.0 if power_of_two else 0.25, device=rows.device))
    scaled = rows[:, None] / candidates[..., None]
    error = candidates**2 * (scaled - scaled.round().clamp(-limit, limit)).square().sum(-1)
    return candidates.gather(1, error.argmin(1, keepdim=True))[:, 0]


def weight_codes(scaled: Tensor, grid: Grid) -> Tensor:
    """Codes of weights in units of their scale; the gradient passes everywhere, clipped or not."""
    with torch.no_grad():
        codes = scaled.round().clamp(-grid.limit, grid.limit)
        if not grid.zero:
            codes = torch.where(scaled < 0, -1.0, 1.0)
    return straight_to(codes, scaled)


class WeightNoise(nn.Module):
    """Gaussian noise on weight codes w, of standard deviation w_max sum_i c_i |w / w_max|^i, w_max the largest code."""

    def __init__(self, config: QuantConfig) -> None:
        super().__init__()
        self.training_law = config.weight_noise_poly or (config.weight_noise,)
        self.always: tuple[float, ...] | None = None

    @property
    def law(self) -> tuple[float, ...]:
        """The c_i: ``always`` where it is set (`set_noise`), else what the configuration asks for while training."""
        if self.always is not None:
            return self.always
        return self.training_law if self.training else (0.0,)

    def forward(self, codes: Tensor, largest: int) -> Tensor:
        """``codes`` with noise, which the gradient takes for a constant."""
        if not any(self.law):
            return codes
        return codes + _spread(codes.detach(), self.law, largest) * torch.randn_like(codes)


def _spread(codes: Tensor, law: Sequence[float], largest: int) -> Tensor | float:
    if len(law) == 1:
        return law[0] * largest
    relative = codes.abs() / largest
    return largest * sum(c * relative**i for i, c in enumerate(law)).clamp_min(0)  # type: ignore[union-attr]


def set_noise(model: nn.Module, sigma: float | Sequence[float] | None) -> None:
    """Weight noise in training and evaluation, drawn anew at every call; None: as configured.

    ``sigma`` is relative to the largest code, or the coefficients of a law (`WeightNoise`).
    """
    law = sigma if sigma is None or isinstance(sigma, Sequence) else (sigma,)
    for module in model.modules():
        if isinstance(module, WeightNoise):
            module.always = None if law is None else tuple(law)
