"""Where matrices run and how blocks share arrays: a small search that minimises a stated cost.

The cost is that of the assembled program (`ssmc.targets.aimc.cost.totals`): energy of a step, area, initiation
interval, or their product. Placement first: matrix by matrix, digital or analog, whichever makes the cost smaller.
Then the packing: the cheapest candidate for all matrices that keeps up with the sample rate, then matrix by matrix.
Cost knows no noise and blocks on a diagonal disturb each other, so `diagonal` is used only where it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ssmc.errors import ModelError
from ssmc.hardware.model import Hardware
from ssmc.ir.program import Program
from ssmc.targets.aimc.cost.totals import Cost, cost
from ssmc.targets.aimc.lowering.mapping import Packings
from ssmc.targets.aimc.lowering.packing import Packing
from ssmc.targets.aimc.lowering.partial_sums import Lowered, Place, lower, matrices
from ssmc.targets.aimc.tiles.assemble import assemble
from ssmc.targets.base import Json

Objective = Literal["energy", "area", "interval", "product"]
OBJECTIVES: tuple[Objective, ...] = ("energy", "area", "interval", "product")
LIMITS = (2, 4, 8, 16, 0)
CANDIDATES: tuple[Packing, ...] = (
    Packing(),
    *(Packing("multiplexed", limit) for limit in LIMITS),
    *(Packing("shared", limit) for limit in LIMITS),
)
SINGLE: tuple[Packing, ...] = (Packing(), *(Packing("multiplexed", limit) for limit in (2, 4, 8, 0)))


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


@dataclass(frozen=True)
class Choice:
    """One decision with the alternatives that were weighed, by name, each its figures or why it was refused."""

    what: str
    chosen: str
    alternatives: dict[str, Figures | str]

    def to_json(self) -> Json:
        """Plain data for the report."""
        shown = {k: v if isinstance(v, str) else v.to_json() for k, v in self.alternatives.items()}
        return {"alternatives": shown, "chosen": self.chosen, "what": self.what}


def weigh(found: Cost) -> Figures:
    """The figures of a program."""
    energy = sum(line.nominal for line in (*found.per_step, *found.finish))
    area = sum(area.nominal for area in found.areas)
    return Figures(energy, area, found.step_timing.initiation_interval_ns)


def decide_places(
    program: Program, hw: Hardware, place: Place | Mapping[str, Place], objective: Objective = "energy"
) -> tuple[dict[str, Place], tuple[Choice, ...]]:
    """Analog or digital for every matrix; what is fixed stays, ``auto`` takes the cheaper one, analog where equal.

    One descent over the matrices, largest first: each is weighed with the others as decided so far.
    """
    names = [(name, matrix.codes.size) for op in program.ops for name, matrix, _ in matrices(op)]
    asked = {name: place if isinstance(place, str) else place.get(name, "auto") for name, _ in names}
    decided: dict[str, Place] = {name: "analog" if asked[name] == "auto" else asked[name] for name, _ in names}
    choices = []
    for name, _ in sorted(names, key=lambda item: -item[1]):
        if asked[name] == "auto":
            options: dict[str, Figures | str] = {}
            for option in ("analog", "digital"):
                options[option] = _weighed(program, hw, {**decided, name: option})
            decided[name] = _cheaper(options, objective)
            choices.append(Choice(name, decided[name], options))
    order = [name for name, _ in names]
    return decided, tuple(sorted(choices, key=lambda c: order.index(c.what)))


def _weighed(program: Program, hw: Hardware, places: Mapping[str, Place]) -> Figures | str:
    try:
        return weigh(cost(assemble(lower(program, hw, places), hw), hw))
    except ModelError as cause:
        return str(cause)


def _cheaper(options: Mapping[str, Figures | str], objective: Objective) -> Place:
    analog, digital = options["analog"], options["digital"]
    if isinstance(analog, str):
        return "digital"
    if isinstance(digital, str):
        return "analog"
    return "digital" if digital.of(objective) < analog.of(objective) else "analog"


@dataclass(frozen=True)
class _Packer:
    """Weighs packings of one lowered program."""

    lowered: Lowered
    hw: Hardware
    objective: Objective
    longest_ns: float

    def weigh(self, packings: Packings) -> Figures | str:
        """Figures, or why it does not fit."""
        try:
            return weigh(cost(assemble(self.lowered, self.hw, packings), self.hw))
        except ModelError as cause:
            return str(cause)

    def rank(self, found: Figures | str) -> tuple[bool, float]:
        """Smaller is better: what keeps up before what does not, that by its interval; refused last."""
        if isinstance(found, str):
            return True, float("inf")
        slow = found.interval_ns > self.longest_ns
        return slow, found.interval_ns if slow else found.of(self.objective)

    def improve(self, packings: dict[str, Packing], best: Figures | str) -> tuple[dict[str, Packing], Figures | str]:
        """Matrix by matrix, whichever of `SINGLE` is better with the others as they are."""
        for name in packings:
            for candidate in SINGLE:
                trial = packings | {name: candidate}
                found = self.weigh(trial)
                if self.rank(found) < self.rank(best):
                    packings, best = trial, found
        return packings, best


def decide_packing(
    lowered: Lowered, hw: Hardware, objective: Objective = "product", steps_per_s: float = 0.0
) -> tuple[Packings, Choice]:
    """The best candidate for all matrices, then matrix by matrix: cheapest that makes ``steps_per_s``, else fastest.

    Raises:
        ModelError: SSMC-A03 where no candidate fits the chip.
    """
    packer = _Packer(lowered, hw, objective, 1e9 / steps_per_s if steps_per_s else float("inf"))
    packings = {str(candidate): dict.fromkeys(lowered.plans, candidate) for candidate in CANDIDATES}
    options = {name: packer.weigh(packing) for name, packing in packings.items()}
    start = min(options, key=lambda name: packer.rank(options[name]))
    if isinstance(options[start], str):
        remedy = "place some matrices digital, or raise array.count"
        raise ModelError("SSMC-A03", f"no packing fits '{hw.name}'", remedy, "(all matrices)")
    best, found = packer.improve(packings[start], options[start])
    if best == packings[start]:
        return best, Choice("packing", start, options)
    changed = ", ".join(f"{name} {packing}" for name, packing in best.items() if packing != packings[start][name])
    chosen = f"{start}; but {changed}"
    return best, Choice("packing", chosen, {**options, chosen: found})
