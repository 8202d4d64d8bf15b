"""Where matrices run and how blocks share arrays: a small search that minimises a stated cost.

The cost is that of the assembled program (`ssmc.targets.aimc.cost.totals`): energy of a step, area, initiation
interval, or their product. Placement first, operation by operation, whichever makes the cost smaller: a kernel has five
placements (`ssmc.targets.aimc.lowering.kernel_places`), another matrix two.
Then the packing: the cheapest candidate for all matrices that keeps up with the sample rate, then matrix by matrix.
Cost knows no noise and blocks on a diagonal disturb each other, so `diagonal` is used only where it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from ssmc.errors import ModelError
from ssmc.targets.aimc.choices.candidates import Candidates, Placed
from ssmc.targets.aimc.choices.noise_budget import NoiseBudget
from ssmc.targets.aimc.cost.totals import Cost, cost
from ssmc.targets.aimc.lowering.kernel_places import Place, places_of, settled
from ssmc.targets.aimc.lowering.mapping import Packings, Tile, make_banks
from ssmc.targets.aimc.lowering.packing import ONE, Mode, Packing
from ssmc.targets.aimc.tiles.assemble import assemble
from ssmc.targets.aimc.tiles.instructions import TileProgram
from ssmc.targets.base import Json

Objective = Literal["energy", "area", "interval", "product"]
OBJECTIVES: tuple[Objective, ...] = ("energy", "area", "interval", "product")
LIMITS = (2, 4, 8, 16, 0)
CANDIDATES: tuple[Packing, ...] = (
    Packing(),
    *(Packing("multiplexed", limit) for limit in sorted({3, 5, 6, *LIMITS}, key=lambda most: most or 1 << 30)),
    *(Packing("shared", limit) for limit in LIMITS),
)
ALIKE = ONE, Packing("multiplexed"), Packing("shared")
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


def choice_from_json(data: Json) -> Choice:
    """The decision that `Choice.to_json` wrote."""
    weighed: dict[str, Figures | str] = {
        name: found
        if isinstance(found, str)
        else Figures(found["energy_pj"], found["area_um2"], found["initiation_interval_ns"])
        for name, found in data["alternatives"].items()
    }
    return Choice(data["what"], data["chosen"], weighed)


def weigh(found: Cost) -> Figures:
    """The figures of a program."""
    energy = found.step_energy_pj + sum(line.nominal for line in found.finish)
    area = sum(area.nominal for area in found.areas)
    return Figures(energy, area, found.step_timing.initiation_interval_ns)


def decide_places(
    candidates: Candidates,
    place: Place | Mapping[str, Place],
    objective: Objective = "energy",
    budget: NoiseBudget | None = None,
) -> tuple[dict[str, Place], tuple[Choice, ...]]:
    """Where every operation with a matrix runs; what is fixed stays, ``auto`` takes the cheapest, analog where equal.

    One descent over the operations, largest first: each is weighed with the others as decided so far. With a budget
    all begin in the digital unit, which no noise reaches, and each takes the cheapest placement with which the program
    stays within the budget.
    """
    ops = [op for op in candidates.program.ops if op.matrices()]
    asked = {op.name: place if isinstance(place, str) else place.get(op.name, "auto") for op in ops}
    start: Place = "auto" if budget is None else "digital"
    decided = {op.name: settled(op, start if asked[op.name] == "auto" else asked[op.name]) for op in ops}
    choices = []
    for op in sorted(ops, key=lambda op: -sum(matrix.codes.size for matrix in op.matrices())):
        if asked[op.name] == "auto":
            options = {option: _weighed(candidates, {**decided, op.name: option}) for option in places_of(op)}
            if budget is not None:
                _refuse(options, candidates, decided, op.name, objective, budget)
            decided[op.name] = _cheapest(options, objective)
            choices.append(Choice(op.name, decided[op.name], {str(option): found for option, found in options.items()}))
    order = list(asked)
    return decided, tuple(sorted(choices, key=lambda c: order.index(c.what)))


def _refuse(
    options: dict[Place, Figures | str],
    candidates: Candidates,
    decided: Mapping[str, Place],
    name: str,
    objective: Objective,
    budget: NoiseBudget,
) -> None:
    """Put reasons for the figures of the options that pass the budget, until the cheapest does not.

    The digital one is what was decided so far, and stays.
    """
    while (best := _cheapest(options, objective)) != "digital":
        placed = candidates.placed({**decided, name: best})
        why = budget.refuses(placed, placed.first_that_fits(candidates.packings))
        if not why:
            return
        options[best] = why


def packings_of(packing: Mode | Literal["auto"]) -> tuple[Packing, ...]:
    """With what a search weighs placements: the packing that is asked for, or the first of three that fits."""
    return ALIKE if packing == "auto" else (Packing(packing),)


def _weighed(candidates: Candidates, places: Mapping[str, Place]) -> Figures | str:
    """Figures with the first packing that fits, or why the first does not where none does."""
    try:
        placed = candidates.placed(places)
        return weigh(placed.cost_with(placed.first_that_fits(candidates.packings)))
    except ModelError as cause:
        return str(cause)


def _cheapest(options: Mapping[Place, Figures | str], objective: Objective) -> Place:
    """The first of those with the least figure; where none fits, digital: then what comes next may."""
    fitting = {place: found.of(objective) for place, found in options.items() if not isinstance(found, str)}
    return min(fitting, key=fitting.__getitem__, default="digital")


@dataclass(frozen=True)
class Packed:
    """The tile program of a packing, by `MatrixPlan.name`, and the packings that were weighed for it."""

    packings: Packings
    tiles: TileProgram
    choices: tuple[Choice, ...] = ()


def pack_arrays(
    placed: Placed, packing: Mode | Literal["auto"], objective: Objective = "energy", steps_per_s: float = 0.0
) -> Packed:
    """The same packing for all matrices, or with ``auto`` the one that `decide_packing` finds.

    Packing changes the energy hardly at all, so to it ``energy`` means ``product``.

    Raises:
        ModelError: SSMC-A03 where the chip has too few arrays.
    """
    if packing == "auto":
        return decide_packing(placed, "product" if objective == "energy" else objective, steps_per_s)
    try:
        return Packed(dict.fromkeys(placed.lowered.plans, Packing(packing)), placed.tiles_with(Packing(packing)))
    except ModelError as refused:
        raise ModelError(refused.code, refused.fact, _way_out(placed), refused.node) from None


def _way_out(placed: Placed) -> str:
    """What makes the program fit: a packing that was tried, else the digital unit, which needs no array."""
    try:
        packing = placed.first_that_fits(ALIKE[1:])
    except ModelError:
        return NO_PACKING
    return f"--packing {packing} fits, and so does auto; or take as many as needed: --set array.count=0"


NO_PACKING = "no packing fits: --place auto runs the rest digital; or take as many as needed: --set array.count=0"


Layout = Packing | tuple[tuple[Tile, ...], ...]


@dataclass
class _Packer:
    """Weighs packings of one lowered program, each once; keeps the tile program of the best so far."""

    placed: Placed
    objective: Objective
    longest_ns: float
    tiles: TileProgram | None = None
    best: Figures | None = None
    seen: dict[tuple[Layout, ...], Figures | str] = field(default_factory=dict)
    layouts: dict[tuple[str, Packing], Layout] = field(default_factory=dict)

    def weigh(self, packings: Packings) -> Figures | str:
        """Figures, or why it does not fit."""
        analog = [name for name, plan in self.placed.lowered.plans.items() if plan.kind != "digital"]
        key = tuple(self._layout(name, packings[name]) for name in analog)
        if key not in self.seen:
            self.seen[key] = self._weigh(packings)
        return self.seen[key]

    def _layout(self, name: str, packing: Packing) -> Layout:
        """What is equal where two packings of a matrix put its blocks to the same places; alone, unless it shares."""
        if packing.mode == "shared":
            return packing
        if (name, packing) not in self.layouts:
            hw = self.placed.hardware
            roomy = replace(hw, array=replace(hw.array, count=0))
            banks = make_banks({name: self.placed.lowered.plans[name]}, roomy, {name: packing})
            self.layouts[name, packing] = tuple(bank.tiles for bank in banks)
        return self.layouts[name, packing]

    def _weigh(self, packings: Packings) -> Figures | str:
        lowered, hw = self.placed.lowered, self.placed.hardware
        try:
            alike = next(iter(packings.values()), ONE)
            same = all(packing == alike for packing in packings.values())
            found = self.placed.cost_with(alike) if same else cost(assemble(lowered, hw, packings), hw)
        except ModelError as cause:
            return str(cause)
        figures = weigh(found)
        if self.best is None or self.rank(figures) < self.rank(self.best):
            self.best, self.tiles = figures, found.tiles
        return figures

    def rank(self, found: Figures | str) -> tuple[bool, float]:
        """Smaller is better: what keeps up before what does not, that by its interval; refused last."""
        if isinstance(found, str):
            return True, float("inf")
        slow = found.interval_ns > self.longest_ns
        return slow, found.interval_ns if slow else found.of(self.objective)

    def improve(self, packings: dict[str, Packing]) -> dict[str, Packing]:
        """Matrix by matrix, whichever of `SINGLE` is better with the others as they are."""
        for name in packings:
            for candidate in SINGLE:
                trial = packings | {name: candidate}
                if self.rank(self.weigh(trial)) < self.rank(self.weigh(packings)):
                    packings = trial
        return packings


def decide_packing(placed: Placed, objective: Objective = "product", steps_per_s: float = 0.0) -> Packed:
    """The best candidate for all matrices, then matrix by matrix: cheapest that makes ``steps_per_s``, else fastest.

    Raises:
        ModelError: SSMC-A03 where no candidate fits the chip.
    """
    packer = _Packer(placed, objective, 1e9 / steps_per_s if steps_per_s else float("inf"))
    packings = {str(candidate): dict.fromkeys(placed.lowered.plans, candidate) for candidate in CANDIDATES}
    options = {name: packer.weigh(packing) for name, packing in packings.items()}
    start = min(options, key=lambda name: packer.rank(options[name]))
    if packer.tiles is None:
        fact = f"needs more arrays than '{placed.hardware.name}' has"
        raise ModelError("SSMC-A03", fact, NO_PACKING, "(all matrices)")
    best = packer.improve(packings[start])
    if best == packings[start]:
        return Packed(best, packer.tiles, (Choice("packing", start, options),))
    changed = ", ".join(f"{name} {packing}" for name, packing in best.items() if packing != packings[start][name])
    chosen = f"{start}; but {changed}"
    return Packed(best, packer.tiles, (Choice("packing", chosen, {**options, chosen: packer.weigh(best)}),))
