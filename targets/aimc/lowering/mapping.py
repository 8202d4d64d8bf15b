"""Matrices to banks, and banks to arrays.

A *bank* is one row split of one matrix: its blocks work in lockstep, in as many waves as blocks share an array.
Physical column of output j, slice s, sign g within a tile that starts at output j0 and column c0 (differential
columns): ``c0 + ((j - j0) * slices + s) * 2 + g``; with an offset column, ``c0 + (j - j0) * slices + s`` and the
offset in the last column of the array. Physical row of input i in a bank that starts at input i0, in a tile that
starts at row r0: ``r0 + i - i0``, or ``r0 + 2 (i - i0) + sign`` with unipolar drivers (`cell.quadrants` = 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ssmc.errors import ModelError
from ssmc.hardware.model import Hardware
from ssmc.ir.rounding import IntArray
from ssmc.targets.aimc.lowering.conversion_plan import MatrixPlan
from ssmc.targets.aimc.lowering.cuts import outputs_per_tile
from ssmc.targets.aimc.lowering.packing import ONE, Block, Packing, pack


@dataclass(frozen=True)
class Tile:
    """Cells of an array: outputs ``start..stop`` of one group's matrix, from physical row and column on.

    ``wave``: index of the drive (wave) of its bank in which the tile takes part; tiles of a wave are driven at once.
    """

    array: int
    group: int
    outputs: tuple[int, int]
    row: int = 0
    column: int = 0
    wave: int = 0


@dataclass(frozen=True)
class Bank:
    """One row split of a matrix, in the cells of one array or many.

    Attributes:
        name: the matrix, with its row range where it is split.
        op: the op it serves.
        rows: which inputs drive it, (start, stop).
        gains: integer weight of each slice.
        tiles: where its outputs are.
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

    @property
    def arrays(self) -> tuple[int, ...]:
        """Arrays that hold a part of it."""
        return tuple(sorted({tile.array for tile in self.tiles}))

    @property
    def waves(self) -> int:
        """Drives of one product, one after the other."""
        return 1 + max(tile.wave for tile in self.tiles)

    def drives(self) -> int:
        """Row ranges driven in one product, all arrays and waves together."""
        return len({(tile.array, tile.wave, tile.group, tile.row) for tile in self.tiles})

    def columns_of(self, tile: Tile, hw: Hardware) -> int:
        """Physical columns of a tile."""
        return (tile.outputs[1] - tile.outputs[0]) * len(self.gains) * hw.cells_per_code

    def conducting(self, hw: Hardware) -> tuple[int, int]:
        """(cells, columns) that carry current in one product: per wave and array, driven rows times its columns."""
        rows: dict[tuple[int, int], set[tuple[int, int]]] = {}
        columns: dict[tuple[int, int], int] = {}
        for tile in self.tiles:
            at = tile.array, tile.wave
            rows.setdefault(at, set()).add((tile.group, tile.row))
            columns[at] = columns.get(at, hw.reference_columns) + self.columns_of(tile, hw)
        cells = sum(len(driven) * self.row_count * columns[at] for at, driven in rows.items())
        return cells, sum(columns.values())

    def columns_used(self, hw: Hardware) -> int:
        """Physical columns in use, all arrays together."""
        signed = self.groups * self.outputs * len(self.gains) * hw.cells_per_code
        return signed + hw.reference_columns * len(self.arrays)


Packings = Mapping[str, Packing]


def make_banks(plans: Mapping[str, MatrixPlan], hw: Hardware, packings: Packings | None = None) -> tuple[Bank, ...]:
    """Banks of every analog matrix, arrays numbered in order; ``packings`` by `MatrixPlan.name`, others one an array.

    Raises:
        ModelError: SSMC-A03 where the chip has fewer arrays than the program needs.
    """
    banks: list[Bank] = []
    how: list[Packing] = []
    for plan in plans.values():
        if plan.kind == "digital":
            continue
        for span in plan.rows:
            name = plan.name if len(plan.rows) == 1 else f"{plan.name}[{span[0]}:{span[1]}]"
            codes = np.ascontiguousarray(plan.digits[..., span[0] : span[1]])
            banks.append(Bank(name, plan.op, span, plan.slice_gains, (), codes))
            how.append((packings or {}).get(plan.name, ONE))
    return _placed(banks, how, plans, hw)


def _placed(banks: list[Bank], how: list[Packing], plans: Mapping[str, MatrixPlan], hw: Hardware) -> tuple[Bank, ...]:
    """Every bank with its tiles: packings of one kind share their arrays."""
    tiles: dict[int, list[Tile]] = {k: [] for k in range(len(banks))}
    free = 0
    for pool in _pools(banks, how, plans):
        blocks = [block for k in pool for block in _blocks(k, banks[k], _plan_of(banks[k], plans), hw)]
        for p in pack(blocks, how[pool[0]], free, hw):
            b = p.block
            tiles[b.bank].append(Tile(p.array, b.group, b.outputs, p.row, p.column, p.wave))
        free = 1 + max(tile.array for k in pool for tile in tiles[k])
    if hw.array.count and free > hw.array.count:
        name = next(b.name for k, b in enumerate(banks) if max(t.array for t in tiles[k]) >= hw.array.count)
        fact = f"needs {free} arrays, '{hw.name}' has {hw.array.count}"
        remedy = "place some matrices digital, pack several into an array, or raise array.count"
        raise ModelError("SSMC-A03", fact, remedy, name.split("[")[0])
    return tuple(replace(bank, tiles=tuple(sorted(tiles[k], key=_order))) for k, bank in enumerate(banks))


def _pools(banks: list[Bank], how: list[Packing], plans: Mapping[str, MatrixPlan]) -> list[list[int]]:
    """Banks that may share arrays: the row splits of a matrix, or of all matrices."""
    pools: dict[object, list[int]] = {}
    for k, (bank, packing) in enumerate(zip(banks, how, strict=True)):
        match packing.mode:
            case "shared":
                key: object = "shared"
            case "multiplexed":
                key = ("matrix", _plan_of(bank, plans).name)
            case _:
                key = k
        pools.setdefault(key, []).append(k)
    return list(pools.values())


def _order(tile: Tile) -> tuple[int, tuple[int, int]]:
    return tile.group, tile.outputs


def _plan_of(bank: Bank, plans: Mapping[str, MatrixPlan]) -> MatrixPlan:
    return plans[bank.name if bank.name in plans else bank.name[: bank.name.rindex("[")]]


def _blocks(index: int, bank: Bank, plan: MatrixPlan, hw: Hardware) -> list[Block]:
    """One block per group, more where the outputs need more columns than an array has."""
    width = outputs_per_tile(len(bank.gains), hw)
    spans = [(start, min(start + width, bank.outputs)) for start in range(0, bank.outputs, width)]
    split = len(plan.rows) > 1 or len(spans) > 1
    rows, columns = bank.row_count * hw.rows_per_input, len(bank.gains) * hw.cells_per_code
    return [
        Block(index, group, span, rows, columns, plan.step_of(group, span, hw), split)
        for group in range(bank.groups)
        for span in spans
    ]
