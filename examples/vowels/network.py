"""A network as example.py of github.com/state-spaces/s4 has it, written from the equations: complex and by FFT.

Nothing here knows of ssmc; `ssmc export` finds the S4D layers by their parameters.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

FEATURES, CLASSES = 12, 9


class Kernel(nn.Module):
    """k[l] = 2 Re(sum_n C_n (exp(dt A_n) - 1) / A_n exp(dt A_n l)) of shape (H, L): S4D-Lin, zero-order hold."""

    def __init__(self, channels: int, states: int) -> None:
        super().__init__()
        modes, steps = states // 2, (math.log(0.001), math.log(0.1))
        self.log_dt = nn.Parameter(torch.rand(channels) * (steps[1] - steps[0]) + steps[0])
        self.C = nn.Parameter(torch.view_as_real(torch.randn(channels, modes, dtype=torch.cfloat)))
        self.log_A_real = nn.Parameter(torch.full((channels, modes), math.log(0.5)))
        self.A_imag = nn.Parameter(math.pi * torch.arange(modes).float().repeat(channels, 1))

    def forward(self, length: int) -> Tensor:
        """The impulse response."""
        a = torch.complex(-self.log_A_real.exp(), self.A_imag)
        dt_a = a * self.log_dt.exp()[:, None]
        c = torch.view_as_complex(self.C) * (dt_a.exp() - 1.0) / a
        return 2 * torch.einsum("hn,hnl->hl", c, (dt_a[..., None] * torch.arange(length)).exp()).real


class S4D(nn.Module):
    """Convolution with the kernel, GELU, dropout, mixing of channels with a gate: (B, H, L) to (B, H, L)."""

    def __init__(self, channels: int, states: int, dropout: float) -> None:
        super().__init__()
        self.D = nn.Parameter(torch.randn(channels))
        self.kernel = Kernel(channels, states)
        self.activation = nn.GELU()
        self.dropout = nn.Dropout1d(dropout)
        self.output_linear = nn.Sequential(nn.Conv1d(channels, 2 * channels, 1), nn.GLU(dim=-2))

    def forward(self, u: Tensor) -> Tensor:
        """The causal convolution has no end effects: it is taken at twice the length."""
        n = 2 * u.shape[-1]
        spectrum = torch.fft.rfft(self.kernel(u.shape[-1]), n=n) * torch.fft.rfft(u, n=n)
        y = torch.fft.irfft(spectrum, n=n)[..., : u.shape[-1]] + u * self.D[:, None]
        mixed: Tensor = self.output_linear(self.dropout(self.activation(y)))
        return mixed


class Network(nn.Module):
    """Encoder; blocks of S4D, residual and LayerNorm behind it; mean over time; decoder: (B, L, d) to (B, classes)."""

    def __init__(self, channels: int = 128, states: int = 64, blocks: int = 4, dropout: float = 0.2) -> None:
        super().__init__()
        self.encoder = nn.Linear(FEATURES, channels)
        self.layers = nn.ModuleList([S4D(channels, states, dropout) for _ in range(blocks)])
        self.norms = nn.ModuleList([nn.LayerNorm(channels) for _ in range(blocks)])
        self.dropouts = nn.ModuleList([nn.Dropout1d(dropout) for _ in range(blocks)])
        self.decoder = nn.Linear(channels, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the classes."""
        x = self.encoder(x).mT
        for layer, norm, dropout in zip(self.layers, self.norms, self.dropouts, strict=True):
            x = norm((dropout(layer(x)) + x).mT).mT
        scores: Tensor = self.decoder(x.mT.mean(1))
        return scores


def build() -> Network:
    """For ``ssmc export``."""
    return Network()
