"""The Linear Recurrent Unit (arXiv 2303.06349) in torch, as several repositories write it.

    x[k+1] = L x[k] + gamma B u[k],   y[k] = Re(C x[k+1]) + D u[k],   L = exp(-exp(nu_log) + i exp(theta_log))

They differ in what ``gamma_log`` holds (gamma, or its logarithm), and in whether the output is read before the update.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from ssmc.export.adapters import Candidate
from ssmc.export.continuous import complex_of
from ssmc.export.layouts import TimeAxis, time_axes
from ssmc.export.linear_scan import ModalScan

PARTS = (("re", "im"), ("real", "imag"))
GAMMAS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # of what the layer holds, and of the modes
    "exp(gamma_log)": lambda held, a: held.exp(),
    "gamma_log as gamma": lambda held, a: held,
    "no gamma": lambda held, a: torch.ones_like(held),
    "gamma = sqrt(1 - |a|^2)": lambda held, a: (1 - a.abs() ** 2).sqrt(),
}


def adapt(layer: nn.Module) -> Iterator[Candidate] | None:
    """Every reading of the layer; None for any other layer."""
    names = layer._parameters.keys()
    matrices = all(name in names or any({f"{name}_{re}", f"{name}_{im}"} <= names for re, im in PARTS) for name in "BC")
    return _readings(layer) if {"nu_log", "theta_log"} <= names and matrices else None


def _matrix(layer: Any, name: str) -> Tensor:
    whole = layer._parameters.get(name)
    if whole is not None:
        return complex_of(whole)
    parts = next(pair for pair in PARTS if f"{name}_{pair[0]}" in layer._parameters)
    return torch.complex(*(layer._parameters[f"{name}_{part}"].detach().double() for part in parts))


def _feedthrough(layer: Any, outputs: int, inputs: int) -> Tensor:
    """D (outputs, inputs)."""
    d = layer._parameters.get("D")
    if d is None:
        return torch.zeros(outputs, inputs, dtype=torch.float64)
    d = d.detach().double()
    return torch.diag(d) if d.ndim == 1 else d


def _readings(layer: Any) -> Iterator[Candidate]:
    b, c = _matrix(layer, "B"), _matrix(layer, "C")
    d = _feedthrough(layer, len(c), b.shape[1])
    size, raw_angle = layer.nu_log.detach().double().exp(), layer.theta_log.detach().double()
    gamma_log = layer._parameters.get("gamma_log", layer._parameters.get("gamma"))
    gamma_log = torch.zeros_like(size) if gamma_log is None else gamma_log.detach().double().flatten()
    angles = {"": raw_angle.exp(), ", theta_log as theta": raw_angle}
    for angle, gamma, before, gain in product(angles, GAMMAS, (False, True), (1.0, 2.0)):
        a = torch.exp(torch.complex(-size, angles[angle]))
        scaled = GAMMAS[gamma](gamma_log, a)[:, None] * b
        scan = ModalScan(a[None], scaled[None], c[None], d[None], gain, before)
        when = "before" if before else "after"
        words = f"{gamma}, output {when} the update{', conjugates' if gain == 2 else ''}{angle}"
        for transposed in time_axes(layer):
            yield Candidate(words, TimeAxis(scan, transposed))
