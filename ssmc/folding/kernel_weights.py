"""Integer weights of a kernel: each row on one grid, or its parts on grids of their own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ssmc.ir.grid import factor_parts, factor_rows
from ssmc.ir.rounding import FloatArray


@dataclass(frozen=True)
class KernelWeights:
    """W and gain of both matrices.

    Attributes:
        constants: W, gain, W_y and gain_y of the node.
        separate: states and inputs have scales of their own in some row; gain then has the shape of W.
        exact: the weights lie on the grids exactly.
    """

    constants: dict[str, ArrayLike]
    separate: bool
    exact: bool


def kernel_weights(rows: dict[str, FloatArray], scale: FloatArray, states: int) -> KernelWeights | None:
    """Factor the matrices of a kernel; None where a row, or a part of it, lies on no grid of at most 16 bits.

    Args:
        rows: real weights of the read-out's codes and of real inputs, (G, out, n + m), by suffix of the constants.
        scale: real value of an input code, (G, 1, m).
        states: n.
    """
    in_codes = {key: np.concatenate([w[..., :states], w[..., states:] * scale], -1) for key, w in rows.items()}
    found = {key: factor_rows(matrix) for key, matrix in in_codes.items()}
    separate = None in found.values()
    if separate:
        found = {key: factor_parts(matrix, _stops(states, scale)) for key, matrix in in_codes.items()}
    constants: dict[str, ArrayLike] = {}
    exact = True
    for key, factored in found.items():
        if factored is None:
            return None
        codes, gain, as_given = factored
        constants |= {f"W{key}": codes, f"gain{key}": gain}
        exact &= as_given
    return KernelWeights(constants, separate, exact)


def _stops(states: int, scale: FloatArray) -> tuple[int, ...]:
    """Where the parts of the columns end: the states, then runs of inputs with one scale (G, 1, m)."""
    changes = (scale[..., 1:] != scale[..., :-1]).any((0, 1))
    return (states, *(np.flatnonzero(changes) + states + 1).tolist(), states + scale.shape[2])
