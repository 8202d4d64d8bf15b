"""Matrices to arrays: one kernel per array, as in the literature (IMSSA, QS4D).

A *bank* is the set of arrays that work in lockstep on one row split of one matrix: one array per channel group,
more where the outputs need more columns than an array has. Physical column of output j, slice s, sign g within a
tile that starts at output j0 (differential columns): ``((j - j0) * slices + s) * 2 + g``; with an offset column,
``(j - j0) * slices + s`` and the offset in the last column.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ssmc.errors import ModelError
from ssmc.ir.rounding import IntArray
from ssmc.targets.aimc.hardware import Hardware
from ssmc.targets.aimc.plan import MatrixPlan, outputs_per_tile, slices


@dataclass(frozen=True)
class Tile:
    """One array: it holds outputs ``start..stop`` of one group's matrix."""

    array: int
    group: int
    outputs: tuple[int, int]


@dataclass(frozen=True)
class Bank:
    """Arrays that hold one row split of a matrix and are driven together.

    Attributes:
        name: the matrix, with its row range where it is split.
        op: the op it serves.
        rows: which inputs drive it, (start, stop).
        gains: integer weight of each slice.
        tiles: the arrays.
        codes: signed digits, (groups, slices, outputs, rows).
    """

    name: str
    op: str
    rows: tuple[int, int]
    gains: tuple[int, ...]
    tiles: tuple[Tile, ...]
    codes: IntArray

    @property
    def groups(self) -> int:
        """Independent blocks."""
        return int(self.codes.shape[0])

    @property
    def outputs(self) -> int:
        """Outputs per group."""
        return int(self.codes.shape[2])

    @property
    def row_count(self) -> int:
        """Rows used in every tile."""
        return self.rows[1] - self.rows[0]

    @property
    def outputs_per_tile(self) -> int:
        """Outputs of the fullest tile."""
        return max(tile.outputs[1] - tile.outputs[0] for tile in self.tiles)

    def columns_used(self, hw: Hardware) -> int:
        """Physical columns in use, all tiles together."""
        signed = self.groups * self.outputs * len(self.gains) * hw.cells_per_code
        return signed + hw.reference_columns * len(self.tiles)


def make_banks(plans: Mapping[str, MatrixPlan], hw: Hardware) -> tuple[Bank, ...]:
    """Banks of every analog matrix, arrays numbered in order.

    Raises:
        ModelError: SSMC-A03 where the chip has fewer arrays than the program needs.
    """
    banks: list[Bank] = []
    next_array = 0
    for plan in plans.values():
        if plan.kind == "digital":
            continue
        digits = np.stack(slices(plan.matrix.codes, plan.slice_gains, hw), 1)
        for span in plan.rows:
            tiles = _tiles(plan, next_array, hw)
            next_array += len(tiles)
            name = plan.name if len(plan.rows) == 1 else f"{plan.name}[{span[0]}:{span[1]}]"
            codes = np.ascontiguousarray(digits[..., span[0] : span[1]])
            banks.append(Bank(name, plan.op, span, plan.slice_gains, tiles, codes))
    if hw.array.count and next_array > hw.array.count:
        fact = f"needs {next_array} arrays, '{hw.name}' has {hw.array.count}"
        raise ModelError("SSMC-A03", fact, "place some matrices digital or raise array.count", plan.name)
    return tuple(banks)


def _tiles(plan: MatrixPlan, first: int, hw: Hardware) -> tuple[Tile, ...]:
    outputs, width = plan.matrix.outputs, outputs_per_tile(len(plan.slice_gains), hw)
    spans = [(start, min(start + width, outputs)) for start in range(0, outputs, width)]
    pairs = [(group, span) for group in range(plan.matrix.groups) for span in spans]
    return tuple(Tile(first + index, group, span) for index, (group, span) in enumerate(pairs))
