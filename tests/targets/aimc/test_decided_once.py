"""A compile decides and lowers once; its bundle holds what was decided, and loading only reads."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from inspect import isfunction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ssmc
from ssmc.conversion import converter_steps, cuts, one_conversion, ranges
from ssmc.data import Samples
from ssmc.errors import ModelError, UsageError
from ssmc.hardware.model import Hardware
from ssmc.importers.onnx_file import import_model
from ssmc.ir import program as ir
from ssmc.ir.read_program import read_program
from ssmc.ir.requant import make_requant
from ssmc.pipeline import run_pipeline
from ssmc.report.units import flatten
from ssmc.targets.aimc.choices import (
    candidates,
    graph_converters,
    insert_partial_sums,
    lowering_deviation,
    place_and_pack,
    placement,
    variants,
)
from ssmc.targets.aimc.choices.candidates import Candidates, Placed
from ssmc.targets.aimc.choices.insert_partial_sums import InsertPartialSums
from ssmc.targets.aimc.choices.variants import at_steps, compare, figures_of
from ssmc.targets.aimc.lowering import (
    conversion_plan,
    kernel_places,
    mapping,
    packing,
    partial_conversions,
    partial_sums,
    recorded_inputs,
)
from ssmc.targets.aimc.lowering.kernel_places import PLACES, Place, places_of
from ssmc.targets.aimc.lowering.mapping import Packings
from ssmc.targets.aimc.lowering.partial_sums import Lowered, lower
from ssmc.targets.aimc.lowering.serialize import lowered_from_json, lowered_to_json
from ssmc.targets.aimc.simulation.monte_carlo import monte_carlo
from ssmc.targets.aimc.target import AimcCompiled, AimcTarget
from ssmc.targets.aimc.tiles import assemble
from tests.compiling import same
from tests.graphs import Spec
from tests.graphs import model as model_of
from tests.targets.aimc.endings import Ending, Zero

Programs = Callable[..., ir.Program]
SPEC = Spec(seed=3, features=2, channels=3, states=2, layers=2, form="delta")
AUTO = AimcTarget("taox64", place="auto", packing="auto")

BOTH = {"place": "auto", "packing": "auto"}

DECIDING = (
    conversion_plan, converter_steps, cuts, kernel_places, mapping, one_conversion, packing,
    partial_conversions, partial_sums, ranges, recorded_inputs, assemble,
    candidates, graph_converters, insert_partial_sums, lowering_deviation, place_and_pack, placement, variants,
)  # fmt: skip
#: public functions of these modules that read, or say where something lies
READING = {
    "at_steps", "choice_from_json", "converter_of", "figures_of", "matrices", "outputs_per_tile", "with_matrices",
}  # fmt: skip


def compiled(target: AimcTarget, spec: Spec = SPEC) -> ssmc.Bundle:
    return ssmc.compile(import_model(model_of(spec)), target, oracle=False, poles="keep")


def functions_of(module: ModuleType) -> dict[str, Any]:
    """The public functions that a module defines."""
    found = {name: value for name, value in vars(module).items() if isfunction(value) and name[0] != "_"}
    return {name: value for name, value in found.items() if value.__module__ == module.__name__}


def forbid(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Make every function that decides, lowers or proves raise, wherever it is imported; their names."""
    public = {name: value for module in DECIDING for name, value in functions_of(module).items()}
    assert public.keys() >= READING
    deciding = {value for name, value in public.items() if name not in READING} | {make_requant, read_program}
    for name, module in list(sys.modules.items()):
        for attribute, value in list(vars(module).items()) if name.startswith("ssmc") else ():
            if isfunction(value) and value in deciding:
                monkeypatch.setattr(module, attribute, never)
    for kind in (Candidates, Placed):
        monkeypatch.setattr(kind, "__init__", never)
    return {value.__name__ for value in deciding}


def never(*arguments: object, **options: object) -> None:
    raise AssertionError("a loaded bundle decides nothing")


@pytest.mark.parametrize("spec", [SPEC, replace(SPEC, after=True)], ids=["one operation", "two operations"])
@pytest.mark.parametrize("place", ["auto", "digital-poles"])
@pytest.mark.parametrize("preset", ["taox64", "isaac128"])
def test_loading_only_reads(
    preset: str, place: Any, spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = compiled(replace(AUTO, hardware=preset, place=place, rate=1e4), spec)
    x = np.random.default_rng(0).normal(0, 1, (4, 9, 2))
    samples = Samples(x.reshape(-1, 2), np.arange(0, 37, 9), np.arange(4) % 2)
    ideal, noisy, cost, files = bundle.run(x), bundle.run(x, noise=True, seed=3), bundle.cost(7), bundle.files()
    chips = monte_carlo(bundle, samples, chips=1, times_s=(0.0,)).to_json()
    bundle.save(tmp_path / "out")
    assert {"lower", "assemble", "analog_plan", "decide_places", "decide_packing", "make_banks", "pack"} <= forbid(
        monkeypatch
    )
    loaded = ssmc.load(tmp_path / "out")
    assert (loaded.run(x) == ideal).all()
    assert (loaded.run(x, noise=True, seed=3) == noisy).all()
    assert loaded.cost(7) == cost
    assert loaded.report.cost["decisions"] == cost["decisions"]
    assert monte_carlo(loaded, samples, chips=1, times_s=(0.0,)).to_json() == chips
    assert loaded.files() == files


def test_a_compile_needs_what_is_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    forbid(monkeypatch)
    with pytest.raises(AssertionError, match="decides nothing"):
        compiled(AUTO)


@dataclass
class Count:
    """What was lowered and assembled: placements by program, packings by lowered program."""

    lowered: list[tuple[int, frozenset[tuple[str, Place]]]]
    assembled: list[tuple[int, tuple[str, ...]]]
    alive: list[object]


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Count:
    counted = Count([], [], [])
    really_lower, really_assemble = partial_sums.lower, assemble.assemble

    def counting_lower(program: ir.Program, hw: Hardware, place: Mapping[str, Place], *known: Any) -> Lowered:
        counted.lowered.append((id(program), frozenset(place.items())))
        counted.alive.append(program)
        return really_lower(program, hw, place, *known)

    def counting_assemble(low: Lowered, hw: Hardware, packings: Packings | None = None) -> Any:
        names = [name for name, plan in low.plans.items() if plan.kind != "digital"]
        counted.assembled.append((id(low), tuple(str((packings or {}).get(name, packing.ONE)) for name in names)))
        counted.alive.append(low)
        return really_assemble(low, hw, packings)

    for name, module in list(sys.modules.items()):
        for attribute, value in list(vars(module).items()) if name.startswith("ssmc") else ():
            if value is really_lower:
                monkeypatch.setattr(module, attribute, counting_lower)
            if value is really_assemble:
                monkeypatch.setattr(module, attribute, counting_assemble)
    return counted


@pytest.mark.parametrize("arrays", [0, 3])
@pytest.mark.parametrize("options", [{"place": "digital"}, {"place": "auto"}, {"packing": "auto"}, BOTH])
def test_no_candidate_is_lowered_or_assembled_twice(
    options: Any, arrays: int, taox64: Hardware, count: Count, tmp_path: Path
) -> None:
    """Placements are those weighed, and the variants of the report."""
    hw = replace(taox64, array=replace(taox64.array, count=arrays))
    bundle = compiled(AimcTarget(hw, **options))
    bundle.save(tmp_path / "out")
    assert len(count.lowered) == len(set(count.lowered))
    assert len(count.assembled) == len(set(count.assembled))
    ops = [op for op in bundle.compiled.source.ops if op.matrices()]
    weighed = sum(len(places_of(op)) - 1 for op in ops) if options.get("place") == "auto" else 0
    assert weighed + 1 <= len(count.lowered) <= weighed + len(PLACES) - 1


def test_everything_digital_has_one_packing(count: Count, program_of: Programs) -> None:
    (choice,) = AimcTarget("taox64", place="digital", packing="auto").emit(program_of()).choices
    assert len(count.assembled) == 1
    assert len({str(figures) for figures in choice.alternatives.values()}) == 1


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_lowered_program_survives_the_round_trip(
    shapes: Any, hardwares: Any, program_of: Programs, data: st.DataObject
) -> None:
    """And what it was lowered from can be told from it."""
    program, hw = program_of(data.draw(shapes)), data.draw(hardwares)
    try:
        lowered = lower(program, hw, {"encoder": "digital"})
    except ModelError:
        return
    written, arrays = lowered_to_json(lowered)
    again = lowered_from_json(json.loads(json.dumps(written, sort_keys=True)), arrays)
    assert same(again, lowered)
    assert same(again.source, program)
    assert list(again.plans) == list(lowered.plans)


def test_damaged_plans_are_refused(taox64: Hardware, program_of: Programs) -> None:
    written, arrays = lowered_to_json(lower(program_of(), taox64))
    for plans in ([{}], [{**written["plans"][0], "kind": "magic"}], [{**written["plans"][0], "name": "other"}]):
        with pytest.raises(UsageError, match="SSMC-B04"):
            lowered_from_json({**written, "plans": plans}, arrays)


def test_equal_arrays_are_stored_once(isaac128: Hardware, program_of: Programs) -> None:
    """Isaac drives bit by bit: its partial sums repeat the digits of every slice."""
    made = AimcTarget(isaac128).emit(program_of(form="delta"))
    _, arrays = made.files()
    contents = {(array.dtype.str, array.shape, array.tobytes()) for array in arrays.values()}
    parts = [part for _, matrix in made.program.matrices() for part in matrix.parts]
    assert len(contents) == len(arrays) < len(parts)


def test_a_bundle_of_another_version_says_how_to_compile_again(program_of: Programs) -> None:
    target = AimcTarget("taox64", place="auto", packing="shared", minimise="area", rate=10.0)
    data, arrays = target.emit(program_of()).files()
    old = {key: value for key, value in data.items() if key in ("hardware", "options", "program", "tiles")}
    command = "ssmc compile MODEL.onnx --target aimc --hardware taox64 --place auto --packing shared --minimise area"
    with pytest.raises(UsageError, match=f"SSMC-B03.*compile the model again: {command} --rate 10.0"):
        AimcTarget.load(old, arrays)
    old["hardware"] = {**old["hardware"], "name": "mine"}
    with pytest.raises(UsageError, match=r"SSMC-B03.* --hardware FILE\.toml"):
        AimcTarget.load(old, arrays)
    with pytest.raises(UsageError, match="SSMC-B03"):
        AimcTarget.load({"schema": "ssmc.aimc/99"}, arrays)


def test_figures_at_steps_are_those_of_the_cost(isaac128: Hardware, program_of: Programs) -> None:
    placed = (weighed := Candidates(program_of(form="delta"), isaac128)).placed({})
    for steps in (0, 1, 7, 1000):
        kept = dict(flatten(at_steps(compare(weighed), steps)["analog"]))
        assert kept == pytest.approx(dict(flatten(figures_of(placed.cost.to_json(steps), placed.lowered))))


@dataclass(frozen=True)
class Renamed(InsertPartialSums):
    """The same pass under another name."""

    name = "split-sums"


def test_what_is_handed_on_does_not_depend_on_names(count: Count, isaac128: Hardware) -> None:
    ends = [(kind(isaac128), Zero(remark=True)) for kind in (InsertPartialSums, Renamed)]
    bundles = [compiled(Ending(isaac128, end=end)) for end in ends]
    assert len(count.lowered) == 2 * len(PLACES[1:])
    one, other = (bundle.compiled.files()[0] for bundle in bundles)
    assert one == other


def test_a_pass_that_changes_what_was_lowered_is_refused(isaac128: Hardware) -> None:
    with pytest.raises(ModelError, match=r"SSMC-A05.*before insert-partial-sums"):
        compiled(Ending(isaac128, end=(InsertPartialSums(isaac128), Zero())))


def test_a_pipeline_without_partial_sums_is_lowered_by_the_emitter(isaac128: Hardware) -> None:
    whole = compiled(AimcTarget(isaac128))
    bare = compiled(Ending(isaac128))
    assert isinstance(bare.compiled, AimcCompiled)
    assert bare.compiled.files()[0] == whole.compiled.files()[0]


def test_a_program_is_lowered_once(isaac128: Hardware) -> None:
    result = run_pipeline(import_model(model_of(SPEC)), AimcTarget(isaac128).pipeline(), oracle=False)
    with pytest.raises(ModelError, match=r"SSMC-A04.*compile from the model"):
        AimcTarget(isaac128).emit(read_program(result.model))
