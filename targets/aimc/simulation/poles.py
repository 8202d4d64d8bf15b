"""Poles of a kernel as a chip computes it: of the conductances that were written, not of the codes that were meant.

One step maps read-out codes R to new registers ``r' = keep r + ratio (W_ss R + ...)`` with R = 2^-shift r, hence
``A = diag(keep) + diag(ratio) W_ss diag(2^-shift)``, W_ss the programmed matrix times converter gains. Rounding apart,
a kernel with a pole of magnitude 1 or more forgets nothing: its state runs into the register's limits and stays there.
A state that no code drives (pruned) has no cells and no pole: it counts as 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssmc.targets.aimc.lowering.mapping import Bank
from ssmc.targets.aimc.simulation.chip import Chip, Programmed
from ssmc.targets.aimc.simulation.coupled import Coupling
from ssmc.targets.aimc.simulation.coupled_product import coupling_of
from ssmc.targets.aimc.simulation.stages import Kernel, Product

Real = NDArray[np.floating]


def poles(kernel: Kernel, chip: Chip, banks: Mapping[str, Bank]) -> NDArray[np.complexfloating[Any, Any]]:
    """Poles (groups, n) of a kernel on a chip; of groups that are driven at once (groups / M, M n), together."""
    product, keep = kernel.product, kernel.update.keep
    n = keep.shape[1]
    coupling = coupling_of(product, chip)
    inverse = np.exp2(-kernel.read_out.shift.astype(np.float64))
    driven = (product.codes[:, :n] != 0).any(-1)
    matrix = effective(product, chip, banks, coupling)
    if coupling is None:
        matrix = matrix[:, :n, :n]
    else:
        states = coupling.segments((n, product.codes.shape[1] - n))[: coupling.size * n]
        inputs = coupling.segments((n, product.codes.shape[2] - n))[: coupling.size * n]
        matrix = matrix[:, states][:, :, inputs]
        keep, inverse, driven = (coupling.gather(x) for x in (keep, inverse, driven))
    transition = matrix * inverse[:, None, :] + keep[:, None, :] * np.eye(keep.shape[1])
    return np.linalg.eigvals(transition * driven[..., None])


def effective(product: Product, chip: Chip, banks: Mapping[str, Bank], coupling: Coupling | None = None) -> Real:
    """Codes per input code, (groups, outputs, inputs), rounding apart; rows of both signs averaged.

    Of coupled groups (K, M * outputs, M * inputs).
    """
    groups, outputs, inputs = product.codes.shape
    ratio = np.array([float(r) for r in product.requant.ratio]).reshape(groups, outputs, 1)
    if product.converter is not None:
        ratio = ratio * np.array([float(r) for r in product.converter.ratio]).reshape(ratio.shape)
    if not product.parts:
        return ratio * product.codes
    members = 1 if coupling is None else coupling.size
    total = np.zeros((groups if coupling is None else len(coupling.members), members * outputs, members * inputs))
    for part in product.parts:
        if part.plane > 0:
            continue  # every plane drives the same cells
        written = chip.banks[part.bank]
        rows = (inputs * np.arange(members)[:, None] + np.arange(*banks[part.bank].rows)).ravel()
        gain = ratio if part.step is None else ratio * (part.gain / part.step)[..., None]
        if written.converters is not None:
            columns = slice(part.slice * outputs, (part.slice + 1) * outputs)
            gain = gain * written.converters.of(columns).gain[..., None]
        every = gain if coupling is None else coupling.gather(gain)
        total[..., rows] += _weight(written, part.slice, coupling) * every
    return total


def _weight(written: Programmed, piece: int, coupling: Coupling | None) -> Real:
    """One slice (groups, outputs, rows), or of coupled groups."""
    width = written.weight.shape[2] // written.pieces
    weight = written.weight[..., piece * width : (piece + 1) * width].transpose(0, 2, 1).astype(np.float64)
    if written.signed:
        half = weight.shape[2] // 2
        weight = (weight[..., :half] - weight[..., half:]) / 2
    if coupling is None or written.coupling is not None:
        return weight
    return coupling.spread(weight[:, None])[:, 0]
