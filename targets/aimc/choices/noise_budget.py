"""Refuse placements that lose more accuracy under the hardware's programming noise than they may."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ssmc.data import Samples
from ssmc.errors import UsageError
from ssmc.hardware.model import Hardware
from ssmc.ir.program import Program
from ssmc.ir.rounding import FloatArray
from ssmc.targets.aimc.choices.candidates import Placed
from ssmc.targets.aimc.lowering.packing import Packing
from ssmc.targets.aimc.tiles.instructions import TileProgram

CHIPS = 4


@dataclass(frozen=True)
class NoiseBudget:
    """Percentage points that a placement may lose, in the mean over `CHIPS` chips just programmed.

    Attributes:
        points: of accuracy, against an ideal chip of the same placement.
        samples: labelled sequences.

    Raises:
        UsageError: SSMC-U15 where the sequences have no labels.
    """

    points: float
    samples: Samples

    def __post_init__(self) -> None:
        if self.samples.label is None:
            raise UsageError("SSMC-U15", "the data of the noise budget have no labels", "add label (n,) to the file")


@dataclass
class Judge:
    """The budget in one search over the placements of one program.

    Attributes:
        budget: what may be lost.
        ideal: accuracy of an ideal chip of the placements that lose nothing: they share it, so that it is simulated
            once.
    """

    budget: NoiseBudget
    ideal: float | None = None

    def refuses(self, placed: Placed, packing: Packing) -> str:
        """Why a placement is refused; empty where it is not."""
        from ssmc.targets.aimc.simulation.monte_carlo import ideal_chip, just_programmed

        chip, samples = OnChip(placed.lowered.program, placed.tiles_with(packing), placed.hardware), self.budget.samples
        ideal = self.ideal if placed.lowered.exact else None
        if ideal is None:
            ideal = self._accuracy(ideal_chip(chip, samples).outputs)
        if placed.lowered.exact:
            self.ideal = ideal
        noisy = np.mean([self._accuracy(one.outputs) for one in just_programmed(chip, samples, CHIPS)])
        lost = 100 * (ideal - float(noisy))
        if lost <= self.budget.points:
            return ""
        return f"loses {lost:.1f} points under programming noise, the budget is {self.budget.points:g}"

    def _accuracy(self, outputs: FloatArray) -> float:
        return float((outputs.argmax(-1) == self.budget.samples.label).mean())


class OnChip(NamedTuple):
    """What a Monte Carlo runs."""

    program: Program
    tiles: TileProgram
    hardware: Hardware
