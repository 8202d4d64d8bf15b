"""Refuse placements that lose more accuracy under the hardware's programming noise than they may."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ssmc.data import Samples
from ssmc.errors import UsageError
from ssmc.targets.aimc.choices.candidates import Placed
from ssmc.targets.aimc.simulation.monte_carlo import monte_carlo

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

    @cached_property
    def _known(self) -> dict[int, tuple[Placed, float]]:
        return {}

    def lost(self, placed: Placed) -> float:
        """Points that a placement loses; measured once.

        Raises:
            ModelError: SSMC-A03 where it does not fit the chip.
        """
        if id(placed) not in self._known:
            found = monte_carlo(placed, self.samples, chips=CHIPS, times_s=(0.0,))
            self._known[id(placed)] = placed, 100 * (found.ideal_accuracy.value - found.at[0].accuracy.value)
        return self._known[id(placed)][1]

    def refuses(self, placed: Placed) -> str:
        """Why a placement is refused; empty where it is not."""
        lost = self.lost(placed)
        if lost <= self.points:
            return ""
        return f"loses {lost:.1f} points under programming noise, the budget is {self.points:g}"
