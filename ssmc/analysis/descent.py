"""Descent of many small functions at once: BFGS with a backtracking line search, each row by itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ssmc.ir.rounding import FloatArray

ARMIJO = 1e-4
SHORTER = 0.3
LONGEST = 0.5  # largest change of one parameter in one step
Function = Callable[[FloatArray], tuple[FloatArray, FloatArray]]


def descend(function: Function, start: FloatArray, steps: int) -> tuple[FloatArray, FloatArray]:
    """Points (H, P) and values (H,) after ``steps`` evaluations of ``function``: points -> values, gradients (H, P).

    A value never rises. The inverse Hessian starts as the identity over the size of the first gradient.
    """
    x, (value, slope) = start.copy(), function(start)
    inverse = _fresh(slope)
    length = np.ones(len(x))
    for _ in range(steps):
        direction = -(inverse @ slope[..., None])[..., 0]
        uphill = (direction * slope).sum(-1) >= 0
        inverse[uphill] = _fresh(slope[uphill])
        direction = np.where(uphill[:, None], -(inverse @ slope[..., None])[..., 0], direction)
        direction *= np.minimum(1, LONGEST / np.maximum(np.abs(direction).max(-1), 1e-30))[:, None]
        move = length[:, None] * direction
        new_value, new_slope = function(x + move)
        lower = new_value <= value + ARMIJO * (move * slope).sum(-1)
        inverse = np.where(lower[:, None, None], _updated(inverse, move, new_slope - slope), inverse)
        x = np.where(lower[:, None], x + move, x)
        slope, value = np.where(lower[:, None], new_slope, slope), np.where(lower, new_value, value)
        length = np.where(lower, 1.0, SHORTER * length)
    return x, value


def _fresh(slope: FloatArray) -> FloatArray:
    size = np.maximum(np.linalg.norm(slope, axis=-1), 1e-30)
    return np.asarray(np.eye(slope.shape[-1]) * (0.1 / size)[:, None, None])


def _updated(inverse: FloatArray, move: FloatArray, change: FloatArray) -> FloatArray:
    """(I - m c^T / mc) H (I - c m^T / mc) + m m^T / mc, where mc = m^T c > 0; else H."""
    curvature = (move * change).sum(-1)
    sound = curvature > 1e-12 * np.linalg.norm(move, axis=-1) * np.linalg.norm(change, axis=-1)
    over = np.where(sound, 1 / np.where(sound, curvature, 1), 0)[:, None, None]
    left = np.eye(move.shape[-1]) - over * move[:, :, None] * change[:, None, :]
    new = left @ inverse @ left.swapaxes(-1, -2) + over * move[:, :, None] * move[:, None, :]
    return np.where(sound[:, None, None], new, inverse)
