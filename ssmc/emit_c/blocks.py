"""The block structure of a kernel: which states feed each other, and how they are packed into equal blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssmc.analysis.blocks import components
from ssmc.ir.operations import StateSpace
from ssmc.ir.rounding import IntArray


@dataclass(frozen=True)
class Blocks:
    """States of every group, sorted into blocks.

    Attributes:
        order: (G, count * size) state at each place, or -1 for padding.
        size: states per block.
        count: blocks per group.
    """

    order: IntArray
    size: int
    count: int

    @property
    def places(self) -> IntArray:
        """(G, count * size) state at each place; padding repeats a state whose weights are then left out."""
        return np.maximum(self.order, 0)

    @property
    def real(self) -> IntArray:
        """(G, count * size) 1 at a state, 0 at padding."""
        return (self.order >= 0).astype(np.int64)


def read_rows(op: StateSpace) -> IntArray:
    """The rows of y, (G, p, n + m), fused or apart."""
    return op.matrix.codes[:, op.n_state :] if op.output_matrix is None else op.output_matrix.codes


def find_blocks(op: StateSpace, least: int = 0) -> Blocks:
    """Sort states into blocks of ``least`` or more: those that feed each other share one; unseen ones are left out."""
    n = op.n_state
    parts = [_components(a, c) for a, c in zip(op.matrix.codes[:, :n, :n], read_rows(op)[:, :, :n], strict=True)]
    size = max((len(part) for group in parts for part in group), default=0)
    size = max(size, least) if size else 0
    bins = [_first_fit(group, size) for group in parts]
    count = max((len(group) for group in bins), default=0)
    order = np.full((op.matrix.groups, count * size), -1, np.int64)
    for g, group in enumerate(bins):
        for k, states in enumerate(group):
            order[g, k * size : k * size + len(states)] = states
    return Blocks(order, size, count)


def _components(a: IntArray, c: IntArray) -> list[list[int]]:
    """States (n,) connected by A (n, n), largest first; parts that C (p, n) never reads have no effect."""
    if not len(a):
        return []
    label = components(a[None] != 0)[0]
    groups = [np.flatnonzero(label == i).tolist() for i in range(int(label.max()) + 1)]
    seen = [group for group in groups if c[:, group].any()]
    return sorted(seen, key=lambda group: -len(group))


def _first_fit(parts: list[list[int]], size: int) -> list[list[int]]:
    bins: list[list[int]] = []
    for part in parts:
        for held in bins:
            if len(held) + len(part) <= size:
                held.extend(part)
                break
        else:
            bins.append(list(part))
    return bins
