"""Refuse placements that lose more accuracy under the hardware's programming noise than they may."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ssmc.data import Samples
from ssmc.errors import UsageError
from ssmc.hardware.model import Hardware
from ssmc.ir.program import Program
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

    def refuses(self, placed: Placed, packing: Packing) -> str:
        """Why a placement is refused; empty where it is not."""
        from ssmc.targets.aimc.simulation.monte_carlo import monte_carlo

        chip = OnChip(placed.lowered.program, placed.tiles_with(packing), placed.hardware)
        found = monte_carlo(chip, self.samples, chips=CHIPS, times_s=(0.0,))
        lost = 100 * (found.ideal_accuracy.value - found.at[0].accuracy.value)
        if lost <= self.points:
            return ""
        return f"loses {lost:.1f} points under programming noise, the budget is {self.points:g}"


class OnChip(NamedTuple):
    """What a Monte Carlo runs."""

    program: Program
    tiles: TileProgram
    hardware: Hardware
