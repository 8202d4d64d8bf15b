"""``S4Layer`` of github.com/TariqAHassan/S4Torch: A = diag(lambda) - p q*, shared by the channels, bilinear.

Its C is stored as C (I - A^L) with L = ``l_max``, and the real part of the output is taken once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ssmc.export.adapters import Candidate
from ssmc.export.continuous import complex_of
from ssmc.export.layouts import TimeAxis, time_axes
from ssmc.export.linear_scan import LinearScan

PARTS = {"_p", "_q", "_lambda_", "_B", "_Ct", "D", "log_step"}


def adapt(layer: nn.Module) -> Iterator[Candidate] | None:
    """The layer; None for any other layer."""
    return _readings(layer) if layer._parameters.keys() >= PARTS else None


def _readings(layer: Any) -> Iterator[Candidate]:
    p, q, eigenvalues, b, stored = (complex_of(getattr(layer, name)) for name in ("_p", "_q", "_lambda_", "_B", "_Ct"))
    A = torch.diag(eigenvalues.flatten()) - torch.outer(p, q.conj())
    half = layer.log_step.detach().double().exp()[:, None, None] / 2
    eye = torch.eye(len(A), dtype=A.dtype)
    back = eye - half * A
    discrete, driven = torch.linalg.solve(back, eye + half * A), torch.linalg.solve(back, 2 * half * b[..., None])
    rest = eye - torch.linalg.matrix_power(discrete, int(layer.l_max))
    c = torch.linalg.solve(rest, stored.conj()[:, None], left=False)
    scan = _doubled(discrete, driven, c, layer.D.detach().double().reshape(-1, 1, 1))
    for transposed in time_axes(layer):
        yield Candidate(f"dplr, bilinear, C for length {layer.l_max}", TimeAxis(scan, transposed))


def _doubled(A: Tensor, B: Tensor, C: Tensor, d: Tensor) -> LinearScan:
    """Of complex matrices, of whose output the real part is taken: in coordinates [Re x; Im x]."""
    upper, lower = torch.cat([A.real, -A.imag], 2), torch.cat([A.imag, A.real], 2)
    a, b = torch.cat([upper, lower], 1), torch.cat([B.real, B.imag], 1)
    return LinearScan(a, b, torch.cat([C.real, -C.imag], 2), d)
