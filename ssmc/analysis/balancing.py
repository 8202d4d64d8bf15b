"""Gramians of stacks of systems s' = A s + B u, y = C s, and the coordinates in which they are equal and diagonal.

A is (..., n, n), B (..., n, m), C (..., p, n). With P = L_P L_P^T (how far inputs move the states), Q = L_Q L_Q^T (how
much a state shows at the output) and L_Q^T L_P = U diag(h) V^T, the square-root method takes

    T = L_P V h^(-1/2),      T^-1 = h^(-1/2) U^T L_Q^T:        T^-1 P T^-T = T^T Q T = diag(h)

h are the Hankel singular values, largest first. Keeping the first r columns of T and rows of T^-1 is balanced
truncation (Laub 1987; input-weighted: Enns 1984).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssmc.analysis.noise import lyapunov
from ssmc.ir.rounding import FloatArray

SMALLEST = 1e-12  # Hankel singular value, of the largest, below which a direction is nothing but rounding


@dataclass(frozen=True)
class Balanced:
    """``T`` (..., n, n), ``inverse`` (..., n, n) and the Hankel singular values ``hankel`` (..., n), largest first."""

    T: FloatArray
    inverse: FloatArray
    hankel: FloatArray

    def truncated(self, A: FloatArray, B: FloatArray, C: FloatArray, order: int) -> tuple[FloatArray, ...]:
        """A (..., r, r), B (..., r, m) and C (..., p, r) of the first ``order`` = r balanced states."""
        left, right = self.inverse[..., :order, :], self.T[..., :order]
        return left @ A @ right, left @ B, C @ right


def white_covariance(A: FloatArray, B: FloatArray) -> FloatArray:
    """Covariance P = A P A^T + B B^T (..., n, n) of the states under white inputs of power 1."""
    return lyapunov(A, B @ B.swapaxes(-1, -2))


def input_covariance(A: FloatArray, B: FloatArray, r: FloatArray) -> FloatArray:
    """Covariance (..., n, n) of the states under a stationary input u with autocorrelation r_l = E u[k] u[k + l].

    B is (..., n, 1), r (..., L) and 0 from lag L on. With z = E s[k] u[k] = sum_l A^l B r_(l+1),

        P = A P A^T + r_0 B B^T + A z B^T + (A z B^T)^T
    """
    z, power = np.zeros_like(B), B
    for lag in range(1, r.shape[-1]):
        z = z + power * r[..., lag, None, None]
        power = A @ power
    cross = A @ z @ B.swapaxes(-1, -2)
    white = r[..., 0, None, None] * (B @ B.swapaxes(-1, -2))
    return lyapunov(A, white + cross + cross.swapaxes(-1, -2))


def observability(A: FloatArray, C: FloatArray) -> FloatArray:
    """Q = A^T Q A + C^T C (..., n, n): s^T Q s is the output energy that follows from a state s."""
    return lyapunov(A.swapaxes(-1, -2), C.swapaxes(-1, -2) @ C)


def balance(P: FloatArray, Q: FloatArray) -> Balanced:
    """The balanced coordinates of Gramians P and Q (..., n, n), which need not have full rank."""
    L_P, L_Q = _root(P), _root(Q)
    U, h, Vt = np.linalg.svd(L_Q.swapaxes(-1, -2) @ L_P)
    floor = np.maximum(h[..., :1] * SMALLEST, np.finfo(np.float64).tiny)
    scale = 1 / np.sqrt(np.maximum(h, floor))
    T = L_P @ Vt.swapaxes(-1, -2) * scale[..., None, :]
    inverse = scale[..., :, None] * (U.swapaxes(-1, -2) @ L_Q.swapaxes(-1, -2))
    return Balanced(T, inverse, h)


def _root(X: FloatArray) -> FloatArray:
    """L with L L^T = X, for X symmetric and positive semidefinite but for rounding."""
    values, vectors = np.linalg.eigh((X + X.swapaxes(-1, -2)) / 2)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0))[..., None, :])
