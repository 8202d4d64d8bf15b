"""``FFTConv`` of github.com/state-spaces/s4 (models/s4/s4.py), inside ``S4Block``: S4D and S4 all options."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from ssmc.export.adapters import Candidate, Refused
from ssmc.export.layouts import time_axes
from ssmc.export.linear_scan import LinearScan
from ssmc.export.s4_kernels import Kernel, find_kernel, scans


class S4AsScan(nn.Module):
    """The convolution of H channels with C kernels each as a scan, and the layer's activation; dropout is left out.

    Args:
        layer: the layer.
        scan: its kernels.
        transposed: input and output are (B, H, L), else (B, L, H).
    """

    def __init__(self, layer: Any, scan: LinearScan, transposed: bool) -> None:
        super().__init__()
        self.scan = scan
        self.activation = getattr(layer, "activation", nn.Identity())
        self.transposed = transposed

    def forward(self, u: Tensor, *ignored: Any, **more: Any) -> Tensor:
        """The output in the input's layout."""
        y = self.scan(u.mT if self.transposed else u)
        active: Tensor = self.activation(y.mT if self.transposed else y)
        return active


def adapt(layer: nn.Module) -> Iterator[Candidate] | None:
    """Every reading of the layer; None for any other layer."""
    d = layer._parameters.get("D")
    kernel = find_kernel(layer) if d is not None else None
    if d is None or kernel is None:
        return None
    if getattr(layer, "bidirectional", False) or kernel.c.shape[1] == 2 * d.numel() // len(kernel.c):
        reason = "is bidirectional: its output at a step needs all later inputs, and no recurrence has them"
        raise Refused(reason, "train the model with bidirectional=False")
    return _readings(layer, kernel, d)


def _readings(layer: nn.Module, kernel: Kernel, d: Tensor) -> Iterator[Candidate]:
    by_output = not getattr(layer, "swap_channels", False)
    for convention, scan in scans(kernel, d.reshape(-1, len(kernel.c)).T, by_output):
        for transposed in time_axes(layer):
            yield Candidate(convention, S4AsScan(layer, scan, transposed))
