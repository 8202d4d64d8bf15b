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

from ssmc.targets.aimc.chip import Chip
from ssmc.targets.aimc.mapping import Bank
from ssmc.targets.aimc.stages import Kernel, Product

Real = NDArray[np.floating]


def poles(kernel: Kernel, chip: Chip, banks: Mapping[str, Bank]) -> NDArray[np.complexfloating[Any, Any]]:
    """Poles (groups, n) of a kernel on a chip."""
    n = kernel.update.keep.shape[1]
    matrix = effective(kernel.product, chip, banks)[:, :n, :n]
    inverse = np.exp2(-kernel.read_out.shift.astype(np.float64))
    transition = matrix * inverse[:, None, :] + kernel.update.keep[:, None, :] * np.eye(n)
    driven = (kernel.product.codes[:, :n] != 0).any(-1, keepdims=True)
    return np.linalg.eigvals(transition * driven)


def effective(product: Product, chip: Chip, banks: Mapping[str, Bank]) -> Real:
    """Codes per input code, (groups, outputs, inputs), rounding apart; rows of both signs averaged."""
    groups, outputs = product.codes.shape[:2]
    ratio = np.array([float(r) for r in product.requant.ratio]).reshape(groups, outputs, 1)
    if not product.parts:
        return ratio * product.codes
    total = np.zeros(product.codes.shape)
    for part in product.parts:
        if part.plane > 0:
            continue  # every plane drives the same cells
        written, span = chip.banks[part.bank], slice(*banks[part.bank].rows)
        columns = slice(part.slice * outputs, (part.slice + 1) * outputs)
        weight = written.weight[..., columns].transpose(0, 2, 1).astype(np.float64)
        if written.signed:
            half = weight.shape[2] // 2
            weight = (weight[..., :half] - weight[..., half:]) / 2
        gain = 1.0 if written.converters is None else written.converters.of(columns).gain[..., None]
        total[..., span] += weight * gain * (part.gain / part.step if part.step else 1.0)
    return np.asarray(ratio * total)
