"""A converter whose ramp is the activation: which look-ups it does, that codes stay, and what it costs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ssmc.hardware.model import Hardware
from ssmc.hardware.settings import changed
from ssmc.targets.aimc.cost.activation_ramps import every_ramp, ramps_of
from ssmc.targets.aimc.cost.area import areas
from ssmc.targets.aimc.cost.energy_events import charges
from ssmc.targets.aimc.cost.totals import Cost
from ssmc.targets.aimc.target import AimcCompiled, AimcTarget
from ssmc.targets.aimc.tiles.instructions import ConvertQuantize, LookUp
from tests.compiling import demo_program

RAMPED = ("adc.ramp=activation", "adc.ramp_energy_pj=50", "adc.ramp_area_um2=1000")


@pytest.fixture(scope="module")
def demo() -> AimcCompiled:
    return AimcTarget(packing="one").emit(demo_program())


def by_component(cost: Cost, component: str) -> tuple[int, float]:
    """Events and nominal picojoule of a step."""
    lines = [line for line in cost.per_step if line.component == component]
    return sum(line.count for line in lines), sum(line.nominal for line in lines)


def test_the_look_ups_behind_converters_are_found(demo: AimcCompiled) -> None:
    """Three activations behind kernels and three gates behind halves of the mixing matrices."""
    found = {ramp.look_up: int(ramp.columns.sum()) for ramp in every_ramp(demo.tiles)}
    names = [f"blocks.{k}.{what}" for k in range(3) for what in ("act_quantizer", "gate_quantizer")]
    assert sorted(found) == sorted(names)
    assert all(0 < count <= 64 for count in found.values())


def test_a_ramp_of_the_steps_of_both_gives_the_codes_of_quantizer_and_table(demo: AimcCompiled) -> None:
    """Count how many transitions of f(code) a sum has passed: f of the code, for every code of every table."""
    for table in (i.table for i in demo.tiles.per_step if isinstance(i, LookUp)):
        for row in table:
            rising = row if row[-1] >= row[0] else -row
            begins = np.repeat(np.arange(1, len(row)), np.diff(rising))
            counted = rising[0] + (np.arange(len(row))[:, None] >= begins).sum(1)
            assert (counted == rising).all()


def test_what_is_priced(taox64: Hardware, demo: AimcCompiled) -> None:
    """No table, no code of the quantizer in the buffer, the ramp's own energy and area; everything else is the same."""
    hw, before = changed(taox64, RAMPED).hardware, demo.costs
    after = AimcTarget(hw, packing="one").emit(demo_program()).costs
    shaped = sum(int(ramp.columns.sum()) for ramp in every_ramp(demo.tiles))
    conversions, energy = by_component(before, "adc")
    assert by_component(after, "adc")[0] == conversions
    assert by_component(after, "adc")[1] == pytest.approx(energy + shaped * (50 - taox64.adc.energy_pj.value))
    assert by_component(before, "table")[0] == 6 * 64
    assert by_component(after, "table") == (0, 0)
    saved = by_component(before, "buffer")[0] - by_component(after, "buffer")[0]
    unread = (64 + (64 if "act" in ramp.look_up else int(ramp.columns.sum())) for ramp in every_ramp(demo.tiles))
    assert saved == 8 * sum(unread)
    made = [area for area in areas(demo.tiles, hw) if area.key == "adc.ramp_area_um2"]
    banks = {i.bank for i in demo.tiles.per_step if isinstance(i, ConvertQuantize) and "encoder" not in i.bank}
    arrays = {array for name in banks if name != "y" for array in demo.tiles.banks[name].arrays}
    assert sum(area.count for area in made) == len(arrays)


def test_without_an_energy_of_its_own_it_costs_a_conversion(taox64: Hardware, demo: AimcCompiled) -> None:
    hw = changed(taox64, RAMPED[:1]).hardware
    for i in demo.tiles.per_step:
        if isinstance(i, ConvertQuantize):
            assert charges(i, demo.tiles, hw)[0] == charges(i, demo.tiles, taox64)[0]


def test_tables_that_turn_back_and_codes_that_others_read_stay_digital(demo: AimcCompiled) -> None:
    code = demo.tiles.per_step
    look_up = next(i for i in code if isinstance(i, LookUp))
    bent = np.abs(np.arange(256) - 100)[None].repeat(64, 0)
    turned = tuple(replace(i, table=bent) if i is look_up else i for i in code)
    assert len(ramps_of(turned, demo.tiles.banks)) == 5
    read_twice = (*code, replace(look_up, writes="again"))
    assert len(ramps_of(read_twice, demo.tiles.banks)) == 5
