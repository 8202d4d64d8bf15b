"""What a laboratory needs to run a tile program on a chip, as plain files: what is programmed, driven and expected.

    program.json      the instructions, and which rows and columns of which array hold what
    numbers.npz       the arrays that program.json names
    conductances.npz  target conductance of every cell of every array, microsiemens; array-NNNN.csv the same as text
    vectors.npz       recorded inputs, codes on every driven row, column sums, converter codes, values and outputs
    README.md         how to read them

Nothing but these files is needed to execute the program (tests/targets/aimc/laboratory_executor.py does).
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ssmc.data import Samples
from ssmc.hardware.conductances import Real
from ssmc.hardware.model import Hardware
from ssmc.ir.program import Program
from ssmc.npz import npz_bytes
from ssmc.targets.aimc.choices.full_scale import full_scales
from ssmc.targets.aimc.lowering.mapping import Bank, Tile
from ssmc.targets.aimc.lowering.partial_sums import Lowered
from ssmc.targets.aimc.simulation.chip import Chip
from ssmc.targets.aimc.simulation.tile_executor import Frame, TileExecutor
from ssmc.targets.aimc.tiles import instructions as isa
from ssmc.targets.aimc.tiles.cells import cell_levels
from ssmc.targets.aimc.tiles.instructions import TileProgram
from ssmc.targets.aimc.tiles.serialize import tiles_to_json
from ssmc.targets.base import Arrays, Json

SCHEMA = "ssmc.laboratory/1"
MOST_STEPS = 32
README = """# A program for a crossbar chip

`program.json` lists what happens in every step (`per_step`) and at the end of a sequence (`per_sequence`),
instruction by instruction; docs/tile-program.md of ssmc describes each. A value `{"array": KEY, ..}` stands for an
array of `numbers.npz`.

**Cells.** `conductances.npz` holds one matrix an array (rows, columns), in microsiemens; `array-NNNN.csv` is the same
as text. `banks` says where every matrix is: tile by tile the array, its first physical row and column, the `inputs`
on its rows and the `outputs` on its columns, in order. An input takes `rows_per_input` rows (2: positive and negative
codes apart), an output `cells_per_code` columns for every slice, whose weights are `gains`. With two columns a code
the second is subtracted; with one, the last column of the array, unless `zero_level` is 0. A code is then
conductance over `level_us`. Which cells are stuck, only reading them back tells: beside one at level s of a pair with
code d write the other cell to clip(s - d, 0, levels - 1) where the stuck one adds, to clip(s + d, 0, levels - 1)
where it subtracts.

**One product.** `Drive` puts codes on the rows of a bank, wave by wave (tiles of a wave at once); `Integrate` lets
the currents settle; `Convert` and `ConvertQuantize` convert every column. `converters` has the full scale of each: in
accumulator units (one code on a row times one cell code), and in microampere and volt where the hardware file knows
them.

**Vectors.** `vectors.npz`: `x` (sequences, steps, features) with `lengths`, and the `outputs` of an ideal chip. For
the first steps of the first sequence also, in the order of the instructions, the codes on the rows of every array
(`drive/NNNN`: drives, rows), the sums that a bank's columns hold (`held/K`: events, groups, slices x outputs),
and the codes of every value (`value/K`: steps, channels). `recorded` names banks and values by K.
"""


@dataclass(frozen=True)
class Laboratory:
    """The files by name: JSON, arrays of npz files, and text."""

    program: Json
    numbers: Arrays
    conductances: Arrays
    vectors: Arrays

    def files(self) -> dict[str, bytes]:
        """Every file of the folder; ``program.json`` lists them."""
        texts = {f"array-{name}.csv": _csv(cells).encode() for name, cells in self.conductances.items()}
        tables = {"conductances": self.conductances, "numbers": self.numbers, "vectors": self.vectors}
        others = {f"{name}.npz": npz_bytes(arrays) for name, arrays in tables.items()} | texts
        others["README.md"] = README.encode()
        whole = {**self.program, "files": sorted(others)}
        return {
            "program.json": (json.dumps(whole, indent=1, sort_keys=True, allow_nan=False) + "\n").encode(),
            **others,
        }


def laboratory(lowered: Lowered, tiles: TileProgram, hw: Hardware, samples: Samples) -> Laboratory:
    """Everything for one program; vectors for all ``samples``, in detail for the first `MOST_STEPS` steps of the first.

    Raises:
        UsageError: SSMC-D01..D03 where the sequences do not fit the model.
    """
    data, numbers = tiles_to_json(tiles)
    data["banks"] = {name: _placed(bank, hw) for name, bank in tiles.banks.items()}
    vectors, recorded = _vectors(lowered.program, tiles, hw, samples)
    program = {
        **data,
        "converters": full_scales(lowered, hw),
        "hardware": _figures(hw),
        "recorded": recorded,
        "schema": SCHEMA,
    }
    levels = cell_levels(tiles.banks.values(), hw)
    conductances = {f"{k:04d}": hw.cell.g_min_us.value + hw.level_us * cells for k, cells in levels.items()}
    kept = {key: array for key, array in numbers.items() if not key.startswith("tiles/banks/")}
    return Laboratory(program, kept, dict(conductances), vectors)


def _placed(bank: Bank, hw: Hardware) -> Json:
    """Where a bank is: of every tile the inputs on its rows and the outputs on its columns, in physical order."""
    return {
        "gains": list(bank.gains),
        "inputs": list(bank.rows),
        "shape": list(bank.codes.shape),
        "tiles": [_tile(bank, tile, hw) for tile in bank.tiles],
    }


def _tile(bank: Bank, tile: Tile, hw: Hardware) -> Json:
    return {
        "array": tile.array,
        "column": tile.column,
        "columns": bank.columns_of(tile, hw),
        "group": tile.group,
        "inputs": bank.inputs_in(tile).tolist(),
        "outputs": bank.outputs_in(tile).tolist(),
        "row": tile.row,
        "rows": bank.rows_of(tile, hw),
        "wave": tile.wave,
    }


def _figures(hw: Hardware) -> Json:
    """Keys of the hardware by which cells and codes belong together."""
    return {
        "adc_bits": hw.adc.bits,
        "adcs_per_array": hw.adcs_per_array,
        "cells_per_code": hw.cells_per_code,
        "columns": hw.array.columns,
        "dac_bits": hw.dac.bits,
        "g_min_us": hw.cell.g_min_us.value,
        "level_us": hw.level_us,
        "levels": hw.cell.levels,
        "name": hw.name,
        "rows": hw.array.rows,
        "rows_per_input": hw.rows_per_input,
        "zero_level": hw.zero_level,
    }


@dataclass(frozen=True)
class _Recording(TileExecutor):
    """Keeps what is driven, held and converted, in order."""

    hardware: Hardware | None = None
    events: dict[str, list[NDArray[np.int64]]] = field(default_factory=dict)

    def _drive(self, i: isa.Drive, frame: Frame) -> Real:
        driven = super()._drive(i, frame)
        bank = self.tiles.banks[i.bank]
        assert self.hardware is not None
        for array, rows in _on_rows(bank, driven[:, 0], self.hardware).items():
            self._keep(f"drive/{array:04d}", rows)
        self._keep(f"held/{list(self.tiles.banks).index(i.bank)}", self.chip.product(i.bank, driven)[None, :, 0])
        return driven

    def _keep(self, key: str, values: NDArray[np.floating] | NDArray[np.int64]) -> None:
        self.events.setdefault(key, []).append(np.asarray(values, np.int64))


def _on_rows(bank: Bank, driven: Real, hw: Hardware) -> dict[int, NDArray[np.int64]]:
    """Codes on the physical rows of every array, (waves, rows): of drives (groups, inputs)."""
    found: dict[int, NDArray[np.int64]] = {}
    for tile in bank.tiles:
        rows = found.setdefault(tile.array, np.zeros((bank.waves, hw.array.rows), np.int64))
        codes = driven[tile.group, bank.inputs_in(tile)].astype(np.int64)
        if hw.rows_per_input > 1:
            codes = np.stack([np.maximum(codes, 0), np.maximum(-codes, 0)], 1).ravel()
        rows[tile.wave, tile.row : tile.row + len(codes)] = codes
    return found


def _vectors(program: Program, tiles: TileProgram, hw: Hardware, samples: Samples) -> tuple[Arrays, Json]:
    """All inputs and outputs; of the first steps of the first sequence every event, and the codes of all values.

    Also the names of what ``held/K`` and ``value/K`` are of.
    """
    chip = Chip(tiles, hw)
    x, lengths = samples.batch(np.arange(len(samples)))
    found: Arrays = {"x": x, "lengths": lengths, "outputs": TileExecutor(program, tiles, chip).run(x, lengths)}
    recording = _Recording(program, tiles, chip, True, hardware=hw)
    state = recording.init(1)
    values: dict[str, list[NDArray[np.int64]]] = {}
    for t in range(min(int(lengths[0]), MOST_STEPS)):
        for name, codes in recording.step_codes(state, x[:1, t]).items():
            values.setdefault(name, []).append(codes[0])
    found |= {key: np.concatenate(events) for key, events in sorted(recording.events.items())}
    found |= {f"value/{k}": np.stack(codes) for k, codes in enumerate(values.values())}
    return found, {"held": list(tiles.banks), "values": list(values)}


def _csv(cells: NDArray[np.generic]) -> str:
    text = io.StringIO()
    np.savetxt(text, cells, "%.9g", ",")
    return text.getvalue()
