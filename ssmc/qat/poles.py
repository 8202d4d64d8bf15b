"""Blocks of an S4D layer: complex pairs beside blocks of one or two real poles, stable for all parameters.

With x = log_A_real and w = A_imag of a block, dt = exp(log_dt) and c the two numbers of C:

    complex pair:  lambda   = exp(dt (-exp x + iw))     b = (lambda - 1) / A        y = 2 Re((c_1 + i c_2) s)
    real poles:    lambda_1 = g_1 exp(-dt exp x)        b_i = 1 - |lambda_i|        y = c_1 s_1 + c_2 s_2
                   lambda_2 = g_2 exp(-dt exp w)

g is 1 or -1, or 0 where there is no state: that place has b = c = 0 and the pole of the other one, so that it widens no
grid. b_i makes the gain from a constant input (of changing sign, for g = -1) to the state 1 or -1 for all poles.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ssmc.qat.kernel import Kernel, Kinds, convolve, discretise, real_kernel


@dataclass(frozen=True)
class Blocks:
    """Parameters of a layer: log_dt (H), x, w (H, N), C (H, N, 2), D (H), turning (H, N), g (H, N, 2)."""

    log_dt: Tensor
    x: Tensor
    w: Tensor
    C: Tensor
    D: Tensor
    turning: Tensor
    g: Tensor

    @property
    def kinds(self) -> Kinds | None:
        """None where all blocks are complex pairs."""
        return None if bool(self.turning.all()) else Kinds(self.turning, (self.g != 0).to(self.C.dtype))

    @property
    def orders(self) -> Tensor:
        """Number of states of each channel, (H)."""
        return (self.g != 0).sum((1, 2))

    @property
    def read_factor(self) -> Tensor:
        """What C is multiplied by to read the states, (H, N, 2)."""
        pair = self.C.new_tensor([2.0, -2.0])
        return torch.where(self.turning[..., None], pair, torch.ones_like(pair))

    def kernel(self, keep: Tensor) -> Kernel:
        """M; ``keep`` (H, N) is 1 for a block in delta form, 0 in direct form."""
        delta, b = discretise(self.log_dt, self.x, self._angle())
        pairs = real_kernel(delta, b, torch.view_as_complex(self.C), self.D, keep)
        kinds = self.kinds
        if kinds is None:
            return pairs
        rate, sign = self._real()
        poles = torch.where(sign > 0, torch.expm1(rate), -torch.exp(rate) - 1) + (1 - keep)[..., None]
        turning = self.turning[..., None]
        decay = torch.where(turning[..., None], pairs.decay, torch.diag_embed(poles))
        b = torch.where(turning, pairs.b, -torch.expm1(rate)) * kinds.alive
        return Kernel(decay, b, self.C * self.read_factor * kinds.alive, self.D, kinds)

    def convolution(self, u: Tensor) -> Tensor:
        """Output (N, T, H) of the float kernel, by FFT."""
        delta, b = discretise(self.log_dt, self.x, self._angle())
        log_lambda, gain = torch.log(delta + 1), 2 * torch.view_as_complex(self.C) * b
        kinds = self.kinds
        if kinds is not None:
            rate, sign = self._real()
            flip = torch.pi * (sign < 0)
            real = -torch.expm1(rate) * self.C * kinds.alive * ~self.turning[..., None]
            log_lambda = torch.where(self.turning, log_lambda, torch.zeros_like(log_lambda))
            log_lambda = torch.cat([torch.complex(rate, flip.to(rate)).flatten(1), log_lambda], 1)
            gain = torch.cat([real.flatten(1) + 0j, gain * self.turning], 1)
        return convolve(log_lambda, gain, self.D, u)

    def _angle(self) -> Tensor:
        return torch.where(self.turning, self.w, torch.zeros_like(self.w))

    def _real(self) -> tuple[Tensor, Tensor]:
        """Log of the magnitude and sign of real poles, (H, N, 2); 0 and 1 in complex pairs."""
        first = torch.where(self.turning, torch.zeros_like(self.x), self.x)
        second = torch.where(self.turning | (self.g[..., 1] == 0), first, self.w)
        rate = -torch.exp(self.log_dt)[:, None, None] * torch.exp(torch.stack([first, second], -1))
        sign = torch.where(self.g == 0, self.g[..., :1], self.g)
        return rate, torch.where(sign == 0, torch.ones_like(sign), sign)
