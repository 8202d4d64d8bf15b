"""Matrices to banks, and banks to arrays.

A *bank* is one row split of one matrix: its blocks work in lockstep, in as many waves as blocks share an array.
Rows and columns without a code have no place: i and j count those that have one (`ssmc.ir.connectivity`).
Physical column of the j-th output of a tile that starts at column c0, slice s, sign g (differential columns):
``c0 + (j * slices + s) * 2 + g``; with an offset column, ``c0 + j * slices + s`` and the offset in the last column of
the array. Physical row of the i-th input of its group in a tile that starts at row r0: ``r0 + i``, or
``r0 + 2 i + sign`` with unipolar drivers (`cell.quadrants` = 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ssmc.conversion.cuts import outputs_per_tile
from ssmc.errors import ModelError
from ssmc.hardware.model import Hardware
from ssmc.ir.connectivity import Mask, cut, live_columns, live_rows
from ssmc.ir.rounding import IntArray
from ssmc.targets.aimc.lowering.conversion_plan import MatrixPlan
from ssmc.targets.aimc.lowering.packing import ONE, Block, Packing, Placed, pack


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
        """Inputs of a group, with and without a code."""
        return self.rows[1] - self.rows[0]

    @cached_property
    def columns(self) -> Mask:
        """Which columns hold a code, (groups, slices, outputs): these are converted."""
        return live_columns(self.codes)

    @cached_property
    def driven(self) -> Mask:
        """Which inputs have a code in some column of their group, (groups, rows): these are driven."""
        return np.asarray(live_rows(self.codes).any(1))

    @cached_property
    def busiest(self) -> dict[tuple[int, ...], int]:
        """What `ssmc.targets.aimc.cost.durations.busiest_converter` found: every bit of a serial drive asks again."""
        return {}

    def placed(self, tiles: tuple[Tile, ...]) -> Bank:
        """The bank with its tiles; what its codes alone say is not asked again."""
        found = replace(self, tiles=tiles)
        vars(found).update(columns=self.columns, driven=self.driven)
        return found

    def inputs_in(self, tile: Tile) -> IntArray:
        """Inputs that have rows in a tile, in the order of its rows."""
        return np.flatnonzero(self.driven[tile.group])

    def outputs_in(self, tile: Tile) -> IntArray:
        """Outputs that have columns in a tile, in the order of its columns."""
        start, stop = tile.outputs
        return start + np.flatnonzero(self.columns[tile.group, :, start:stop].any(0))

    @property
    def arrays(self) -> tuple[int, ...]:
        """Arrays that hold a part of it."""
        return tuple(sorted({tile.array for tile in self.tiles}))

    @property
    def waves(self) -> int:
        """Drives of one product, one after the other."""
        return 1 + max(tile.wave for tile in self.tiles)

    @property
    def starts(self) -> IntArray:
        """First output of every tile of a group, the same in all groups that have tiles."""
        first = self.tiles[0].group
        return np.array([tile.outputs[0] for tile in self.tiles if tile.group == first])

    def driven_rows(self) -> int:
        """Inputs driven in one product, all arrays and waves together."""
        ranges = {(tile.array, tile.wave, tile.group, tile.row) for tile in self.tiles}
        return sum(int(self.driven[group].sum()) for _, _, group, _ in ranges)

    def rows_of(self, tile: Tile, hw: Hardware) -> int:
        """Physical rows of a tile."""
        return len(self.inputs_in(tile)) * hw.rows_per_input

    def columns_of(self, tile: Tile, hw: Hardware) -> int:
        """Physical columns of a tile."""
        return len(self.outputs_in(tile)) * len(self.gains) * hw.cells_per_code

    @cached_property
    def codes_of_tiles(self) -> list[int]:
        """Columns of each tile that hold a code, all slices together: a slice may have none where others do."""
        before = np.zeros((self.groups, self.outputs + 1), np.int64)
        np.cumsum(self.columns.sum(1), 1, out=before[:, 1:])
        groups, starts, stops = np.array([(tile.group, *tile.outputs) for tile in self.tiles]).T
        counts: list[int] = (before[groups, stops] - before[groups, starts]).tolist()
        return counts

    @cached_property
    def seats(self) -> tuple[IntArray, IntArray]:
        """Tile of every output, and its place among those that have columns there, (groups, outputs) each."""
        held = np.zeros((self.groups, self.outputs), np.int64)
        before = np.cumsum(self.columns.any(1), 1) - 1
        place = before.copy()
        for number, tile in enumerate(self.tiles):
            start, stop = tile.outputs
            held[tile.group, start:stop] = number
            if start:
                place[tile.group, start:stop] -= before[tile.group, start - 1] + 1
        return held, place

    def conducting(self, hw: Hardware) -> tuple[int, int]:
        """(cells, columns) that carry current in one product: per wave and array, driven rows times its columns."""
        rows: dict[tuple[int, int], set[tuple[int, int]]] = {}
        columns: dict[tuple[int, int], int] = {}
        for tile, count in zip(self.tiles, self.codes_of_tiles, strict=True):
            at = tile.array, tile.wave
            rows.setdefault(at, set()).add((tile.group, tile.row))
            columns[at] = columns.get(at, hw.reference_columns) + count * hw.cells_per_code
        driven = self.driven.sum(1)
        cells = sum(int(driven[group]) * columns[at] for at, ranges in rows.items() for group, _ in ranges)
        return cells, sum(columns.values())

    def cells_used(self, hw: Hardware) -> int:
        """Cells of its blocks, and of the reference column of every array as far as it is driven."""
        blocks = sum(self.rows_of(tile, hw) * self.columns_of(tile, hw) for tile in self.tiles)
        rows: dict[int, dict[tuple[int, int], int]] = {}
        for tile in self.tiles:
            rows.setdefault(tile.array, {})[tile.group, tile.row] = self.rows_of(tile, hw)
        return blocks + hw.reference_columns * sum(sum(ranges.values()) for ranges in rows.values())


Packings = Mapping[str, Packing]
BARE = "banks without tiles"


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
        if BARE not in plan.found:
            plan.found[BARE] = [_bare(plan, span) for span in plan.rows]
        banks += plan.found[BARE]
        how += [(packings or {}).get(plan.name, ONE)] * len(plan.rows)
    return _placed(banks, how, plans, hw)


def _bare(plan: MatrixPlan, span: tuple[int, int]) -> Bank:
    """One row split without a place."""
    name = plan.name if len(plan.rows) == 1 else f"{plan.name}[{span[0]}:{span[1]}]"
    codes = np.ascontiguousarray(plan.digits[..., span[0] : span[1]])
    return Bank(name, plan.op, span, plan.slice_gains, (), codes)


def _placed(banks: list[Bank], how: list[Packing], plans: Mapping[str, MatrixPlan], hw: Hardware) -> tuple[Bank, ...]:
    """Every bank with its tiles: packings of one kind share their arrays."""
    tiles: dict[int, list[Tile]] = {k: [] for k in range(len(banks))}
    free = 0
    for pool in _pools(banks, how, plans):
        placed = _packed([banks[k] for k in pool], how[pool[0]], plans, hw)
        for p in placed:
            b = p.block
            tiles[pool[b.bank]].append(Tile(free + p.array, b.group, b.outputs, p.row, p.column, p.wave))
        free += 1 + max(p.array for p in placed)
    if hw.array.count and free > hw.array.count:
        name = next(b.name for k, b in enumerate(banks) if max(t.array for t in tiles[k]) >= hw.array.count)
        fact = f"needs {free} arrays, '{hw.name}' has {hw.array.count}"
        remedy = "pack several into an array, place some digital, or raise array.count"
        raise ModelError("SSMC-A03", fact, remedy, name.split("[")[0])
    return tuple(bank.placed(tuple(sorted(tiles[k], key=_order))) for k, bank in enumerate(banks))


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


def _packed(pool: list[Bank], packing: Packing, plans: Mapping[str, MatrixPlan], hw: Hardware) -> list[Placed]:
    """Blocks of banks that may share arrays, these from 0 on; those of one matrix are packed once in a way."""
    plan = _plan_of(pool[0], plans)
    if packing.mode == "shared":
        return pack(_blocks(pool, plans, hw), packing, 0, hw)
    array = hw.array.rows, hw.array.columns, hw.active_rows, hw.reference_columns
    key = pool[0].name, packing, array, hw.cells_per_code, hw.rows_per_input, hw.adc.columns_per_adc, hw.adc.step
    if key not in plan.found:
        plan.found[key] = pack(_blocks(pool, plans, hw), packing, 0, hw)
    found: list[Placed] = plan.found[key]
    return found


def _blocks(pool: list[Bank], plans: Mapping[str, MatrixPlan], hw: Hardware) -> list[Block]:
    return [block for k, bank in enumerate(pool) for block in _cut(k, bank, _plan_of(bank, plans), hw)]


def _cut(index: int, bank: Bank, plan: MatrixPlan, hw: Hardware) -> list[Block]:
    """A block per group, more where the outputs need more columns than an array has; none where a group has no code."""
    live = np.asarray(bank.columns.any(1))
    spans = cut(live, outputs_per_tile(len(bank.gains), hw))
    may_cut = len(plan.rows) > 1 or len(spans) > 1
    width, rows = len(bank.gains) * hw.cells_per_code, (bank.driven.sum(1) * hw.rows_per_input).tolist()
    found = [np.split(np.nonzero(part)[1], np.cumsum(part.sum(1))[:-1]) for part in (live[:, a:b] for a, b in spans)]
    every = [
        Block(
            bank=index,
            group=group,
            outputs=(start, stop),
            live=tuple((start + inside[group]).tolist()),
            rows=rows[group],
            width=width,
            step=plan.step_of(group, (start, stop), hw),
            may_cut=may_cut,
        )
        for group in range(bank.groups)
        for (start, stop), inside in zip(spans, found, strict=True)
    ]
    return [block for block in every if block.live] or every[:1]
