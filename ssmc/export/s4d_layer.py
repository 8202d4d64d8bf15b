"""The S4D layer of github.com/state-spaces/s4 (models/s4/s4d.py), whose FFT of complex kernels torch cannot export."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ssmc.export.diagonal_scan import DiagonalScan

PARTS = {"D", "kernel.C", "kernel.log_dt", "kernel.log_A_real", "kernel.A_imag"}


class S4DAsScan(nn.Module):
    """The layer with its convolution as a scan; activation, mixing and layout are the layer's own."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.scan = scan_of(layer)
        self.after = nn.Sequential(layer.activation, layer.dropout, layer.output_linear)
        self.transposed = bool(layer.transposed)

    def forward(self, u: Tensor, **ignored: object) -> tuple[Tensor, None]:
        """Input (B, H, L) where the layer is ``transposed``, else (B, L, H); the output likewise, and no state."""
        y = self.scan(u.mT if self.transposed else u).mT
        y = self.after(y)
        return y if self.transposed else y.mT, None


def adapt(layer: nn.Module) -> nn.Module | None:
    """The layer with a scan; None for any other layer."""
    if type(layer).__name__ != "S4D" or not layer.state_dict().keys() >= PARTS:
        return None
    return S4DAsScan(layer)


def scan_of(layer: Any) -> DiagonalScan:
    """Zero-order hold of A = -exp(log_A_real) + i A_imag, with B = 1 drawn into C: C (exp(dt A) - 1) / A."""
    kernel = layer.kernel
    a = torch.complex(-kernel.log_A_real.double().exp(), kernel.A_imag.double())
    discrete = (kernel.log_dt.double().exp()[:, None] * a).exp()
    c = torch.view_as_complex(kernel.C.double().contiguous()) * (discrete - 1) / a
    return DiagonalScan(discrete, torch.ones_like(discrete), c, layer.D)
