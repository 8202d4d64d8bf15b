"""The search under a noise budget: it keeps within it, says what it refused, and without noise refuses nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from ssmc.data import Samples
from ssmc.errors import UsageError
from ssmc.hardware.components import Quantity
from ssmc.hardware.model import Hardware
from ssmc.ir.executor import Executor
from ssmc.ir.program import Program
from ssmc.targets.aimc.choices.candidates import Candidates
from ssmc.targets.aimc.choices.figures import Figures
from ssmc.targets.aimc.choices.noise_budget import NoiseBudget, OnChip
from ssmc.targets.aimc.choices.place_and_pack import decide_places
from ssmc.targets.aimc.simulation.monte_carlo import monte_carlo
from ssmc.targets.aimc.target import AimcTarget

Programs = Callable[..., Program]


def labelled(program: Program, n: int = 60, steps: int = 12) -> Samples:
    """Sequences with the classes that the exact program gives them."""
    x = np.random.default_rng(0).normal(0, 10, (n, steps, program.input_size))
    label = Executor(program).run(x).argmax(-1)
    return Samples(x.reshape(-1, program.input_size), np.arange(0, n * steps + 1, steps), label)


def with_noise(hw: Hardware, sigma: float) -> Hardware:
    """Written cells of this spread, everything else ideal."""
    sizes = {key: value for key, value in vars(hw.noise).items() if isinstance(value, Quantity)}
    none = {key: replace(value, value=0.0) for key, value in sizes.items()}
    written = replace(sizes["programming_sigma_relative"], value=sigma)
    return replace(hw, noise=replace(hw.noise, **{**none, "programming_sigma_relative": written}))


@pytest.mark.parametrize("points", [0.0, 3.0, 10.0])
def test_what_is_chosen_stays_within_the_budget(points: float, taox64: Hardware, program_of: Programs) -> None:
    program = program_of(form="delta", channels=4, n=6, features=4)
    budget = NoiseBudget(points, labelled(program))
    candidates = Candidates(program, with_noise(taox64, 0.3))
    places, choices = decide_places(candidates, "auto", "energy", budget)
    placed = candidates.placed(places)
    chip = OnChip(placed.lowered.program, placed.tiles, placed.hardware)
    found = monte_carlo(chip, budget.samples, chips=4, times_s=(0.0,))
    assert 100 * (found.ideal_accuracy.value - found.at[0].accuracy.value) <= points
    refused = [why for choice in choices for why in choice.alternatives.values() if isinstance(why, str)]
    assert refused
    assert all(f"the budget is {points:g}" in why for why in refused)
    for choice in choices:
        fitting = {name: f.energy_pj for name, f in choice.alternatives.items() if isinstance(f, Figures)}
        assert fitting[choice.chosen] == min(fitting.values())


def test_without_noise_nothing_is_refused(taox64: Hardware, program_of: Programs) -> None:
    program = program_of(form="delta", channels=4, n=6, features=4)
    candidates = Candidates(program, with_noise(taox64, 0.0))
    _, choices = decide_places(candidates, "auto", "energy", NoiseBudget(0.0, labelled(program)))
    assert all(isinstance(found, Figures) for choice in choices for found in choice.alternatives.values())
    assert {choice.chosen for choice in choices} != {"digital"}


def test_a_budget_serves_several_programs(taox64: Hardware, program_of: Programs) -> None:
    """What an ideal chip of one program reaches says nothing of the next one."""
    programs = [program_of(form="delta", channels=4, n=6, features=4, seed=seed) for seed in (0, 1)]
    data, hw = labelled(programs[0]), with_noise(taox64, 0.3)
    shared = NoiseBudget(3.0, data)
    for program in programs:
        alone, again = (
            decide_places(Candidates(program, hw), "auto", "energy", one) for one in (NoiseBudget(3.0, data), shared)
        )
        assert alone == again


def test_the_target_needs_all_three(program_of: Programs) -> None:
    program = program_of()
    data = labelled(program)
    for options in (
        {"noise_budget": 1.0, "place": "auto"},
        {"noise_data": data, "place": "auto"},
        {"noise_budget": 1.0, "noise_data": data},
    ):
        with pytest.raises(UsageError, match=r"SSMC-U15.*--noise-budget, --data and --place auto go together"):
            AimcTarget("taox64", **options).emit(program)  # type: ignore[arg-type]
    unlabelled = replace(data, label=None)
    with pytest.raises(UsageError, match=r"SSMC-U15.*no labels"):
        AimcTarget("taox64", place="auto", noise_budget=1.0, noise_data=unlabelled).emit(program)
    compiled = AimcTarget("taox64", place="auto", noise_budget=100.0, noise_data=data).emit(program)
    assert compiled.options.noise_budget == 100.0
