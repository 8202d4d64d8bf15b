"""A diagonal state space in every channel, as a scan: most adapters of torch layers are made with it."""

from __future__ import annotations

from torch import Tensor

from ssmc.export.linear_scan import ModalScan


class DiagonalScan(ModalScan):
    """N complex modes for each of H channels; input and output (batch, T, H).

    ::

        x[k+1] = A x[k] + B u[k]
        y[k]   = gain Re(sum C x[k+1]) + D u[k]

    Args:
        a, b, c: A, B, C of the discrete system, complex (H, N).
        d: D, real (H).
        gain: 2 where each mode stands for itself and its conjugate, 1 where it stands for itself.
    """

    def __init__(self, a: Tensor, b: Tensor, c: Tensor, d: Tensor, gain: float = 2.0) -> None:
        super().__init__(a, b[:, :, None], c[:, None], d[:, None, None], gain)
