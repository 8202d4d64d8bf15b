"""The search: what it chooses is the cheapest of what it weighed, and it says what that was."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmc.errors import ModelError
from ssmc.hardware.model import Hardware
from ssmc.ir.matrix import Matrix
from ssmc.ir.operations import StateSpace
from ssmc.ir.program import Program
from ssmc.targets.aimc.choices.candidates import Candidates, Placed
from ssmc.targets.aimc.choices.figures import OBJECTIVES, Figures, weigh
from ssmc.targets.aimc.choices.place_and_pack import decide_packing, decide_places
from ssmc.targets.aimc.cost.totals import cost
from ssmc.targets.aimc.lowering.partial_sums import lower
from ssmc.targets.aimc.target import AimcTarget
from ssmc.targets.aimc.tiles.assemble import assemble

Programs = Callable[..., Program]


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_auto_is_never_dearer_than_all_analog_or_all_digital(
    shapes: Any, hardwares: Any, program_of: Programs, data: st.DataObject
) -> None:
    program, hw = program_of(data.draw(shapes)), data.draw(hardwares)
    objective = data.draw(st.sampled_from(OBJECTIVES))
    try:
        places, _ = decide_places(Candidates(program, hw), "auto", objective)
        found = {
            name: weigh(cost(assemble(lower(program, hw, place), hw), hw))
            for name, place in (("auto", places), ("analog", "analog"))
        }  # type: ignore[arg-type]
    except ModelError:
        return
    assert found["auto"].of(objective) <= found["analog"].of(objective) * (1 + 1e-12)


def test_a_diagonal_kernel_goes_digital_where_conversions_are_dear(taox64: Hardware, program_of: Programs) -> None:
    """17 conversions of 44 pJ against a few products of 4.8 pJ: the report shows both."""
    program = program_of(form="delta", channels=4, n=16)
    kernel = next(op for op in program.ops if isinstance(op, StateSpace))
    sparse = np.where(np.eye(17, dtype=bool)[None], kernel.matrix.codes, 0)
    ops = tuple(replace(op, matrix=Matrix(sparse)) if op is kernel else op for op in program.ops)  # type: ignore[call-arg]
    compiled = AimcTarget("taox64", place="auto").emit(replace(program, ops=ops))
    assert compiled.lowered.plans["ssm"].kind == "digital"
    decision = next(d for d in compiled.cost(1)["decisions"] if d["what"] == "ssm")
    assert decision["chosen"] == "digital"
    energies = {name: figures["energy_pj"] for name, figures in decision["alternatives"].items()}
    assert energies["digital"] < energies["analog"]
    dense = AimcTarget("taox64", place="auto").emit(program)
    assert dense.lowered.plans["ssm"].kind == "single"


def test_a_matrix_that_is_fixed_stays(taox64: Hardware, program_of: Programs) -> None:
    places, choices = decide_places(Candidates(program_of(), taox64), {"ssm": "digital", "encoder": "analog"})
    assert (places["ssm"], places["encoder"]) == ("digital", "analog")
    assert [c.what for c in choices] == ["decoder"]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_packing_chosen_is_the_cheapest_weighed(taox64: Hardware, program_of: Programs, objective: Any) -> None:
    placed = Placed(lower(program_of(form="delta", channels=6, n=4), taox64), taox64)
    packed = decide_packing(placed, objective)
    (choice,) = packed.choices
    figures = {name: f for name, f in choice.alternatives.items() if isinstance(f, Figures)}
    assert figures[choice.chosen].of(objective) == min(f.of(objective) for f in figures.values())
    assert weigh(cost(assemble(placed.lowered, taox64, packed.packings), taox64)) == figures[choice.chosen]
    assert weigh(cost(packed.tiles, taox64)) == figures[choice.chosen]


def test_a_sample_rate_forbids_packings_that_are_too_slow(taox64: Hardware, program_of: Programs) -> None:
    placed = Placed(lower(program_of(form="delta", channels=6, n=4), taox64), taox64)
    interval = {}
    for rate in (0.0, 4e5, 1e6):
        packed = decide_packing(placed, "area", rate)
        (choice,) = packed.choices
        interval[rate] = weigh(cost(packed.tiles, taox64)).interval_ns
        assert choice.chosen in choice.alternatives
    assert interval[0.0] > 2500
    assert interval[4e5] <= 2500
    assert interval[1e6] <= 1000


def test_a_chip_that_is_too_small_is_filled_or_refused(taox64: Hardware, program_of: Programs) -> None:
    program = program_of(form="delta", channels=16, n=4)
    few = replace(taox64, array=replace(taox64.array, count=4))
    compiled = AimcTarget(few, packing="auto").emit(program)
    assert compiled.tiles.arrays <= 4
    with pytest.raises(ModelError, match=r"SSMC-A03.*no packing fits"):
        AimcTarget(replace(taox64, array=replace(taox64.array, count=1, rows=8)), packing="auto").emit(program)


def test_options_survive_the_round_trip(program_of: Programs) -> None:
    compiled = AimcTarget("taox64", place="auto", packing="auto", minimise="area", rate=1e5).emit(program_of())
    data, arrays = compiled.files()
    loaded = AimcTarget.load(json.loads(json.dumps(data, sort_keys=True)), arrays)
    assert loaded.options == compiled.options
    assert loaded.cost(7) == compiled.cost(7)
    assert {"compiled", "analog"} <= set(compiled.cost(7)["comparison"])
