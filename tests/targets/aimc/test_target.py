"""The target as the rest of ssmc sees it: emit, run, cost, write, read back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmc.errors import ModelError, UsageError
from ssmc.hardware.model import Hardware
from ssmc.ir.executor import Executor
from ssmc.ir.program import Program
from ssmc.report.units import flatten
from ssmc.targets.aimc.lowering.kernel_places import PLACES
from ssmc.targets.aimc.lowering.partial_sums import lower
from ssmc.targets.aimc.target import AimcCompiled, AimcTarget
from ssmc.targets.aimc.tiles.assemble import assemble
from ssmc.targets.aimc.tiles.cells import cell_levels
from ssmc.targets.aimc.tiles.instructions import INSTRUCTIONS, Instruction
from ssmc.targets.aimc.tiles.layout import shades
from ssmc.targets.aimc.tiles.serialize import tiles_from_json, tiles_to_json
from tests.compiling import demo_program
from tests.compiling import program_of as integer_program
from tests.graph_writer import Graph, Grid, signed, unsigned
from tests.targets.aimc.test_rates import SEEDS
from tests.targets.c99.programs import random_program

Programs = Callable[..., Program]


def written(compiled: AimcCompiled) -> tuple[str, dict[str, bytes]]:
    data, arrays = compiled.files()
    return json.dumps(data, sort_keys=True), {name: array.tobytes() for name, array in arrays.items()}


@pytest.mark.parametrize("preset", ["taox64", "isaac128"])
def test_reading_back_gives_the_same_chip(preset: str, program_of: Programs) -> None:
    compiled = AimcTarget(preset).emit(program_of(form="delta"))
    data, arrays = compiled.files()
    loaded = AimcTarget.load(json.loads(json.dumps(data, sort_keys=True)), arrays)
    x = np.random.default_rng(0).normal(0, 10, (4, 6, 3))
    assert (loaded.executor().run(x) == compiled.executor().run(x)).all()
    assert (loaded.executor(noise=True, seed=3).run(x) == compiled.executor(noise=True, seed=3).run(x)).all()
    assert loaded.cost(6) == compiled.cost(6)
    assert loaded.hardware == compiled.hardware
    assert list(loaded.tiles.banks) == list(compiled.tiles.banks)
    assert written(loaded) == written(compiled)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_tile_programs_survive_the_round_trip(
    shapes: Any, hardwares: Any, program_of: Programs, data: st.DataObject
) -> None:
    hw = data.draw(hardwares)
    try:
        tiles = assemble(lower(program_of(data.draw(shapes)), hw), hw)
    except ModelError:
        return
    json_a, arrays_a = tiles_to_json(tiles)
    json_b, arrays_b = tiles_to_json(tiles_from_json(json.loads(json.dumps(json_a)), arrays_a))
    assert json_a == json_b
    assert {k: v.tobytes() for k, v in arrays_a.items()} == {k: v.tobytes() for k, v in arrays_b.items()}
    assert all(key.startswith("tiles/") for key in arrays_a)


def test_damaged_tile_programs_are_refused(taox64: Hardware, program_of: Programs) -> None:
    data, arrays = tiles_to_json(assemble(lower(program_of(), taox64), taox64))
    with pytest.raises(UsageError, match="SSMC-B03"):
        tiles_from_json({**data, "schema": "ssmc.tiles/99"}, arrays)
    with pytest.raises(UsageError, match="SSMC-B04"):
        tiles_from_json(data, {})
    with pytest.raises(UsageError, match="SSMC-B04"):
        tiles_from_json({**data, "per_step": [{"do": "Dance"}]}, arrays)


def test_every_instruction_is_used_by_some_program(taox64: Hardware, isaac128: Hardware, program_of: Programs) -> None:
    programs = [program_of(joined=True), program_of(pool="last", norm=True)]
    programs.append(program_of(unfused=True, output_after=True))
    programs.append(program_of(pool="none"))
    where = [(taox64, "analog"), (isaac128, "analog"), (taox64, "digital")]
    each = [(program, hw, place) for program in programs for hw, place in where]
    each += [(random_program(seed, rates=True), isaac128, "analog") for seed in SEEDS]
    found: set[type[Instruction]] = set()
    for program, hw, place in each:
        tiles = assemble(lower(program, hw, place), hw)  # type: ignore[arg-type]
        found |= {type(i) for i in (*tiles.setup, *tiles.per_step, *tiles.per_sequence)}
    assert found == set(INSTRUCTIONS)


def test_the_instruction_set_is_documented() -> None:
    text = (Path(__file__).parents[3] / "docs" / "tile-program.md").read_text()
    assert [kind.__name__ for kind in INSTRUCTIONS if f"| `{kind.__name__}` |" not in text] == []


def test_cost_is_key_sorted_and_holds_the_comparison(program_of: Programs) -> None:
    found = AimcTarget("taox64").emit(program_of(form="delta")).cost(10)
    assert json.dumps(found, sort_keys=True) == json.dumps(found)
    assert set(found["comparison"]) == set(PLACES) - {"auto"}
    fused = dict(flatten(found["comparison"]["analog"]["energy_pj"]))
    assert fused == pytest.approx(dict(flatten(found["energy_pj"])))
    assert found["matrices"][1] == {"conversion": "single", "conversions_per_output": 1, "matrix": "ssm", "why": ""}
    json.dumps(found, allow_nan=False)


def test_the_compiled_program_is_the_lowered_one(program_of: Programs) -> None:
    program = program_of()
    compiled = AimcTarget("isaac128").emit(program)
    x = np.random.default_rng(0).normal(0, 10, (3, 5, 3))
    assert any(matrix.parts for _, matrix in compiled.program.matrices())
    assert (compiled.executor().run(x) == Executor(compiled.program).run(x)).all()
    assert compiled.lowered.exact
    assert (compiled.executor().run(x) == Executor(program).run(x)).all()


def test_everything_digital_needs_no_array(program_of: Programs) -> None:
    compiled = AimcTarget("taox64", place="digital").emit(program_of())
    assert compiled.tiles.arrays == 0
    assert compiled.cost(3)["utilisation"] == 0


def test_an_unknown_option_is_an_error(program_of: Programs) -> None:
    with pytest.raises(TypeError, match="noize"):
        AimcTarget("taox64").emit(program_of()).executor(noize=True)  # type: ignore[call-arg]


def test_a_layout_says_what_was_written(taox64: Hardware, program_of: Programs) -> None:
    """Cells that are not at code 0, one digit each where the array is no finer than the grid; states first."""
    compiled = AimcTarget(taox64).emit(program_of(form="delta", channels=2, n=3))
    data = compiled.cost(1)
    layout = next(found for found in data["mapping"] if found["blocks"][0]["matrix"] == "ssm")
    assert (layout["blocks"][0]["state_rows"], layout["blocks"][0]["state_columns"]) == (3, 6)
    apart = AimcTarget(taox64, place="digital-poles").emit(program_of(form="delta", channels=2, n=3)).cost(1)["mapping"]
    ends = {b["matrix"]: (b["state_rows"], b["state_columns"]) for found in apart for b in found["blocks"]}
    assert (ends["ssm.input"], ends["ssm.output"]) == ((0, 6), (3, 0))
    levels = cell_levels(compiled.tiles.banks.values(), taox64)[layout["first"]]
    assert layout["written"] == ["".join("9" if level else "0" for level in row) for row in levels.tolist()]
    assert shades(np.eye(128, dtype=bool))[:2] == ["5" + 63 * "0", "05" + 62 * "0"]


def test_the_stages_of_the_limit_add_up_to_the_interval(taox64: Hardware, program_of: Programs) -> None:
    data = AimcTarget(taox64).emit(program_of(form="delta", channels=2, n=3)).cost(1)
    assert sum(stage["ns"] for stage in data["limit"]["stages"]) == pytest.approx(
        data["initiation_interval_ns"]["nominal"]
    )
    assert data["limit"]["limited_by"] == data["limited_by"]


def test_too_few_arrays_name_what_fits() -> None:
    program = demo_program()
    with pytest.raises(ModelError, match=r"SSMC-A03.*64; --packing multiplexed fits.*--set array.count=0"):
        AimcTarget("hermes64", packing="one").emit(program)
    with pytest.raises(ModelError, match=r"SSMC-A03.*'hermes' has 1; no packing fits: --place auto.*array.count=0"):
        AimcTarget("hermes", packing="one").emit(program)
    with pytest.raises(ModelError, match=r"SSMC-A03.*than 'hermes' has; no packing fits: --place auto"):
        AimcTarget("hermes").emit(program)


@pytest.mark.parametrize(
    "remedy", [{"packing": "multiplexed"}, {"packing": "auto"}, {"place": "auto"}, {"set": ("array.count=0",)}]
)
def test_the_remedies_for_too_few_arrays(remedy: dict[str, Any]) -> None:
    program = demo_program()
    assert AimcTarget("hermes64", **({"packing": "one"} | remedy)).emit(program).tiles.per_step
    if "packing" not in remedy:
        assert AimcTarget("hermes", **remedy).emit(program).tiles.per_step


def fed(u: Grid) -> Program:
    """A kernel whose state is signed and whose input has these codes."""
    g = Graph("qdq")
    rows = g.quant("x", u, "u")

    def step(b: Graph, states: list[str], ut: str) -> tuple[list[str], list[str]]:
        new = b.op("Add", b.op("Mul", states[0], b.const(0.5)), ut)
        return [b.quant(new, signed(8, 0.25), "s.q")], [states[0]]

    (y,) = g.loop(rows, [(2,)], step)
    return integer_program(g.finish(2, g.quant(y, signed(8, 0.5), "out"), ("batch", "time", 2)))


def test_unsigned_codes_beside_a_signed_state() -> None:
    """Unsigned 8-bit codes on the rows beside a state that is signed: 9 bits for one driver."""
    apart = fed(unsigned(8, 2.0**-5))
    with pytest.raises(ModelError, match=r"SSMC-A02.*quantize signed all that it reads.*--place auto"):
        AimcTarget("taox64").emit(apart)
    AimcTarget("taox64").emit(fed(signed(8, 2.0**-5)))
    AimcTarget("isaac128").emit(apart)
    AimcTarget("taox64", place="auto").emit(apart)
