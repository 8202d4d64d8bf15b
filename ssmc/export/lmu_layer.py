"""The Legendre memory of an LMU (arXiv 2102.11417; ``LMUFFT`` of github.com/hrshtv/pytorch-lmu).

    u = f_u(W_u x),   m[k+1] = A m[k] + B u[k],   h = f_h(W_h [m; x])

The memory is linear; what stands around it is per step. In the LMU of arXiv 1905.12159 the hidden state h runs back
into u through tanh, which no linear scan computes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ssmc.export.adapters import Candidate, Refused
from ssmc.export.layouts import TimeAxis, time_axes
from ssmc.export.linear_scan import LinearScan


class ParallelLmu(nn.Module):
    """Encoder, memory and hidden layer; x (B, L, H).

    Args:
        layer: has ``W_u``, ``W_h`` and, where they are not the identity, ``f_u``, ``f_h``.
        memory: m of u.
        with_last: the last step is returned too, as the layer of pytorch-lmu does.
    """

    def __init__(self, layer: Any, memory: LinearScan, with_last: bool) -> None:
        super().__init__()
        self.encode = nn.Sequential(layer.W_u, getattr(layer, "f_u", nn.Identity()))
        self.memory = memory
        self.of_memory, self.of_input = _split(layer.W_h, memory.n)
        self.activation = getattr(layer, "f_h", nn.Identity())
        self.with_last = with_last

    def forward(self, x: Tensor, *ignored: Any, **more: Any) -> Tensor | tuple[Tensor, Tensor]:
        """H (B, L, hidden), and its last step."""
        h = self.of_memory(self.memory(self.encode(x)))
        h = self.activation(h if self.of_input is None else h + self.of_input(x))
        return (h, h[:, -1]) if self.with_last else h


def _split(whole: nn.Linear, first: int) -> tuple[nn.Linear, nn.Linear | None]:
    """A layer on [m; x] as one on m and one on x, which need no concatenation; None where it reads m alone."""
    bias = whole.bias is not None
    of_memory = nn.Linear(first, whole.out_features, bias)
    of_memory.weight.data = whole.weight.detach()[:, :first].clone()
    if bias:
        of_memory.bias.data = whole.bias.detach().clone()
    if whole.in_features == first:
        return of_memory, None
    of_input = nn.Linear(whole.in_features - first, whole.out_features, bias=False)
    of_input.weight.data = whole.weight.detach()[:, first:].clone()
    return of_memory, of_input


def adapt(layer: nn.Module) -> Iterator[Candidate] | None:
    """Every reading of the layer; None for any other layer."""
    cell = getattr(layer, "cell", layer)
    held: dict[str, Any] = {**cell._parameters, **cell._buffers} if isinstance(cell, nn.Module) else {}
    if not _is_memory(held):
        return None
    if {"e_h", "W_h"} <= held.keys():
        reason = "is a recurrent LMU: its hidden state runs back into the memory through tanh, which is not linear"
        raise Refused(reason, "train the parallel LMU (arXiv 2102.11417), whose memory is linear")
    around = all(isinstance(getattr(layer, name, None), nn.Linear) for name in ("W_u", "W_h"))
    alone = not set(layer.state_dict()) - {"A", "B"}
    return _readings(layer, held) if around or alone else None


def _is_memory(held: dict[str, Any]) -> bool:
    a, b = held.get("A"), held.get("B")
    if a is None or b is None or a.is_complex():
        return False
    return bool(a.ndim == 2 and b.ndim == 2 and a.shape[0] == a.shape[1] == b.shape[0])


def _readings(layer: nn.Module, held: dict[str, Tensor]) -> Iterator[Candidate]:
    a, b = (held[name].detach().double() for name in "AB")
    eye, none = torch.eye(len(a), dtype=a.dtype), b.new_zeros(b.shape)
    for before in (False, True):
        scan = LinearScan(a[None], b[None], eye[None], none[None], before)
        words = f"output {'before' if before else 'after'} the update"
        if not hasattr(layer, "W_u"):
            for transposed in time_axes(layer):
                yield Candidate(words, TimeAxis(scan, transposed))
            continue
        for with_last in (True, False):
            yield Candidate(words, ParallelLmu(layer, scan, with_last))
