"""Refuse placements that lose more accuracy under the hardware's programming noise than they may."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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
        known: accuracy of an ideal chip of the placements that lose nothing, once it was simulated.

    Raises:
        UsageError: SSMC-U15 where the sequences have no labels.
    """

    points: float
    samples: Samples
    known: list[float] = field(default_factory=list, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.samples.label is None:
            raise UsageError("SSMC-U15", "the data of the noise budget have no labels", "add label (n,) to the file")

    def refuses(self, placed: Placed, packing: Packing) -> str:
        """Why a placement is refused; empty where it is not."""
        from ssmc.targets.aimc.simulation.monte_carlo import just_programmed

        chip = OnChip(placed.lowered.program, placed.tiles_with(packing), placed.hardware)
        ideal = self._ideal(chip, placed.lowered.exact)
        noisy = np.mean([self._right(one.outputs) for one in just_programmed(chip, self.samples, CHIPS)])
        lost = 100 * (ideal - float(noisy))
        if lost <= self.points:
            return ""
        return f"loses {lost:.1f} points under programming noise, the budget is {self.points:g}"

    def _ideal(self, chip: OnChip, exact: bool) -> float:
        """Accuracy of an ideal chip, which all placements share that lose nothing: it is simulated once for them."""
        from ssmc.targets.aimc.simulation.monte_carlo import ideal_chip

        if not exact or not self.known:
            found = float(self._right(ideal_chip(chip, self.samples).outputs).mean())
            if not exact:
                return found
            self.known.append(found)
        return self.known[0]

    def _right(self, outputs: FloatArray) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = outputs.argmax(-1) == self.samples.label
        return found


class OnChip(NamedTuple):
    """What a Monte Carlo runs."""

    program: Program
    tiles: TileProgram
    hardware: Hardware
