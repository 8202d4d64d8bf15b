"""The S4D layer of github.com/state-spaces/s4 (models/s4/s4d.py), whose FFT of complex kernels torch cannot export.

QS4D's float layer (github.com/SebastianSiegel840/qS4) is the same with an ``output_linear`` of another width. The S4
layer before version 4 has the same parts, and mixes channels in the layer's own layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from ssmc.export.adapters import Candidate
from ssmc.export.layouts import TimeAxis, time_axes
from ssmc.export.linear_scan import LinearScan
from ssmc.export.s4_kernels import Kernel, find_kernel, scans

PARTS = ("activation", "dropout", "output_linear")


class S4DAsScan(nn.Module):
    """The layer with its convolution as a scan; activation and mixing are the layer's own.

    Args:
        layer: the layer.
        scan: its kernel.
        transposed: input and output are (B, H, L), else (B, L, H).
        mixes_channels_first: activation and mixing see (B, H, L), else the layer's layout.
    """

    def __init__(self, layer: Any, scan: LinearScan, transposed: bool, mixes_channels_first: bool) -> None:
        super().__init__()
        self.scan = scan
        self.after = nn.Sequential(*(getattr(layer, part) for part in PARTS))
        self.transposed = transposed
        self.channels_first = transposed or mixes_channels_first

    def forward(self, u: Tensor, *ignored: Any, **more: Any) -> Tensor:
        """The output in the input's layout."""
        y: Tensor = self.scan(u.mT if self.transposed else u)
        y = self.after(y.mT if self.channels_first else y)
        return y.mT if self.channels_first and not self.transposed else y


def adapt(layer: nn.Module) -> Iterator[Candidate] | None:
    """Every reading of the layer; None for any other layer."""
    d = layer._parameters.get("D")
    kernel = find_kernel(layer) if d is not None else None
    if d is None or kernel is None:
        return None
    if all(isinstance(getattr(layer, part, None), nn.Module) for part in PARTS):
        return _readings(layer, kernel, d)
    return _alone(layer, kernel, d) if kernel.source is layer else None


def _alone(layer: nn.Module, kernel: Kernel, d: Tensor) -> Iterator[Candidate]:
    """Of a layer that holds the parameters itself and is the kernel and D, nothing behind it."""
    for convention, scan in scans(kernel, d.reshape(-1, len(kernel.c)).T):
        for transposed in time_axes(layer):
            yield Candidate(convention, TimeAxis(scan, transposed))


def _readings(layer: nn.Module, kernel: Kernel, d: Tensor) -> Iterator[Candidate]:
    for convention, scan in scans(kernel, d.reshape(-1, len(kernel.c)).T):
        for transposed in time_axes(layer):
            for channels_first in (True, False) if not transposed else (True,):
                yield Candidate(convention, S4DAsScan(layer, scan, transposed, channels_first))
