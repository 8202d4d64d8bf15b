"""Which cells hold which kernel, as data to draw: arrays that look the same are listed once."""

from __future__ import annotations

from ssmc.targets.aimc.hardware import Hardware
from ssmc.targets.aimc.program import TileProgram
from ssmc.targets.base import Json


def layouts(tiles: TileProgram, hw: Hardware) -> list[Json]:
    """Distinct layouts: how many arrays have it, the first of them, and its blocks in physical rows and columns."""
    found: dict[int, list[Json]] = {}
    for bank in tiles.banks.values():
        rows = bank.row_count * hw.rows_per_input
        for tile in bank.tiles:
            columns = bank.columns_of(tile, hw)
            box = {"row": tile.row, "column": tile.column, "rows": rows, "columns": columns}
            found.setdefault(tile.array, []).append({"matrix": bank.name, "wave": tile.wave, **box})
    groups: dict[str, list[int]] = {}
    for array, blocks in sorted(found.items()):
        groups.setdefault(repr(blocks), []).append(array)
    return [
        {
            "arrays": len(arrays),
            "blocks": found[arrays[0]],
            "columns": hw.array.columns,
            "first": arrays[0],
            "reference_columns": hw.reference_columns,
            "rows": hw.array.rows,
            "utilisation": _used(found[arrays[0]], hw),
        }
        for arrays in groups.values()
    ]


def _used(blocks: list[Json], hw: Hardware) -> float:
    used = sum(block["rows"] * block["columns"] for block in blocks)
    return float(used / (hw.array.rows * (hw.array.columns - hw.reference_columns)))
