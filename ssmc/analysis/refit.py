"""A read-out refitted to what drives it, by least squares."""

from __future__ import annotations

import numpy as np

from ssmc.ir.rounding import FloatArray

RIDGE = 1e-3


def fitted(gram: FloatArray, moment: FloatArray, start: FloatArray) -> FloatArray:
    """``w (G + r I) = Y^T X + r start``: for every output i the w_i of least |X w_i - y_i|^2 + r |w_i - start_i|^2.

    ``gram`` G = X^T X (..., k, k), ``moment`` Y^T X and w (..., p, k); r is ``RIDGE`` of the mean of G's diagonal, so
    that w stays at ``start`` where the data say little. On these data w is never worse than ``start``.
    """
    power = np.diagonal(gram, axis1=-2, axis2=-1).mean(-1)[..., None, None]
    ridge = np.where(power > 0, RIDGE * power, 1.0)
    found = np.linalg.solve(gram + ridge * np.eye(gram.shape[-1]), np.swapaxes(moment + ridge * start, -1, -2))
    return np.asarray(np.swapaxes(found, -1, -2))
