"""Device noise of a crossbar, on conductances, so that what a column adds up follows by physics (docs/noise.md).

A digit d of a slice is the pair g+ = g_min + max(d, 0) u, g- = g_min + max(-d, 0) u with u = (g_max - g_min) /
(levels - 1); the column pair carries (g+ - g-) / u. With an offset column, g = g_min + (d + z) u in the column
and g_ref = g_min + z u in the last one, z = (levels - 1) // 2.

What a cell holds: `ssmc.hardware.conductances`; wires: `wires`. *Per product*: every cell has fresh spread
read_sigma_relative g. The column sum then is Gaussian with variance ``sum_i v_i^2 (sigma_r / u)^2 (g+_i^2 + g-_i^2)``:
exact, one more product, no copies of the matrix. An offset column's share is common to the columns of its tile.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ssmc.hardware.conductances import NoiseModel, Real, conductance, draws_of, pair_levels
from ssmc.hardware.model import Hardware
from ssmc.targets.aimc.lowering.mapping import Bank
from ssmc.targets.aimc.simulation.wires import with_wires


@dataclass(frozen=True)
class Cells:
    """Conductances of a bank in code units (u = 1), each (groups, slices, outputs, rows).

    Attributes:
        plus: cells that add to the column.
        minus: cells that subtract: the pair's other column, or the offset column seen by every output.
        shared_minus: ``minus`` is one physical column per tile.
    """

    plus: Real
    minus: Real
    shared_minus: bool

    @property
    def weight(self) -> Real:
        """What the column multiplies the drive with."""
        return self.plus - self.minus


def program_cells(bank: Bank, hw: Hardware, noise: NoiseModel, rng: np.random.Generator, time_s: float = 0.0) -> Cells:
    """Write a bank and wait: conductances in code units, ``time_s`` after programming."""
    digits = bank.codes.astype(np.float64)
    if hw.cell.scheme == "differential_columns":
        draws = draws_of(digits.shape, rng), draws_of(digits.shape, rng)
        levels = pair_levels(digits, draws, hw, noise)
        plus, minus = (conductance(*cells, hw, noise, time_s) for cells in zip(levels, draws, strict=True))
        return _wired(Cells(plus, minus, False), bank, hw, noise)
    zero = hw.zero_level
    plus = conductance(digits + zero, draws_of(digits.shape, rng), hw, noise, time_s)
    minus = np.empty_like(plus)
    columns: dict[tuple[int, int], Real] = {}
    for tile in bank.tiles:
        key = tile.array, tile.row
        if key not in columns:
            level = np.full((1, 1, bank.row_count), float(zero))
            columns[key] = conductance(level, draws_of(level.shape, rng), hw, noise, time_s)
        minus[tile.group, :, tile.outputs[0] : tile.outputs[1]] = columns[key]
    return _wired(Cells(plus, minus, True), bank, hw, noise)


def _wired(cells: Cells, bank: Bank, hw: Hardware, noise: NoiseModel) -> Cells:
    """IR drop of every tile, its columns in physical order."""
    if noise.wire_ohm == 0:
        return cells
    plus, minus = cells.plus.copy(), cells.minus.copy()
    for tile in bank.tiles:
        outputs, inputs = bank.outputs_in(tile), bank.inputs_in(tile)
        if not len(outputs) or not len(inputs):  # a matrix without codes
            continue
        at = np.ix_(np.array([tile.group]), np.arange(len(bank.gains)), outputs, inputs)
        p, m = (x[at][0].transpose(1, 0, 2).reshape(-1, len(inputs)).T * hw.level_us for x in (plus, minus))
        below = max(hw.array.rows - tile.row - len(inputs), 0)
        if cells.shared_minus:
            drawn = with_wires(np.concatenate([p, m[:, :1]], 1), noise.wire_ohm, tile.column, below)
            p, m = drawn[:, :-1], np.repeat(drawn[:, -1:], p.shape[1], 1)
        else:
            both = with_wires(np.stack([p, m], 2).reshape(len(p), -1), noise.wire_ohm, tile.column, below)
            p, m = both[:, ::2], both[:, 1::2]
        shape = len(outputs), len(bank.gains), len(inputs)
        plus[at], minus[at] = (x.T.reshape(shape).transpose(1, 0, 2)[None] / hw.level_us for x in (p, m))
    return replace(cells, plus=plus, minus=minus)


def read_variance(cells: Cells, noise: NoiseModel) -> tuple[Real, Real]:
    """Variance of a column per squared drive: of its own cells, and of cells common to its array."""
    plus, minus = (noise.read * cells.plus) ** 2, (noise.read * cells.minus) ** 2
    return (plus, minus) if cells.shared_minus else (plus + minus, np.zeros_like(minus))
