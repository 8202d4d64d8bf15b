"""Blocks that an array drives at once see each other: cells at code 0 still conduct, they add noise and IR drop.

With blocks k = 1..M of one bank on the diagonal of an array, column j of block k adds up

    held[k, j] = sum_i w[k, j; k, i] v[k, i] + sum_{l != k} sum_i w[k, j; l, i] v[l, i]

where w[k, j; l, i] with l != k is a cell (or pair) written to code 0: zero on an ideal chip, otherwise with the
programming error, drift, read noise and wires of every cell. Blocks of another wave have v = 0 and add nothing,
whatever their cells hold. So the blocks of one array are one block with a block-diagonal matrix, programmed whole:
`whole_bank` makes it, `Coupling` says where its rows and columns come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssmc.ir.rounding import IntArray
from ssmc.targets.aimc.lowering.mapping import Bank, Tile

Array = NDArray[Any]


@dataclass(frozen=True)
class Coupling:
    """Groups that are driven together: ``members`` (K, M), -1 where an array holds fewer; of ``groups`` in all."""

    members: IntArray
    groups: int

    @property
    def size(self) -> int:
        """M."""
        return int(self.members.shape[1])

    def gather(self, x: Array) -> Array:
        """(G, w, ..) to (K, M * w, ..): the members of a group side by side; 0 where there is none."""
        flat = self.members.ravel()
        out = np.zeros((flat.size, *x.shape[1:]), x.dtype)
        out[flat >= 0] = x[flat[flat >= 0]]
        return out.reshape(len(self.members), self.size * x.shape[1], *x.shape[2:])

    def scatter(self, x: Array) -> Array:
        """(K, M * w, ..) back to (G, w, ..); 0 for a group that no array holds."""
        flat = self.members.ravel()
        apart = x.reshape(flat.size, -1, *x.shape[2:])
        out = np.zeros((self.groups, *apart.shape[1:]), x.dtype)
        out[flat[flat >= 0]] = apart[flat >= 0]
        return out

    def columns_apart(self, held: Array, pieces: int) -> Array:
        """Columns (K, N, s * M * j) of the whole to (G, N, s * j)."""
        count = held.shape[1]
        named = held.reshape(len(self.members), count, pieces, self.size, -1).transpose(0, 3, 1, 2, 4)
        return self.scatter(np.ascontiguousarray(named).reshape(len(self.members), self.size * count, -1)).reshape(
            -1, count, held.shape[2] // self.size
        )

    def segments(self, widths: Sequence[int]) -> IntArray:
        """Positions in (M, sum of widths) in the order of the segments: the first of all members, the second, ..."""
        every = np.arange(self.size * sum(widths)).reshape(self.size, -1)
        return np.concatenate([part.ravel() for part in np.split(every, np.cumsum(widths)[:-1], 1)])

    def spread(self, blocks: Array) -> Array:
        """(G, s, j, i) to block-diagonal (K, s, M * j, M * i)."""
        _, pieces, outputs, rows = blocks.shape
        whole = np.zeros((len(self.members), pieces, self.size, outputs, self.size, rows), blocks.dtype)
        for k, m in zip(*np.nonzero(self.members >= 0), strict=True):
            whole[k, :, m, :, m] = blocks[self.members[k, m]]
        return whole.reshape(len(self.members), pieces, self.size * outputs, self.size * rows)


def coupling_of(bank: Bank) -> Coupling | None:
    """Which groups are driven together; None where none are.

    Only whole groups share a drive: outputs are split where they fill the columns of an array, which leaves no room.
    """
    at_once: dict[tuple[int, int], list[int]] = {}
    for tile in bank.tiles:
        at_once.setdefault((tile.array, tile.wave), []).append(tile.group)
    most = max(len(set(groups)) for groups in at_once.values())
    if most == 1:
        return None
    members = np.full((len(at_once), most), -1)
    for row, groups in zip(members, at_once.values(), strict=True):
        row[: len(groups)] = groups
    return Coupling(members, bank.groups)


def whole_bank(bank: Bank, coupling: Coupling) -> Bank:
    """The bank with a block-diagonal matrix and one tile per array."""
    codes = coupling.spread(bank.codes)
    first = {tile.group: tile for tile in bank.tiles}
    tiles = tuple(
        Tile(at.array, k, (0, codes.shape[2]), at.row, at.column)
        for k, at in enumerate(first[int(groups[0])] for groups in coupling.members)
    )
    return replace(bank, tiles=tiles, codes=codes, rows=(0, codes.shape[3]))
