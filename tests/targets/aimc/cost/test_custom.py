"""Components of a file's own are charged by their rules: what they count is counted by the figure of the same name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ssmc.hardware.custom import TAKEN
from ssmc.hardware.file import load_hardware, parse_hardware
from ssmc.hardware.model import Hardware
from ssmc.hardware.schema import file_text
from ssmc.ir.program import Program
from ssmc.targets.aimc.cost.explain import explain
from ssmc.targets.aimc.cost.totals import Cost, cost
from ssmc.targets.aimc.lowering.kernel_places import Place
from ssmc.targets.aimc.lowering.partial_sums import lower
from ssmc.targets.aimc.tiles import instructions as isa
from ssmc.targets.aimc.tiles.assemble import assemble

STEPS = 7
COUNTS = {"drive": "dac_drives", "cell": "cell_reads", "conversion": "adc_conversions", "mac": "digital_macs"}


def chip(preset: str, own: str) -> Hardware:
    return parse_hardware(f'{file_text(load_hardware(preset))}\n[[component]]\nname = "own"\n{own}\n')


def cost_of(program: Program, hw: Hardware) -> Cost:
    return cost(assemble(lower(program, hw), hw), hw)


def held(found: Cost) -> int:
    """Columns that a sequence holds, all products together."""
    once, end = (
        sum(found.tiles.banks[i.bank].conducting(found.hardware)[1] for i in code if isinstance(i, isa.Integrate))
        for code in (found.tiles.per_step, found.tiles.per_sequence)
    )
    return STEPS * once + end


@pytest.mark.parametrize("per", ["drive", "cell", "column", "conversion", "mac", "step"])
@pytest.mark.parametrize("preset", ["taox64", "isaac128", "neurram"])
def test_energy_by_rule(preset: str, per: str, program_of: Callable[..., Program]) -> None:
    program, plain = program_of(form="delta"), load_hardware(preset)
    hw = chip(preset, f'per = "{per}"\nenergy_pj = {{ value = 2, low = 1, high = 8, assumed = "x" }}')
    found, before = cost_of(program, hw), cost_of(program, plain)
    with_it, without = (c.to_json(STEPS) for c in (found, before))
    more = {
        end: with_it["energy_pj"]["per_sequence"][end] - without["energy_pj"]["per_sequence"][end]
        for end in ["low", "nominal", "high"]
    }
    events = {"step": STEPS, "column": held(before)}.get(per) or without[COUNTS[per]]["per_sequence"]
    times = 1 if per in ("mac", "step") else plain.array.phases
    assert events
    assert more["nominal"] == pytest.approx(2 * times * events)
    assert more["low"] == pytest.approx(more["nominal"] / 2)
    assert more["high"] == pytest.approx(more["nominal"] * 4)
    rows = explain(found, "component.own.energy_pj", STEPS)
    assert sum(row.nominal for row in rows) == pytest.approx(more["nominal"])


@pytest.mark.parametrize("place", ["analog", "digital"])
@pytest.mark.parametrize("preset", ["taox64", "isaac128", "neurram", "puma"])
def test_the_names_of_what_is_charged_are_taken(preset: str, place: Place, program_of: Callable[..., Program]) -> None:
    program, hw = program_of(form="delta"), load_hardware(preset)
    places = dict.fromkeys((op.name for op in program.ops), place)
    found = cost(assemble(lower(program, hw, places), hw), hw)
    charged = {line.component for line in (*found.per_step, *found.finish)} | {area.component for area in found.areas}
    assert charged <= TAKEN


@pytest.mark.parametrize("on", ["chip", "array", "row", "column", "converter"])
def test_area_and_power_by_rule(on: str, program_of: Callable[..., Program]) -> None:
    program, plain = program_of(), load_hardware("taox64")
    figure = '{ value = 2, assumed = "x" }'
    hw = chip("taox64", f'on = "{on}"\narea_um2 = {figure}\npower_uw = {figure}')
    with_it, without = (cost_of(program, chosen).to_json(STEPS) for chosen in (hw, plain))
    each = {"chip": 0, "array": 1, "row": hw.array.rows, "column": hw.array.columns, "converter": hw.adcs_per_array}
    count = without["arrays"] * each[on] or 1
    assert with_it["area_um2"]["nominal"] - without["area_um2"]["nominal"] == pytest.approx(2 * count)
    leaks = without.get("leakage_uw", {"nominal": 0})["nominal"]
    assert with_it["leakage_uw"]["nominal"] - leaks == pytest.approx(2 * count)
