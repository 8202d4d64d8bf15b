"""Which level every cell of every array is written to: what a chip is programmed with, and what proves a mapping."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from ssmc.hardware.model import Hardware
from ssmc.ir.rounding import IntArray
from ssmc.targets.aimc.lowering.mapping import Bank, Tile


def cell_levels(banks: Iterable[Bank], hw: Hardware) -> dict[int, IntArray]:
    """Levels (rows, columns) of every array in use; cells without a code hold code 0."""
    arrays: dict[int, IntArray] = {}
    for bank in banks:
        for tile in bank.tiles:
            cells = arrays.setdefault(tile.array, np.full((hw.array.rows, hw.array.columns), hw.zero_level, np.int64))
            block = tile_levels(bank, tile, hw)
            rows, columns = block.shape
            cells[tile.row : tile.row + rows, tile.column : tile.column + columns] = block
    return dict(sorted(arrays.items()))


def tile_levels(bank: Bank, tile: Tile, hw: Hardware) -> IntArray:
    """Levels of the cells of one tile, (physical rows, physical columns)."""
    digits = bank.codes[tile.group][:, bank.outputs_in(tile)][..., bank.inputs_in(tile)]
    slices, outputs, inputs = digits.shape
    flat = digits.transpose(2, 1, 0).reshape(inputs, outputs * slices)
    if hw.cells_per_code == 1:
        return _rows(hw.zero_level + flat, hw.zero_level - flat, hw)
    plus, minus = np.maximum(flat, 0), np.maximum(-flat, 0)
    pair, mirrored = (np.stack(p, -1).reshape(inputs, 2 * outputs * slices) for p in ((plus, minus), (minus, plus)))
    return _rows(pair, mirrored, hw)


def _rows(positive: IntArray, negative: IntArray, hw: Hardware) -> IntArray:
    """Rows as they are, or with unipolar drivers each followed by its mirror image."""
    if hw.rows_per_input == 1:
        return positive
    return np.stack([positive, negative], 1).reshape(2 * len(positive), positive.shape[1])


def waves(bank: Bank) -> Iterator[list[Tile]]:
    """The tiles that are driven at once, wave by wave."""
    for wave in range(bank.waves):
        yield [tile for tile in bank.tiles if tile.wave == wave]
