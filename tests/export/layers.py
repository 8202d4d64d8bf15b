"""State-space layers as other people write them: complex parameters and convolution by FFT, from the equations."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class S4DKernel(nn.Module):
    """k[l] = 2 Re(sum C (exp(dt A) - 1) / A exp(dt A l)) of shape (H, L)."""

    def __init__(self, h: int, n: int) -> None:
        super().__init__()
        self.log_dt = nn.Parameter(torch.rand(h) * math.log(10) + math.log(0.01))
        self.C = nn.Parameter(torch.randn(h, n, 2))
        self.log_A_real = nn.Parameter(torch.full((h, n), math.log(0.5)))
        self.A_imag = nn.Parameter(math.pi * torch.arange(n, dtype=torch.float32).repeat(h, 1))

    def forward(self, length: int) -> Tensor:
        a = -torch.exp(self.log_A_real) + 1j * self.A_imag
        dt_a = a * torch.exp(self.log_dt)[:, None]
        c = torch.view_as_complex(self.C) * (torch.exp(dt_a) - 1.0) / a
        powers = torch.exp(dt_a[..., None] * torch.arange(length))
        return 2 * torch.einsum("hn,hnl->hl", c, powers).real


class S4D(nn.Module):
    """Convolution, activation, mixing of channels; (B, H, L), or (B, L, H) where not ``transposed``."""

    def __init__(self, h: int, n: int, transposed: bool = True) -> None:
        super().__init__()
        self.transposed = transposed
        self.D = nn.Parameter(torch.randn(h))
        self.kernel = S4DKernel(h, n)
        self.activation = nn.GELU()
        self.dropout = nn.Dropout(0.1)
        self.output_linear = nn.Sequential(nn.Conv1d(h, 2 * h, kernel_size=1), nn.GLU(dim=-2))

    def forward(self, u: Tensor, **kwargs: object) -> tuple[Tensor, None]:
        u = u if self.transposed else u.transpose(-1, -2)
        length = u.shape[-1]
        spectrum = torch.fft.rfft(self.kernel(length), n=2 * length) * torch.fft.rfft(u, n=2 * length)
        y = torch.fft.irfft(spectrum, n=2 * length)[..., :length] + u * self.D[:, None]
        y = self.output_linear(self.dropout(self.activation(y)))
        return y if self.transposed else y.transpose(-1, -2), None


class Network(nn.Module):
    """Encoder, S4D blocks with a residual, mean over time, decoder."""

    def __init__(self, transposed: bool = True, layers: int = 2, norm: bool = True) -> None:
        super().__init__()
        self.encoder = nn.Linear(3, 8)
        self.blocks = nn.ModuleList([S4D(8, 4, transposed) for _ in range(layers)])
        self.norms = nn.ModuleList([nn.LayerNorm(8) if norm else nn.Identity() for _ in range(layers)])
        self.decoder = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.encoder(x)
        for block, norm in zip(self.blocks, self.norms, strict=True):
            y = block(x.mT)[0].mT if block.transposed else block(x)[0]
            x = norm(x + y)
        return self.decoder(x.mean(1))
