"""A linear time-invariant state space as the scan that `export_onnx` writes: what adapters of torch layers return."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssmc.qat.recurrence import run_loop, run_scan


class LinearScan(nn.Module):
    """G recurrences of n real states; each reads m values a step and gives p.

    ::

        x[k+1] = A x[k] + B u[k]
        y[k]   = C x[k+1] + D u[k]

    Inside it is one real matrix on [x; u] with the output read before the update: C x[k+1] = C A x[k] + C B u[k].

    Args:
        a, b, c, d: A (G, n, n), B (G, n, m), C (G, p, n), D (G, p, m) of the discrete system, real.
        before: the output is read before the update, y[k] = C x[k] + D u[k].
        by_output: in y the first outputs of all recurrences come first, else all outputs of the first recurrence.
    """

    matrix: Tensor

    def __init__(
        self, a: Tensor, b: Tensor, c: Tensor, d: Tensor, before: bool = False, by_output: bool = False
    ) -> None:
        super().__init__()
        a, b, c, d = (value.detach().double() for value in (a, b, c, d))
        if not before:
            c, d = c @ a, c @ b + d
        upper, lower = torch.cat([a, b], 2), torch.cat([c, d], 2)
        self.n, self.m = a.shape[2], b.shape[2]
        self.by_output = by_output
        self.register_buffer("matrix", torch.cat([upper, lower], 1).float())

    @property
    def states(self) -> int:
        """Real states of all recurrences."""
        return len(self.matrix) * self.n

    def forward(self, u: Tensor) -> Tensor:
        """Input u (N, T, G m) -> y (N, T, G p); the inputs of a recurrence stand side by side."""
        state = u.new_zeros(u.shape[0], len(self.matrix), self.n)
        run = run_scan if torch.compiler.is_exporting() else run_loop
        return run(self._step, state, u)[1]

    def _step(self, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        rows = torch.cat([x, u.reshape(-1, len(self.matrix), self.m)], -1)
        z = torch.matmul(self.matrix, rows.unsqueeze(-1)).squeeze(-1)
        y = z[..., self.n :].mT if self.by_output else z[..., self.n :]
        return z[..., : self.n].clone(memory_format=torch.contiguous_format), y.flatten(1).clone()


class ModalScan(LinearScan):
    """P complex modes in each of G recurrences, as 2P real states (Re_0, Im_0, Re_1, ...).

    ::

        x[k+1] = A x[k] + B u[k]
        y[k]   = gain Re(C x[k+1]) + D u[k]

    Args:
        a, b, c: the diagonal of A (G, P), B (G, P, m), C (G, p, P), complex.
        d: D (G, p, m), real.
        gain: 2 where each mode stands for itself and its conjugate, 1 where it stands for itself.
        before, by_output: as in `LinearScan`.
    """

    def __init__(
        self,
        a: Tensor,
        b: Tensor,
        c: Tensor,
        d: Tensor,
        gain: float = 2.0,
        before: bool = False,
        by_output: bool = False,
    ) -> None:
        a, b, c = (value.detach().to(torch.complex128) for value in (a, b, c))
        turn = torch.stack([torch.stack([a.real, -a.imag], -1), torch.stack([a.imag, a.real], -1)], -2)
        groups, modes = a.shape
        eye = torch.eye(modes, dtype=turn.dtype)
        A = (turn[:, :, :, None, :] * eye[:, None, :, None]).reshape(groups, 2 * modes, 2 * modes)
        B = torch.stack([b.real, b.imag], 2).flatten(1, 2)
        C = gain * torch.stack([c.real, -c.imag], 3).flatten(2, 3)
        super().__init__(A, B, C, d, before, by_output)
