"""Data-dependent energy: how strongly the rows are driven, and the conductances that they meet.

A cell that is read draws V^2 G t. The file's energy of a cell read, ``array.read_energy_fj_per_cell``, is for drives of
mean activity ``array.read_activity`` and cells of mean conductance ``array.read_g_us``; for the sequences at hand it is

    sum over driven rows i, connected columns j:  key (a_i / read_activity) (G_ij / read_g_us)

where a_i is the mean over the sequences of (v / v_max)^2 for amplitudes, of |v| / v_max for pulses (time carries the
code), and of the bit for serial drives. A driver's energy is ``dac.energy_pj`` a_i / ``dac.activity`` likewise.
Converters and digital work do not depend on the data. Where a file leaves the activity
or the conductance of its figures out (0), they are used unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ssmc.data import Samples
from ssmc.hardware.model import Hardware
from ssmc.ir.rounding import FloatArray
from ssmc.targets.aimc.cost.energy_events import Factors
from ssmc.targets.aimc.lowering.mapping import Bank
from ssmc.targets.aimc.simulation.chip import Chip
from ssmc.targets.aimc.simulation.noise import Real
from ssmc.targets.aimc.simulation.simulate import blocks
from ssmc.targets.aimc.simulation.tile_executor import Frame, TileExecutor
from ssmc.targets.aimc.tiles import instructions as isa
from ssmc.targets.aimc.tiles.cells import tile_levels
from ssmc.targets.aimc.tiles.instructions import TileProgram


@dataclass(frozen=True)
class _Watching(TileExecutor):
    """Adds up the activity of every driven row."""

    hardware: Hardware | None = None
    sums: dict[str, FloatArray] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def _drive(self, i: isa.Drive, frame: Frame) -> Real:
        driven = super()._drive(i, frame)
        assert self.hardware is not None
        active = frame.active.nonzero()[0]
        seen = activity(driven[:, active], i, self.hardware).sum(1)
        self.sums[i.bank] = self.sums.get(i.bank, np.zeros(seen.shape)) + seen
        self.counts[i.bank] = self.counts.get(i.bank, 0) + len(active)
        return driven


def activity(drive: Real, i: isa.Drive, hw: Hardware) -> FloatArray:
    """Share of the full drive's energy that each code stands for."""
    if i.plane is not None:
        return np.asarray(drive, np.float64)
    share = np.abs(drive) / (1 << max(i.width - 1, 1))
    return np.asarray(share if hw.dac.pulses != "none" else share**2, np.float64)


def measure(program: object, tiles: TileProgram, hw: Hardware, samples: Samples) -> dict[str, Factors]:
    """Run the sequences on the ideal chip; factors by bank."""
    watching = _Watching(program, tiles, Chip(tiles, hw), True, hardware=hw)  # type: ignore[arg-type]
    for rows in blocks(samples.lengths):
        watching.run(*samples.batch(rows))
    means = {name: total / max(watching.counts[name], 1) for name, total in watching.sums.items()}
    return {name: factors(tiles.banks[name], mean, hw) for name, mean in means.items()}


def factors(bank: Bank, mean: FloatArray, hw: Hardware) -> Factors:
    """From the mean activity of its rows, (groups, rows)."""
    on = float(mean[bank.driven].mean()) if bank.driven.any() else 0.0
    drivers = on / hw.dac.activity.value if hw.dac.activity.value else 1.0
    if not (hw.array.read_activity.value and hw.array.read_g_us.value):
        return Factors(1.0, drivers)
    seen = np.stack([conductance_seen(bank, group, hw) for group in range(bank.groups)])
    drawn = float((mean * seen).sum()) / (hw.array.read_activity.value * hw.array.read_g_us.value)
    cells, _ = bank.conducting(hw)
    return Factors(drawn / cells if cells else 0.0, drivers)


def conductance_seen(bank: Bank, group: int, hw: Hardware) -> NDArray[np.float64]:
    """Microsiemens on each input of a group: the columns of its blocks, and code 0 in every other connected column.

    0 where an input is not driven.
    """
    base, zero = hw.cell.g_min_us.value, 0 if hw.cells_per_code == 2 else (hw.cell.levels - 1) // 2
    own = np.zeros(bank.row_count)
    at_once = {(tile.array, tile.wave) for tile in bank.tiles if tile.group == group}
    for array, wave in at_once:
        together = [tile for tile in bank.tiles if (tile.array, tile.wave) == (array, wave)]
        others = sum(bank.connected(tile, hw) for tile in together if tile.group != group) + hw.reference_columns
        own += others * (base + hw.level_us * zero)
        for tile in (tile for tile in together if tile.group == group):
            live = bank.columns[group][:, bank.outputs_in(tile)].T.ravel()  # in the order of the columns
            levels = tile_levels(bank, tile, hw)[:: hw.rows_per_input, np.repeat(live, hw.cells_per_code)]
            own[bank.inputs_in(tile)] += base * levels.shape[1] + hw.level_us * levels.sum(1)
    return np.asarray(own * bank.driven[group])
