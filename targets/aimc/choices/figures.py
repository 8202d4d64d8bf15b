"""What a search weighs, and in what measure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ssmc.targets.aimc.cost.totals import Cost
from ssmc.targets.base import Json

Objective = Literal["energy", "area", "interval", "product"]
OBJECTIVES: tuple[Objective, ...] = ("energy", "area", "interval", "product")


@dataclass(frozen=True)
class Figures:
    """What is weighed, nominal: energy of a step and of the end of a sequence, so that matrices there count too."""

    energy_pj: float
    area_um2: float
    interval_ns: float

    def of(self, objective: Objective) -> float:
        """The figure that the objective names; product: picojoule x square millimetre x microsecond."""
        return {
            "energy": self.energy_pj,
            "area": self.area_um2,
            "interval": self.interval_ns,
            "product": self.energy_pj * self.area_um2 * 1e-6 * self.interval_ns * 1e-3,
        }[objective]

    def to_json(self) -> Json:
        """Plain numbers, units in the keys."""
        return {"area_um2": self.area_um2, "energy_pj": self.energy_pj, "initiation_interval_ns": self.interval_ns}


def weigh(found: Cost) -> Figures:
    """The figures of a program."""
    energy = found.step_energy_pj + sum(line.nominal for line in found.finish)
    area = sum(area.nominal for area in found.areas)
    return Figures(energy, area, found.step_timing.initiation_interval_ns)
