"""States that a matrix does not couple, in blocks: what is block diagonal is computed block by block.

A diagonal kernel of n states has n / 2 blocks of 2 x 2: an eigenvalue, a Lyapunov equation or a step costs n instead of
n^3 or n^2. A matrix without such structure is one block of n.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ssmc.ir.rounding import FloatArray, IntArray

EMPTY = -1


@dataclass(frozen=True)
class Blocks:
    """The states of H groups in K blocks of b places each.

    Attributes:
        index: (H, K, b), the state at each place; -1 for a place that no state needs.
        place: (H, n), the place of each state, counted over all blocks.
    """

    index: IntArray
    place: IntArray

    @staticmethod
    def of(coupled: NDArray[np.bool_]) -> Blocks:
        """The smallest blocks, in the order of their states, for ``coupled`` (H, n, n)."""
        label = components(coupled)
        order = np.argsort(label, axis=1, kind="stable")
        sizes = [np.bincount(row) for row in label] if label.size else []
        widest = max((int(size.max(initial=0)) for size in sizes), default=0) or 1
        if _in_order(label, widest):
            packed = [np.arange(label.shape[1]).reshape(-1, widest)] * len(label)
        else:
            packed = [_packed(states, size, widest) for states, size in zip(order, sizes, strict=True)]
        most = max((len(blocks) for blocks in packed), default=0)
        index = np.full((len(label), most, widest), EMPTY, np.int64)
        for group, blocks in enumerate(packed):
            index[group, : len(blocks)] = blocks
        place = np.zeros(label.shape, np.int64)
        flat = index.reshape(len(label), -1)
        rows, at = np.nonzero(flat != EMPTY)
        place[rows, flat[rows, at]] = at
        return Blocks(index, place)

    def part(self, groups: slice) -> Blocks:
        """Those of some of the groups."""
        return Blocks(self.index[groups], self.place[groups])

    @property
    def size(self) -> int:
        """States b of a block."""
        return int(self.index.shape[2])

    @cached_property
    def plain(self) -> bool:
        """The blocks are the states in their order, with no place left empty."""
        flat = self.index.reshape(len(self.index), -1)
        return flat.shape == self.place.shape and bool((flat == np.arange(flat.shape[1])).all())

    def gather(self, x: FloatArray, axis: int = 1) -> FloatArray:
        """States along ``axis`` of x (H, ...) as two axes (K, b); 0 at places that no state needs."""
        groups, count, size = self.index.shape
        if self.plain:
            return x.reshape(*x.shape[:axis], count, size, *x.shape[axis + 1 :])
        x = np.moveaxis(x, axis, -1)
        at = self.index.reshape(groups, *(1,) * (x.ndim - 2), count * size)
        found = np.take_along_axis(x, np.maximum(at, 0), -1) * (at != EMPTY)
        return np.moveaxis(found.reshape(*found.shape[:-1], count, size), (-2, -1), (axis, axis + 1))

    def scatter(self, x: FloatArray, axis: int = 1) -> FloatArray:
        """The inverse of `gather`: x (H, ..., K, b, ...) to states along ``axis``."""
        if self.plain:
            return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])
        x = np.moveaxis(x, (axis, axis + 1), (-2, -1))
        x = x.reshape(*x.shape[:-2], -1)
        at = self.place.reshape(len(self.place), *(1,) * (x.ndim - 2), -1)
        return np.moveaxis(np.take_along_axis(x, at, -1), -1, axis)

    def square(self, x: FloatArray) -> FloatArray:
        """The blocks (H, K, b, b) of x (H, n, n)."""
        groups = np.arange(len(self.index))[:, None, None, None]
        row, column = self.index[..., :, None], self.index[..., None, :]
        found = x[groups, row, column]
        return found if self.plain else np.where((row == EMPTY) | (column == EMPTY), 0.0, found)


def components(coupled: NDArray[np.bool_]) -> IntArray:
    """Number (H, n) of the part of each state, in the order of first members; ``coupled`` (H, n, n), either way."""
    groups, n, _ = coupled.shape
    group, row, column = np.nonzero(coupled)
    row, column = group * n + row, group * n + column
    lowest = np.arange(groups * n)
    while True:
        low, new = np.minimum(lowest[row], lowest[column]), lowest.copy()
        np.minimum.at(new, row, low)
        np.minimum.at(new, column, low)
        new = new[new]
        if (new == lowest).all():
            break
        lowest = new
    first = (lowest == np.arange(groups * n)).reshape(groups, n)
    number = np.cumsum(first, 1) - 1
    return np.asarray(number.ravel()[lowest].reshape(groups, n))


def _in_order(label: IntArray, widest: int) -> bool:
    """Whether every part lies within one of the runs of ``widest`` states of which all groups consist."""
    if label.shape[1] % widest:
        return False
    run = np.broadcast_to(np.arange(label.shape[1]) // widest, label.shape)
    first = np.full(label.shape, label.shape[1])
    groups = np.arange(len(label))[:, None]
    np.minimum.at(first, (groups, label), run)
    return bool((first[groups, label] == run).all())


def _packed(states: IntArray, sizes: IntArray, widest: int) -> IntArray:
    """Parts of ``sizes`` of the ordered ``states``, side by side in blocks of ``widest`` places, (blocks, widest)."""
    if (sizes == widest).all():
        return states.reshape(-1, widest)
    blocks: list[list[int]] = [[]]
    start = 0
    for size in sizes.tolist():
        if len(blocks[-1]) + size > widest:
            blocks.append([])
        blocks[-1] += states[start : start + size].tolist()
        start += size
    return np.array([block + [EMPTY] * (widest - len(block)) for block in blocks], np.int64)
