"""A random program on random hardware, mapped at random: what the chip computes must be the integer program's codes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from ssmc.errors import ModelError
from ssmc.hardware.model import Hardware
from ssmc.ir.executor import Executor, Trace
from ssmc.targets.aimc.lowering.kernel_places import PLACES
from ssmc.targets.aimc.lowering.packing import MODES, Packing
from ssmc.targets.aimc.lowering.partial_sums import Lowered, lower
from ssmc.targets.aimc.simulation.chip import Chip
from ssmc.targets.aimc.simulation.tile_executor import TileExecutor
from ssmc.targets.aimc.tiles.assemble import assemble
from tests.targets.aimc.conftest import Shape, build, random_hardware, random_shape

LENGTHS = np.array([5, 0, 3])


@dataclass(frozen=True)
class Mapping:
    """Shape, hardware, and for the matrices in order: packing and place, taken in turns."""

    shape: Shape
    hardware: Hardware
    packings: tuple[Packing, ...]
    places: tuple[str, ...]
    input_seed: int


@st.composite
def mappings(draw: st.DrawFn) -> Mapping:
    packing = st.builds(Packing, st.sampled_from(MODES), st.sampled_from([0, 0, 1, 2, 3]))
    place = st.sampled_from(PLACES)
    return Mapping(
        draw(random_shape()),
        draw(random_hardware()),
        tuple(draw(st.lists(packing, min_size=1, max_size=4))),
        tuple(draw(st.lists(place, min_size=1, max_size=4))),
        draw(st.integers(0, 999)),
    )


def check(mapping: Mapping) -> Counter[str]:
    """What the case contained; empty where the program does not fit the hardware.

    Raises:
        AssertionError: a code or a register of an ideal chip differs: literal, shortened, or compiled.
    """
    program, hw = build(mapping.shape), mapping.hardware
    names = [op.name for op in program.ops if op.matrices()]
    places = {name: mapping.places[k % len(mapping.places)] for k, name in enumerate(names)}
    try:
        lowered = lower(program, hw, places)  # type: ignore[arg-type]
        packings = {name: mapping.packings[k % len(mapping.packings)] for k, name in enumerate(lowered.plans)}
        tiles = assemble(lowered, hw, packings)
    except ModelError:
        return Counter()
    x = np.random.default_rng(mapping.input_seed).normal(0, 10, (3, 5, program.input_size))
    reference = Executor(lowered.program)
    expected = trace(reference, x)
    literal, exact = (TileExecutor(lowered.program, tiles, Chip(tiles, hw), flag) for flag in (True, False))
    for executor in (literal, exact):
        same(trace(executor, x), expected)
    outputs = reference.run(x, LENGTHS)
    assert np.array_equal(exact.run(x, LENGTHS), outputs, equal_nan=True)
    assert np.array_equal(literal.run(x, LENGTHS), outputs, equal_nan=True)
    if lowered.exact:
        assert np.array_equal(Executor(program).run(x, LENGTHS), outputs, equal_nan=True)
    return contents(mapping, lowered, packings, sum(code.size for code in expected.values()))


def trace(executor: Executor, x: np.ndarray) -> Trace:  # type: ignore[type-arg]
    """Every value of every step, every register after it, and what the end yields, by name and step."""
    state = executor.init(len(x))
    found: Trace = {}
    for t in range(x.shape[1]):
        codes = executor.step_codes(state, x[:, t], t < LENGTHS)
        found |= {f"{name} {t}": value for name, value in codes.items()}
        found |= {f"register {name} {t}": value.copy() for name, value in state.registers.items()}
    return found | executor.finish_codes(state)


def same(found: Trace, expected: Trace) -> None:
    assert found.keys() == expected.keys()
    for name, codes in expected.items():
        assert np.array_equal(found[name], codes), name


def contents(mapping: Mapping, lowered: Lowered, packings: dict[str, Packing], codes: int) -> Counter[str]:
    """What was covered, to be counted."""
    hw, plans = mapping.hardware, lowered.plans.values()
    analog = [plan for plan in plans if plan.kind != "digital"]
    found = Counter([f"{hw.cell.scheme} x {hw.cell.quadrants}", mapping.shape.form], codes=codes)
    found.update(plan.kind for plan in plans)
    found.update(packings[plan.name].mode for plan in analog)
    found.update(lowered.places.values())
    found["slices"] = any(len(plan.slice_gains) > 1 for plan in analog)
    found["row splits"] = any(len(plan.rows) > 1 for plan in analog)
    found["bit-serial"] = any(bool(plan.planes) for plan in analog)
    found["fused" if not mapping.shape.unfused else "unfused"] = 1
    return found
