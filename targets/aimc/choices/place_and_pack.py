"""Where matrices run and how blocks share arrays: a small search that minimises a stated cost.

The cost is that of the assembled program (`ssmc.targets.aimc.cost.totals`): energy of a step, area, initiation
interval, or their product. Placement first, operation by operation, whichever makes the cost smaller: a kernel has five
placements (`ssmc.targets.aimc.lowering.kernel_places`), another matrix two.
Then the packing: the cheapest candidate for all matrices that keeps up with the sample rate, then matrix by matrix.
Cost knows no noise and blocks on a diagonal disturb each other, so `diagonal` is used only where it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from ssmc.errors import ModelError
from ssmc.hardware.model import Hardware
from ssmc.targets.aimc.choices.candidates import Candidates, Placed
from ssmc.targets.aimc.choices.figures import Figures, Objective, weigh
from ssmc.targets.aimc.choices.noise_budget import Judge, NoiseBudget
from ssmc.targets.aimc.choices.operation_costs import OperationCosts, Share
from ssmc.targets.aimc.lowering.kernel_places import Place, places_of, settled
from ssmc.targets.aimc.lowering.mapping import Packings, make_banks
from ssmc.targets.aimc.lowering.packing import ONE, Mode, Packing
from ssmc.targets.aimc.tiles.instructions import TileProgram
from ssmc.targets.base import Json

LIMITS = (2, 4, 8, 16, 0)
CANDIDATES: tuple[Packing, ...] = (
    Packing(),
    *(Packing("multiplexed", limit) for limit in sorted({3, 5, 6, *LIMITS}, key=lambda most: most or 1 << 30)),
    *(Packing("shared", limit) for limit in LIMITS),
)
ALIKE = ONE, Packing("multiplexed"), Packing("shared")
SINGLE: tuple[Packing, ...] = (Packing(), *(Packing("multiplexed", limit) for limit in (2, 4, 8, 0)))


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
    judge = None if budget is None else Judge(budget)
    start: Place = "auto" if judge is None else "digital"
    decided = {op.name: settled(op, start if asked[op.name] == "auto" else asked[op.name]) for op in ops}
    choices = []
    for op in sorted(ops, key=lambda op: -sum(matrix.codes.size for matrix in op.matrices())):
        if asked[op.name] == "auto":
            options = {option: _weighed(candidates, {**decided, op.name: option}) for option in places_of(op)}
            if judge is not None:
                _refuse(options, candidates, decided, op.name, objective, judge)
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
    judge: Judge,
) -> None:
    """Put reasons for the figures of the options that pass the budget, until the cheapest does not.

    The digital one is what was decided so far, and stays.
    """
    while (best := _cheapest(options, objective)) != "digital":
        placed = candidates.placed({**decided, name: best})
        why = judge.refuses(placed, placed.first_that_fits(candidates.packings))
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


@dataclass
class _Packer:
    """Weighs packings of one lowered program."""

    placed: Placed
    objective: Objective
    longest_ns: float

    @cached_property
    def costs(self) -> OperationCosts:
        """What every packing is weighed with."""
        return OperationCosts(self.placed.anywhere, self.placed.hardware)

    def weigh(self, packings: Packings) -> Figures | str:
        """Figures, or why it does not fit."""
        try:
            return self.costs.figures(make_banks(self.placed.lowered.plans, self.placed.hardware, packings))
        except ModelError as cause:
            return str(cause)

    def rank(self, found: Figures | str) -> tuple[bool, float]:
        """Smaller is better: what keeps up before what does not, that by its interval; refused last."""
        if isinstance(found, str):
            return True, float("inf")
        slow = found.interval_ns > self.longest_ns
        return slow, found.interval_ns if slow else found.of(self.objective)

    def improve(self, packings: dict[str, Packing]) -> dict[str, Packing]:
        """Matrix by matrix, whichever of `SINGLE` is better with the others as they are."""
        best = self.rank(self.weigh(packings))
        apart = all(packing.mode != "shared" for packing in packings.values())
        shares = self.costs.shares(make_banks(self.placed.lowered.plans, self.roomy, packings)) if apart else {}
        for name, plan in self.placed.lowered.plans.items():
            for candidate in SINGLE if plan.kind != "digital" else ():
                trial = packings | {name: candidate}
                changed = {plan.op: self._share(plan.op, trial)} if apart else {}
                if apart and changed[plan.op] is shares[plan.op]:
                    continue
                rank = self.rank(self._apart(shares | changed) if apart else self.weigh(trial))
                if rank < best:
                    best, packings, shares = rank, trial, shares | changed
        return packings

    @cached_property
    def roomy(self) -> Hardware:
        """The hardware with as many arrays as it takes."""
        return replace(self.placed.hardware, array=replace(self.placed.hardware.array, count=0))

    def _share(self, op: str, packings: Packings) -> Share:
        """What one operation adds, packed without the others."""
        plans = {name: plan for name, plan in self.placed.lowered.plans.items() if plan.op == op}
        return self.costs.share(op, make_banks(plans, self.roomy, packings))

    def _apart(self, shares: Mapping[str, Share]) -> Figures | str:
        """Figures of operations that share no arrays, or that there are too few arrays."""
        most = self.placed.hardware.array.count
        too_many = most and sum(share.arrays for share in shares.values()) > most
        return "too few arrays" if too_many else self.costs.apart(shares)


def decide_packing(placed: Placed, objective: Objective = "product", steps_per_s: float = 0.0) -> Packed:
    """The best candidate for all matrices, then matrix by matrix: cheapest that makes ``steps_per_s``, else fastest.

    Raises:
        ModelError: SSMC-A03 where no candidate fits the chip.
    """
    packer = _Packer(placed, objective, 1e9 / steps_per_s if steps_per_s else float("inf"))
    packings = {str(candidate): dict.fromkeys(placed.lowered.plans, candidate) for candidate in CANDIDATES}
    options = {name: packer.weigh(packing) for name, packing in packings.items()}
    start = min(options, key=lambda name: packer.rank(options[name]))
    if isinstance(options[start], str):
        fact = f"needs more arrays than '{placed.hardware.name}' has"
        raise ModelError("SSMC-A03", fact, NO_PACKING, "(all matrices)")
    best = packer.improve(packings[start])
    tiles = placed.packed(best)
    if best == packings[start]:
        return Packed(best, tiles, (Choice("packing", start, options),))
    changed = ", ".join(f"{name} {packing}" for name, packing in best.items() if packing != packings[start][name])
    chosen = f"{start}; but {changed}"
    return Packed(best, tiles, (Choice("packing", chosen, {**options, chosen: packer.weigh(best)}),))
