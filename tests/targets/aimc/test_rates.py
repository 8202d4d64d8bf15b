"""Lower rates on the crossbar: the tile program, its simulations, and costs that count every rate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ssmc.hardware.file import load_hardware
from ssmc.ir.executor import Executor
from ssmc.ir.rates import period, seen_at_end
from ssmc.targets.aimc.simulation.chip import Chip
from ssmc.targets.aimc.simulation.simulate import run_blocks, simulation_of
from ssmc.targets.aimc.simulation.tile_executor import TileExecutor
from ssmc.targets.aimc.target import AimcTarget
from ssmc.targets.aimc.tiles.serialize import tiles_from_json, tiles_to_json
from tests.targets.c99.programs import random_codes, random_program

SEEDS = (3, 9, 15, 17, 18, 26)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_simulation_gives_the_codes_of_the_lowered_program(seed: int) -> None:
    program = random_program(seed, rates=True)
    compiled = AimcTarget("isaac128").emit(program)
    hardware = load_hardware("isaac128")
    chip = Chip(compiled.tiles, hardware)
    x = np.asarray(program.ops[0].quant.dequantize(random_codes(program, seed, 5, 23)))
    lengths = np.array([23, 1, 12, 22, 0])
    want = Executor(compiled.program).run(x, lengths)
    tiles, arrays = tiles_to_json(compiled.tiles)
    for literal in (False, True):
        executor = TileExecutor(compiled.program, tiles_from_json(tiles, arrays), chip, literal)
        assert np.array_equal(executor.run(x, lengths), want, equal_nan=True)
    fast = simulation_of(compiled.tiles, chip)
    if fast is not None:
        assert np.array_equal(run_blocks(fast, x, lengths, np.arange(5)), want, equal_nan=True)


@pytest.mark.parametrize("seed", [9, 15])
def test_finish_leaves_the_state_of_a_tile_program_as_it_is(seed: int) -> None:
    program = random_program(seed, rates=True)
    executor = AimcTarget("isaac128").emit(program).executor()
    x = np.asarray(program.ops[0].quant.dequantize(random_codes(program, seed, 2, 19)))
    state, other = executor.init(2), executor.init(2)
    for t in range(19):
        executor.finish_codes(state)
        a, b = executor.step_codes(state, x[:, t]), executor.step_codes(other, x[:, t])
        assert a.keys() == b.keys()
        assert all(np.array_equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("seed", [9, 17])
def test_costs_per_step_are_weighted_by_rate_and_a_sequence_counts_every_step(seed: int) -> None:
    compiled = AimcTarget("isaac128").emit(random_program(seed, rates=True))
    found, clocks, steps = compiled.costs, compiled.tiles.clocks, 50
    cost = found.to_json(steps)
    conversions, energy = cost["adc_conversions"], {span: e["nominal"] for span, e in cost["energy_pj"].items()}
    for figure, field, kind in ((conversions, "count", "adc"), (energy, "nominal", "")):
        lines, once = ([x for x in part if kind in ("", x.component)] for part in (found.per_step, found.finish))
        each = [(getattr(line, field), clocks.get(line.op, ())) for line in lines]
        assert figure["per_step"] == pytest.approx(sum(value / period(clock) for value, clock in each))
        whole = sum(value * int(seen_at_end(clock, np.array(steps))) for value, clock in each)
        assert figure["per_sequence"] == pytest.approx(whole + sum(getattr(line, field) for line in once))
    assert cost["worst_step_energy_pj"]["nominal"] > energy["per_step"]
    assert "worst_step_energy_pj" not in replace(found, tiles=replace(found.tiles, clocks={})).to_json(steps)
