"""S5 in torch: P complex modes that all channels share (arXiv 2208.04933; github.com/i404788/s5-pytorch).

The spectrum is given whole (the output is Re(C x)), or by one of each conjugate pair (2 Re(C x)), as the layer of
lindermanlab/S5 does with ``conj_sym``. Blocks concern the initial values only.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from ssmc.export.adapters import Candidate, Refused
from ssmc.export.continuous import DISCRETIZATIONS, complex_of, discretise
from ssmc.export.layouts import TimeAxis, time_axes
from ssmc.export.linear_scan import ModalScan

SPECTRA = ({"Lambda"}, {"Lambda_re", "Lambda_im"})
STEPS = ("log_step", "log_dt", "log_Delta")


def adapt(layer: nn.Module) -> Iterator[Candidate] | None:
    """Every reading of the layer; None for any other layer."""
    core = _core(layer)
    if core is None:
        return None
    _refuse(core)
    return _readings(layer, core)


def _core(layer: nn.Module) -> Any | None:
    """What holds the parameters: the layer, or its part ``seq``, which computes one sequence under vmap."""
    part = getattr(layer, "seq", layer)
    return part if isinstance(part, nn.Module) and _holds(part) else None


def _holds(layer: nn.Module) -> bool:
    names = layer._parameters.keys()
    has_c = "C" in names or {"C1", "C2"} <= names
    return any(spectrum <= names for spectrum in SPECTRA) and "B" in names and has_c and not names.isdisjoint(STEPS)


def _refuse(core: Any) -> None:
    modes = core._parameters.get("Lambda", core._parameters.get("Lambda_re")).numel()
    if getattr(core, "bidir", False) or not hasattr(core, "C") or _output_matrix(core).shape[-1] == 2 * modes:
        reason = "is a bidirectional S5: its output at a step needs all later inputs, and no recurrence has them"
        raise Refused(reason, "train the model with bidir=False")
    if getattr(core, "liquid", False):
        reason = "is a liquid S5: its state matrix depends on the input, so it is no linear recurrence"
        raise Refused(reason, "train the model with liquid=False")


def _output_matrix(core: Any) -> Tensor:
    c = core.C
    return complex_of(c) if c.is_complex() or c.ndim == 3 else c.detach().to(torch.complex128)


def _readings(layer: nn.Module, core: Any) -> Iterator[Candidate]:
    held = core._parameters
    a = complex_of(held["Lambda"]) if "Lambda" in held else torch.complex(core.Lambda_re, core.Lambda_im)
    a, b, c = a.detach().to(torch.complex128).flatten(), complex_of(core.B), _output_matrix(core)
    dt = next(held[name] for name in STEPS if name in held).detach().double().exp().flatten()
    d = held["D"].detach().double() if held.get("D") is not None else a.real.new_zeros(len(c))
    d = torch.diag(d) if d.ndim == 1 else d
    clipped = torch.complex(a.real.clamp(max=-1e-4), a.imag)
    spectra = {"as it is": a, "clipped": clipped} if not torch.equal(a, clipped) else {"as it is": a}
    for how, gain, clip in product(DISCRETIZATIONS, (1.0, 2.0), spectra):
        discrete, factor = discretise(how, dt, spectra[clip])
        scan = ModalScan(discrete[None], (factor[:, None] * b)[None], c[None], d[None], gain)
        words = f"{how}, {'one of each conjugate pair' if gain == 2 else 'whole spectrum'}, {clip}"
        for transposed in time_axes(layer):
            yield Candidate(words, TimeAxis(scan, transposed))
