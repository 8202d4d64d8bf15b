"""A real state space per group as modes: 2x2 blocks that do not mix.

A complex pair p +- iq is the block [[p, -q], [q, p]], two real poles are diag(p1, p2); an odd real pole is paired
with a state that nothing drives. With A v = (p + iq) v and T = [Re v, -Im v], A T = T [[p, -q], [q, p]]: the states
become T^-1 s, B becomes T^-1 B, C becomes C T. A kernel that is in that form already stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssmc.errors import ModelError
from ssmc.ir.rounding import FloatArray

WORST_CONDITION = 1e8


@dataclass(frozen=True)
class Modes:
    """G groups of K modes with m inputs and p outputs, in real numbers, y reads the old state.

    Attributes:
        A: (G, K, 2, 2). B: (G, K, 2, m). C: (G, p, K, 2). D: (G, p, m).
        turning: (G, K), the block is [[p, -q], [q, p]]; else it is diagonal.
    """

    A: FloatArray
    B: FloatArray
    C: FloatArray
    D: FloatArray
    turning: NDArray[np.bool_]

    @property
    def dense(self) -> FloatArray:
        """[[A, B], [C, D]], (G, 2K + p, 2K + m)."""
        return dense(self.A, self.B, self.C, self.D)


def dense(A: FloatArray, B: FloatArray, C: FloatArray, D: FloatArray) -> FloatArray:
    """Blocks as one matrix per group."""
    G, K = A.shape[:2]
    upper = np.zeros((G, 2 * K, 2 * K))
    for k in range(K):
        upper[:, 2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = A[:, k]
    top = np.concatenate([upper, B.reshape(G, 2 * K, -1)], 2)
    return np.concatenate([top, np.concatenate([C.reshape(G, C.shape[1], 2 * K), D], 2)], 1)


def to_modes(A: FloatArray, B: FloatArray, C: FloatArray, D: FloatArray, node: str) -> Modes:
    """Modes of A (G, n, n), B (G, n, m), C (G, p, n), D (G, p, m).

    Raises:
        ModelError: SSMC-S04 where A has no basis of eigenvectors, or a pole on or outside the unit circle.
    """
    parts = [_group(*matrices, node) for matrices in zip(A, B, C, strict=True)]
    count = max(len(part[3]) for part in parts)
    a, b, c = (np.stack([_grown(part[i], count, axis) for part in parts]) for i, axis in ((0, 0), (1, 0), (2, 1)))
    return Modes(a, b, c, D, np.stack([_grown(part[3], count, 0) for part in parts]) != 0)


def require_decay(A: FloatArray, node: str) -> None:
    """Refuse matrices (..., n, n) with a pole on or outside the unit circle (SSMC-S04)."""
    largest = np.abs(np.linalg.eigvals(A)).max(initial=0.0)
    if largest >= 1:
        fact = f"a pole of magnitude {largest:.6g}"
        raise ModelError("SSMC-S04", fact, "only kernels that decay can be quantized", node)


def _grown(x: FloatArray, count: int, axis: int) -> FloatArray:
    room = [(0, count - x.shape[axis]) if a == axis else (0, 0) for a in range(x.ndim)]
    return np.pad(x, room)


def _group(A: FloatArray, B: FloatArray, C: FloatArray, node: str) -> tuple[FloatArray, ...]:
    """Blocks (K, 2, 2), B (K, 2, m), C (p, K, 2) and which blocks turn (K,) of one group."""
    require_decay(A, node)
    found = as_written(A)
    T, blocks = _eigenbasis(A, node) if found is None else found
    n = T.shape[1]
    b, c = np.linalg.solve(T, B), C @ T
    turning = np.array([float(block[0, 1] != 0) for block in blocks])
    pad = 2 * len(blocks) - n
    b, c = np.pad(b, ((0, pad), (0, 0))), np.pad(c, ((0, 0), (0, pad)))
    A_blocks: FloatArray = np.stack(blocks)
    return A_blocks, np.asarray(b.reshape(len(blocks), 2, -1)), c.reshape(len(c), len(blocks), 2), turning


def as_written(A: FloatArray) -> tuple[FloatArray, list[FloatArray]] | None:
    """The blocks of a matrix that is in modal form, states of a pair next to each other."""
    padded = np.pad(A, ((0, len(A) % 2), (0, len(A) % 2)))
    blocks = [padded[k : k + 2, k : k + 2] for k in range(0, len(padded), 2)]
    rest = padded.copy()
    for k in range(0, len(padded), 2):
        rest[k : k + 2, k : k + 2] = 0
    modal = all((b[0, 0] == b[1, 1] and b[0, 1] == -b[1, 0]) or (b[0, 1] == b[1, 0] == 0) for b in blocks)
    return (np.eye(len(A)), blocks) if modal and not rest.any() else None


def _eigenbasis(A: FloatArray, node: str) -> tuple[FloatArray, list[FloatArray]]:
    values, vectors = np.linalg.eig(A)
    if np.linalg.cond(vectors) > WORST_CONDITION:
        raise ModelError("SSMC-S04", "its state matrix has no basis of eigenvectors", "separate repeated poles", node)
    pairs = [i for i, v in enumerate(values) if v.imag > 0]
    reals = [i for i, v in enumerate(values) if v.imag == 0]
    columns = [part for i in pairs for part in (vectors[:, i].real, -vectors[:, i].imag)]
    columns += [vectors[:, i].real for i in reals]
    blocks = [np.array([[v.real, -v.imag], [v.imag, v.real]]) for v in values[pairs]]
    poles = [float(values[i].real) for i in reals] + [0.0] * (len(reals) % 2)
    blocks += [np.diag(poles[k : k + 2]) for k in range(0, len(poles), 2)]
    return np.stack(columns, 1), blocks
