"""Coordinates of a kernel's states: s = T z turns (A, B, C) into (T^-1 A T, T^-1 B, C T), the same outputs.

Modes are the sparsest, but where A is far from normal (HiPPO, LMU) its eigenvectors are nearly parallel, and rounding
errors grow with their condition. Balanced coordinates (Moore 1981) are those where P = E[s s^T] on the data and the
observability Gramian Q = sum_k (A^T)^k C^T C A^k are one diagonal matrix: what is hard to reach is hard to see.
Input-normal (P = I) and output-normal ones (Q = I) differ from them by the unit of each state only, which is the
quantizer's to choose. In Schur coordinates A is block triangular: an orthogonal turn of the balanced or the given ones.

Where every state is rounded to a share of its own range, the noise at the output is sum_i P_ii Q_ii. Of all coordinates
it is least, (trace Sigma)^2 / n, where P = Q and their diagonals are constant: balanced ones, turned until every state
makes the same noise (Mullis and Roberts, IEEE Trans. CAS-23, 1976; Hwang, IEEE Trans. ASSP-25, 1977).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ssmc.analysis.noise import lyapunov
from ssmc.errors import ModelError
from ssmc.ir.rounding import FloatArray
from ssmc.quantize.modes import Modes, as_written, require_decay, to_modes

SMALLEST = 1e-9
EQUAL_NOISE = "equal noise"
EQUAL_TURNS = 3
FEW_STATES = 128  # in all; with more, one turn keeps the search short


@dataclass(frozen=True)
class Kernel:
    """G groups with n states, m inputs and p outputs, in real numbers; y reads the old state.

    Attributes:
        A: (G, n, n). B: (G, n, m). C: (G, p, n). D: (G, p, m).
        name: of the node.
    """

    A: FloatArray
    B: FloatArray
    C: FloatArray
    D: FloatArray
    name: str = "kernel"

    @property
    def dense(self) -> FloatArray:
        """[[A, B], [C, D]], (G, n + p, n + m)."""
        return np.concatenate([np.concatenate([self.A, self.B], 2), np.concatenate([self.C, self.D], 2)], 1)

    def turned(self, T: FloatArray) -> Kernel:
        """The kernel in the coordinates z of s = T z, T (G, n, n)."""
        A, B = (np.asarray(np.linalg.solve(T, x), np.float64) for x in (self.A @ T, self.B))
        return Kernel(A, B, self.C @ T, self.D, self.name)


def modal(kernel: Kernel) -> Modes | None:
    """The kernel as modes; None where A has no basis of eigenvectors.

    Raises:
        ModelError: SSMC-S04, a pole on or outside the unit circle.
    """
    require_decay(kernel.A, kernel.name)
    try:
        return to_modes(kernel.A, kernel.B, kernel.C, kernel.D, kernel.name)
    except ModelError:
        return None


def is_modal(kernel: Kernel) -> bool:
    """Whether A is written as modes already."""
    return all(as_written(A) is not None for A in kernel.A)


def dense_bases(kernel: Kernel, power: FloatArray) -> Iterator[tuple[str, FloatArray, Kernel]]:
    """T (G, n, n) and the kernel in coordinates that are no modes; ``power`` is P = E[s s^T] on the data.

    Those of equal noise several times: of all turns that make it equal, some meet the codes' grid better.
    """
    reached = _root(power)
    seen = _root(lyapunov(kernel.A.swapaxes(1, 2), kernel.C.swapaxes(1, 2) @ kernel.C))
    _, both, right = np.linalg.svd(seen.swapaxes(1, 2) @ reached)
    to_input = reached @ right.swapaxes(1, 2)
    balanced = to_input / np.sqrt(np.maximum(both, SMALLEST * both[:, :1]))[:, None]
    named = {
        "Schur": balanced @ _schur(kernel.turned(balanced).A),
        "Schur as given": _schur(kernel.A),
        "balanced": balanced,
        "as given": np.broadcast_to(np.eye(kernel.A.shape[1]), kernel.A.shape),
    }
    for name, T in [*named.items(), *((EQUAL_NOISE, balanced @ turn) for turn in _levels(both))]:
        yield name, T, kernel.turned(T)


def _root(X: FloatArray) -> FloatArray:
    """R with R R^T = X for stacks of positive matrices, what is too small for float64 lifted."""
    values, vectors = np.linalg.eigh((X + X.swapaxes(1, 2)) / 2)
    floor = np.maximum(SMALLEST * values[:, -1:], np.finfo(np.float64).tiny)
    return np.asarray(vectors * np.sqrt(np.maximum(values, floor))[:, None])


def _levels(diagonal: FloatArray) -> Iterator[FloatArray]:
    """Orthogonal R (G, n, n) with which R^T diag(d) R has a constant diagonal, for d (G, n); from some starts."""
    n = diagonal.shape[1]
    for seed in range(EQUAL_TURNS if diagonal.size <= FEW_STATES else 1):
        start, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))
        yield np.stack([_level(d, start) for d in diagonal])


def _level(diagonal: FloatArray, start: FloatArray) -> FloatArray:
    """N - 1 turns of two states each, the largest with the smallest entry, give one entry after the other the mean."""
    n, mean = len(diagonal), diagonal.mean()
    S, R = start.T * diagonal @ start, start.copy()
    for _ in range(n - 1):
        entries = np.diagonal(S)
        i, j = int(entries.argmax()), int(entries.argmin())
        above, below, both = entries[i] - mean, entries[j] - mean, S[i, j]
        if not (above > 0 > below):
            break
        tangent = above / (-both + np.copysign(np.sqrt(both**2 - above * below), -both or 1.0))
        cosine = 1 / np.hypot(1, tangent)
        turn = cosine * np.array([[1.0, -tangent], [tangent, 1.0]])
        R[:, [i, j]] = R[:, [i, j]] @ turn
        S[:, [i, j]] = S[:, [i, j]] @ turn
        S[[i, j]] = turn.T @ S[[i, j]]
    return R


def _schur(A: FloatArray) -> FloatArray:
    """Orthogonal Q (G, n, n) for which Q^T A Q is block upper triangular."""
    from scipy.linalg import schur

    return np.stack([schur(a, output="real")[1] for a in A])
