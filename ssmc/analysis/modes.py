"""Sums over all time steps in closed form, by the eigenvalues of blocks.

With A_k = V_k diag(lambda_k) V_k^-1 for every block, d = C V and a covariance P of states,

    sum_t C A^t P (A^t)^T C^T  =  sum_ij d_i d_j* (V^-1 P V^-H)_ij g(lambda_i lambda_j*),        g(z) = 1 / (1 - z)

and the mean over T steps from rest of the sums up to each step has g_T(z) = g(z) - g(z)^2 (1 - z^T) / T instead. The
eigenvectors of a block cost digits where they are nearly parallel: beyond a condition of ``WORST_CONDITION`` the
Lyapunov equation is solved (`ssmc.analysis.noise.lyapunov`), at the cost of n^3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssmc.ir.rounding import FloatArray, round_half_even

WORST_CONDITION = 1e4
ComplexArray = NDArray[np.complex128]


@dataclass(frozen=True)
class Modes:
    """Eigenvalues (H, K, b), eigenvectors and their inverse (H, K, b, b) of blocks.

    Attributes:
        sound: (H,), the eigenvectors of every block are independent enough to compute with.
    """

    values: ComplexArray
    vectors: ComplexArray
    inverse: ComplexArray
    sound: NDArray[np.bool_]

    @property
    def radius(self) -> FloatArray:
        """Largest magnitude of an eigenvalue, (H,)."""
        return np.asarray(np.abs(self.values).max((1, 2), initial=0.0))


def modes_of(A: FloatArray) -> Modes:
    """Modes of blocks (H, K, b, b)."""
    values, vectors = np.linalg.eig(A)
    values, vectors = values.astype(np.complex128), vectors.astype(np.complex128)
    singular = np.linalg.det(vectors) == 0
    vectors = np.where(singular[..., None, None], np.eye(A.shape[-1]), vectors)
    inverse = np.linalg.inv(vectors)
    with np.errstate(over="ignore"):  # a shift register has no independent eigenvectors
        condition = np.linalg.norm(vectors, axis=(-2, -1)) * np.linalg.norm(inverse, axis=(-2, -1))
    sound = ~singular & (condition <= WORST_CONDITION)
    vectors, inverse = (np.where(sound[..., None, None], x, np.eye(A.shape[-1])) for x in (vectors, inverse))
    return Modes(values, vectors, inverse, sound.all(1))


def summed_power(modes: Modes, C: FloatArray, P: FloatArray, steps: float | None) -> FloatArray:
    """The sum above for every output, (H, p): C (H, p, K, b), P (H, K, b, K, b); over T steps where ``steps`` is given.

    Where the modes are not sound the result means nothing.
    """
    groups, count, size = modes.values.shape
    total = count * size
    d = (C[..., None, :] @ modes.vectors[:, None]).reshape(groups, -1, total)
    half = modes.inverse @ P.reshape(groups, count, size, total)
    turned = half.reshape(groups, total, count, size).transpose(0, 2, 3, 1)
    both = (modes.inverse.conj() @ turned).reshape(groups, total, total).swapaxes(1, 2)
    values = modes.values.reshape(groups, total)
    gain = 1 / (1 - values[:, :, None] * values[:, None, :].conj())
    if steps is not None:
        length = max(int(round_half_even(steps)), 1)
        last = values**length
        gain = gain - gain**2 * (1 - last[:, :, None] * last[:, None, :].conj()) / length
    seen = np.einsum("hpi,hij->hpj", d, both * gain)  # BLAS takes threads for a row, and 100 times as long
    return np.asarray((seen * d.conj()).sum(-1).real)


def response(modes: Modes, C: FloatArray, inverse: ComplexArray, steps: int) -> FloatArray:
    """``C A^t X`` for t < steps, (H, p, K, b, steps): C (H, p, K, b), ``inverse`` = V^-1 X (H, K, b, b)."""
    share = _shares(modes, C, inverse)
    turns = modes.values[..., None] ** np.arange(steps)
    return np.asarray((share.swapaxes(-1, -2) @ turns[:, None]).real)


def response_products(modes: Modes, C: FloatArray, inverse: ComplexArray, steps: int, lags: int) -> FloatArray:
    """``sum_t h_t h_(t+k)`` of that response h within ``steps`` steps, for k = 0..lags, (H, p, K, b, lags + 1).

    h_t is the sum over the modes a of a block of d_a lambda_a^t, so each sum is that over pairs of modes of
    d_a d_c lambda_c^k (1 - z^(steps - k)) / (1 - z), z = lambda_a lambda_c.
    """
    share, values = _shares(modes, C, inverse), modes.values
    z = values[..., :, None] * values[..., None, :]
    ends, turns = z ** (steps - lags), values ** np.arange(lags + 1)[:, None, None, None]
    found = []
    for turn in turns[::-1]:  # from the last lag on, so that z^(steps - k) takes a product
        gain = turn[..., None, :] * (1 - ends) / (1 - z)
        found.append(((gain.swapaxes(-1, -2)[:, None] @ share) * share).sum(-2).real)
        ends = ends * z
    return np.stack(found[::-1], -1)


def _shares(modes: Modes, C: FloatArray, inverse: ComplexArray) -> ComplexArray:
    """D (H, p, K, mode, state) of the responses to every state of a block."""
    return np.asarray((C[..., None, :] @ modes.vectors[:, None])[..., 0, :, None] * inverse[:, None])
