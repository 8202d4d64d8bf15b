"""Energies that depend on data (`ssmc.targets.aimc.cost.activity`), for the sequences at hand."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ssmc.data import Samples
from ssmc.hardware.conductances import Real
from ssmc.hardware.model import Hardware
from ssmc.ir.rounding import FloatArray
from ssmc.targets.aimc.cost.activity import Factors, activity_of, factors
from ssmc.targets.aimc.simulation.chip import Chip
from ssmc.targets.aimc.simulation.simulate import blocks
from ssmc.targets.aimc.simulation.tile_executor import Frame, TileExecutor
from ssmc.targets.aimc.tiles import instructions as isa
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
        seen = activity_of(driven[:, active], i, self.hardware).sum(1)
        self.sums[i.bank] = self.sums.get(i.bank, np.zeros(seen.shape)) + seen
        self.counts[i.bank] = self.counts.get(i.bank, 0) + len(active)
        return driven


def measure(program: object, tiles: TileProgram, hw: Hardware, samples: Samples) -> dict[str, Factors]:
    """Run the sequences on the ideal chip; factors by bank."""
    watching = _Watching(program, tiles, Chip(tiles, hw), True, hardware=hw)  # type: ignore[arg-type]
    for rows in blocks(samples.lengths):
        watching.run(*samples.batch(rows))
    means = {name: total / max(watching.counts[name], 1) for name, total in watching.sums.items()}
    return {name: factors(tiles.banks[name], mean, hw) for name, mean in means.items()}
