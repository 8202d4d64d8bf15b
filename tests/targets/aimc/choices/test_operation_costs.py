"""Costs by operation are those of the whole program, to the last bit, and the search finds what it found with those."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmc.errors import ModelError
from ssmc.hardware.model import Hardware
from ssmc.hardware.settings import changed
from ssmc.targets.aimc.choices.candidates import Placed
from ssmc.targets.aimc.choices.figures import OBJECTIVES, Figures, Objective, weigh
from ssmc.targets.aimc.choices.operation_costs import OperationCosts
from ssmc.targets.aimc.choices.place_and_pack import CANDIDATES, SINGLE, decide_packing
from ssmc.targets.aimc.cost.totals import cost
from ssmc.targets.aimc.lowering.mapping import make_banks
from ssmc.targets.aimc.lowering.packing import Packing
from ssmc.targets.aimc.lowering.partial_sums import lower
from ssmc.targets.aimc.tiles.assemble import assemble
from tests.compiling import demo_program
from tests.targets.aimc.conftest import build, random_hardware
from tests.targets.aimc.mappings import mappings

RAMPED = ("adc.ramp=activation", "adc.ramp_energy_pj=50", "adc.ramp_area_um2=1000")
RAMP = ("ramp", "ramp_energy_pj", "ramp_area_um2")


def costed(placed: Placed, packings: Mapping[str, Packing]) -> Figures:
    """Of the whole program."""
    return weigh(cost(assemble(placed.lowered, placed.hardware, packings), placed.hardware))


@settings(max_examples=25, deadline=None)
@given(mappings(), st.booleans())
def test_in_any_packing_they_are_those_of_the_program(taox64: Hardware, mapping: Any, ramped: bool) -> None:
    program, hw = build(mapping.shape), mapping.hardware
    ramp = changed(taox64, RAMPED).hardware.adc
    adc = replace(hw.adc, **{key: getattr(ramp, key) for key in RAMP}) if ramped else hw.adc
    hw = replace(hw, array=replace(hw.array, count=0), adc=adc)
    names = [op.name for op in program.ops if op.matrices()]
    places = {name: mapping.places[k % len(mapping.places)] for k, name in enumerate(names)}
    try:
        placed = Placed(lower(program, hw, places), hw)  # type: ignore[arg-type]
    except ModelError:
        return
    costs, plans = OperationCosts(placed.anywhere, hw), placed.lowered.plans
    for first in range(len(mapping.packings)):
        turned = mapping.packings[first:] + mapping.packings[:first]
        packings = {name: turned[k % len(turned)] for k, name in enumerate(plans)}
        assert costs.figures(make_banks(plans, hw, packings)) == costed(placed, packings)


@pytest.mark.parametrize("options", [(), RAMPED], ids=["as it is", "ramps"])
def test_one_matrix_packed_otherwise_costs_its_operation_again(taox64: Hardware, options: tuple[str, ...]) -> None:
    """Its banks are made without those of others: arrays are numbered from 0."""
    hw = changed(taox64, options).hardware
    placed = Placed(lower(demo_program(), hw), hw)
    costs, plans = OperationCosts(placed.anywhere, hw), placed.lowered.plans
    shares = costs.shares(make_banks(plans, hw))
    for name, plan in plans.items():
        own = {other: each for other, each in plans.items() if each.op == plan.op}
        for candidate in SINGLE[1:3]:
            share = costs.share(plan.op, make_banks(own, hw, {name: candidate}))
            assert costs.apart(shares | {plan.op: share}) == costed(placed, {name: candidate})


def searched(placed: Placed, objective: Objective, longest_ns: float) -> dict[str, Packing]:
    """The packing that costs of whole programs lead to; none where no candidate fits."""

    def rank(packings: Mapping[str, Packing]) -> tuple[bool, float]:
        try:
            found = costed(placed, packings)
        except ModelError:
            return True, float("inf")
        slow = found.interval_ns > longest_ns
        return slow, found.interval_ns if slow else found.of(objective)

    best = min((dict.fromkeys(placed.lowered.plans, candidate) for candidate in CANDIDATES), key=rank)
    for name in best if rank(best)[1] < float("inf") else ():
        for candidate in SINGLE:
            best = min(best, best | {name: candidate}, key=rank)
    return best


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_the_search_chooses_what_costs_of_the_program_choose(shapes: Any, data: st.DataObject) -> None:
    """With arrays enough, and with too few for most packings."""
    hw = data.draw(random_hardware())
    hw = replace(hw, array=replace(hw.array, count=data.draw(st.sampled_from([0, 2, 4, 8, 16]))))
    objective, rate = data.draw(st.sampled_from(OBJECTIVES)), data.draw(st.sampled_from([0.0, 1e5, 1e6]))
    try:
        placed = Placed(lower(build(data.draw(shapes)), hw), hw)
        packed = decide_packing(placed, objective, rate)
    except ModelError:
        return
    assert packed.packings == searched(placed, objective, 1e9 / rate if rate else float("inf"))
    tiles = assemble(placed.lowered, hw, packed.packings)
    assert {b.name: b.tiles for b in packed.tiles.banks.values()} == {b.name: b.tiles for b in tiles.banks.values()}
    choice = packed.choices[0]
    assert choice.alternatives[choice.chosen] == costed(placed, packed.packings)
