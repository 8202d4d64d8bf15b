"""The cells of every kernel, as data to draw: arrays with equal contents are listed once."""

from __future__ import annotations

import numpy as np

from ssmc.hardware.model import Hardware
from ssmc.targets.aimc.lowering.kernel_places import INPUT, OUTPUT
from ssmc.targets.aimc.lowering.mapping import Bank, Tile
from ssmc.targets.aimc.tiles.cells import cell_levels
from ssmc.targets.aimc.tiles.instructions import TileProgram
from ssmc.targets.base import Json

FINEST = 64
SHADES = 9


def layouts(tiles: TileProgram, hw: Hardware) -> list[Json]:
    """Distinct layouts: how many arrays have it, the first of them, its blocks in physical rows and columns.

    Of a kernel also where its states end among rows and columns (0: none); and what was written into the first array.
    """
    found: dict[int, list[Json]] = {}
    for bank in tiles.banks.values():
        for tile in bank.tiles:
            rows, columns = bank.rows_of(tile, hw), bank.columns_of(tile, hw)
            box = {"row": tile.row, "column": tile.column, "rows": rows, "columns": columns}
            states = _states(bank, tile, tiles, hw)
            found.setdefault(tile.array, []).append({"matrix": bank.name, "wave": tile.wave, **states, **box})
    groups: dict[str, list[int]] = {}
    for array, blocks in sorted(found.items()):
        groups.setdefault(repr(blocks), []).append(array)
    written = cell_levels(tiles.banks.values(), hw)
    return [
        {
            "adc_columns": hw.adc.columns_per_adc,
            "arrays": len(arrays),
            "blocks": found[arrays[0]],
            "columns": hw.array.columns,
            "first": arrays[0],
            "reference_columns": hw.reference_columns,
            "rows": hw.array.rows,
            "utilisation": _used(found[arrays[0]], hw),
            "written": shades(written[arrays[0]] != hw.zero_level),
        }
        for arrays in groups.values()
    ]


def _states(bank: Bank, tile: Tile, tiles: TileProgram, hw: Hardware) -> Json:
    """Physical rows and columns of a block that belong to states."""
    register = tiles.registers.get(bank.op)
    n = 0 if register is None else register.initial.shape[1]
    matrix = bank.name.removeprefix(bank.op).partition("[")[0]
    driven = n if matrix != INPUT else 0
    converted = n if matrix != OUTPUT else 0
    rows = int((bank.inputs_in(tile) + bank.rows[0] < driven).sum()) * hw.rows_per_input
    columns = int((bank.outputs_in(tile) < converted).sum()) * len(bank.gains) * hw.cells_per_code
    return {"state_rows": rows, "state_columns": columns}


def shades(cells: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> list[str]:
    """Share of cells that are not at code 0, as digits 0 to 9, on a grid of at most `FINEST` a side."""
    rows, columns = (np.linspace(0, size, min(size, FINEST) + 1).astype(int) for size in cells.shape)
    sums = np.add.reduceat(np.add.reduceat(cells.astype(int), rows[:-1], 0), columns[:-1], 1)
    share = sums / np.outer(np.diff(rows), np.diff(columns))
    digits = np.ceil(SHADES * share).astype(np.uint8) + ord("0")
    return [line.tobytes().decode("ascii") for line in digits]


def _used(blocks: list[Json], hw: Hardware) -> float:
    used = sum(block["rows"] * block["columns"] for block in blocks)
    return float(used / (hw.array.rows * (hw.array.columns - hw.reference_columns)))
