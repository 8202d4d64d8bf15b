"""A read-out w fitted to the rows X = [R; u] that drive it, known by G = X^T X: in real numbers, then in codes."""

from __future__ import annotations

import numpy as np

from ssmc.ir.rounding import FloatArray, round_half_even

RIDGE = 1e-3


def fitted(gram: FloatArray, moment: FloatArray, start: FloatArray) -> FloatArray:
    """``w (G + r I) = Y^T X + r start``: for every output i the w_i of least |X w_i - y_i|^2 + r |w_i - start_i|^2.

    ``gram`` G (..., k, k), ``moment`` Y^T X and w (..., p, k); r is ``RIDGE`` of the mean of G's diagonal, so that w
    stays at ``start`` where the data say little. On these data w is never worse than ``start``.
    """
    ridge = _ridge(gram)
    found = np.linalg.solve(gram + ridge * np.eye(gram.shape[-1]), np.swapaxes(moment + ridge * start, -1, -2))
    return np.asarray(np.swapaxes(found, -1, -2))


def rounded(gram: FloatArray, w: FloatArray, step: FloatArray, limit: int) -> FloatArray:
    """Codes of w (..., p, k) in steps (..., p), one after the other: the later ones make good the error of each.

    With G^-1 = U^T U (ridge as in `fitted`), what makes good an error e of w_i best is to subtract e U_ij / U_ii from
    every later w_j (GPTQ, arXiv 2210.17323).
    """
    size = gram.shape[-1]
    inverse = np.linalg.inv(gram + _ridge(gram) * np.eye(size))
    U = np.swapaxes(np.linalg.cholesky(inverse), -1, -2)[..., None, :, :]
    w, codes = w.copy(), np.zeros_like(w)
    for i in range(size):
        codes[..., i] = np.clip(round_half_even(w[..., i] / step), -limit, limit)
        error = (w[..., i] - step * codes[..., i]) / U[..., i, i]
        w[..., i:] -= error[..., None] * U[..., i, i:]
    return codes


def least_rounded(
    gram: FloatArray, w: FloatArray, steps: FloatArray, limit: int, together: tuple[int, ...] = ()
) -> tuple[FloatArray, FloatArray]:
    """Of F ``steps`` (G, F, p) for w (G, p, k) those of least error, (G, p), after the codes (G, p, k) in them.

    ``together`` are axes of the errors (G, F, p) along which one choice is made.
    """
    groups, count, p = steps.shape
    many = np.broadcast_to(w[:, None], (groups, count, *w.shape[1:])).reshape(groups, count * p, -1)
    flat = steps.reshape(groups, -1)
    codes = rounded(gram, many, flat, limit)
    left = squared_error(gram, codes * flat[..., None] - many).reshape(steps.shape)
    if together:
        left = np.broadcast_to(left.sum(together, keepdims=True), left.shape)
    best = left.argmin(1)[:, None]
    found = np.take_along_axis(codes.reshape(groups, count, p, -1), best[..., None], 1)
    return found[:, 0], np.take_along_axis(steps, best, 1)[:, 0]


def squared_error(gram: FloatArray, error: FloatArray) -> FloatArray:
    """|X e_i|^2 of errors (..., p, k) of w, (..., p)."""
    return np.asarray(((error @ gram) * error).sum(-1))


def _ridge(gram: FloatArray) -> FloatArray:
    power = np.diagonal(gram, axis1=-2, axis2=-1).mean(-1)[..., None, None]
    return np.where(power > 0, RIDGE * power, 1.0)
