"""A diagonal state space as the scan that `export_onnx` writes: what adapters of torch layers are made with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssmc.qat.kernel import real_kernel
from ssmc.qat.recurrence import float_step, run_loop, run_scan


class DiagonalScan(nn.Module):
    """N complex modes for each of H channels; the output is read after the update.

    ::

        x[k+1] = A x[k] + B u[k]
        y[k]   = gain Re(sum C x[k+1]) + D u[k]

    Inside it is one real matrix on [x; u] with the output read before the update: C x[k+1] = C A x[k] + C B u[k].

    Args:
        a, b, c: A, B, C of the discrete system, complex (H, N).
        d: D, real (H).
        gain: 2 where each mode stands for itself and its conjugate, 1 where it stands for itself.
    """

    matrix: Tensor

    def __init__(self, a: Tensor, b: Tensor, c: Tensor, d: Tensor, gain: float = 2.0) -> None:
        super().__init__()
        a, b, c = (value.detach().to(torch.complex128) for value in (a, b, c))
        half = gain / 2 * c  # `real_kernel` doubles it
        through = d.detach().double() + gain * (c * b).real.sum(1)
        kernel = real_kernel(a - 1, b, half * a, through, torch.zeros_like(a.real))
        self.register_buffer("matrix", kernel.dense().float())

    @property
    def states(self) -> int:
        """Real states of all channels."""
        return int(self.matrix.shape[0] * (self.matrix.shape[1] - 1))

    def forward(self, u: Tensor) -> Tensor:
        """Input u (N, T, H) -> y (N, T, H)."""
        state = u.new_zeros(u.shape[0], self.matrix.shape[0], self.matrix.shape[1] - 1)
        run = run_scan if torch.compiler.is_exporting() else run_loop
        return run(float_step(self.matrix), state, u)[1]
