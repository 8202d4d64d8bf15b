"""`ssmc explain`: rows add up to the figure, and every row names a key that exists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmc.errors import ModelError, UsageError
from ssmc.hardware.file import load_hardware
from ssmc.hardware.model import Hardware
from ssmc.ir.program import Program
from ssmc.targets.aimc.choices.margins import one_more_adc, real_time, with_adcs
from ssmc.targets.aimc.cost.durations import duration_ns, terms
from ssmc.targets.aimc.cost.explain import COUNTED, METRICS, explain
from ssmc.targets.aimc.cost.totals import cost
from ssmc.targets.aimc.lowering.packing import MODES, Packing
from ssmc.targets.aimc.lowering.partial_sums import lower
from ssmc.targets.aimc.tiles.assemble import assemble

Programs = Callable[..., Program]


def found_of(program: Program, hw: Hardware, mode: Any = "one") -> Any:
    lowered = lower(program, hw)
    return cost(assemble(lowered, hw, dict.fromkeys(lowered.plans, Packing(mode))), hw)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_rows_add_up_to_the_figure(shapes: Any, hardwares: Any, program_of: Programs, data: st.DataObject) -> None:
    steps = data.draw(st.integers(1, 30))
    try:
        found = found_of(program_of(data.draw(shapes)), data.draw(hardwares), data.draw(st.sampled_from(MODES)))
    except ModelError:
        return
    figures = found.to_json(steps)
    for end in ("low", "nominal", "high"):
        total = sum(getattr(row, end) for row in explain(found, "energy_pj", steps))
        assert total == pytest.approx(figures["energy_pj"]["per_sequence"][end])
        assert sum(getattr(row, end) for row in explain(found, "area_um2")) == pytest.approx(figures["area_um2"][end])
    for metric in COUNTED:
        assert sum(row.nominal for row in explain(found, metric, steps)) == figures[metric]["per_sequence"]
    assert sum(r.nominal for r in explain(found, "latency_ns")) == pytest.approx(
        figures["latency_ns"]["per_step"]["nominal"]
    )
    interval = sum(row.nominal for row in explain(found, "initiation_interval_ns"))
    assert interval == pytest.approx(figures["initiation_interval_ns"]["nominal"])


@pytest.mark.parametrize("preset", ["taox64", "isaac128", "neurram"])
def test_every_row_names_keys_with_their_origins(preset: str, program_of: Programs) -> None:
    hw = load_hardware(preset)
    found = found_of(program_of(form="delta"), hw)
    for metric in METRICS:
        for row in explain(found, metric, 3):
            assert row.origins == tuple(hw.origins[key] for key in row.keys)
            assert row.op
            assert row.how


def test_a_key_shows_everything_it_prices(taox64: Hardware, program_of: Programs) -> None:
    found = found_of(program_of(form="delta"), taox64)
    rows = explain(found, "adc.energy_pj", 2)
    assert {row.instruction for row in rows} == {"ConvertQuantize"}
    conversions = found.to_json(2)["adc_conversions"]["per_sequence"]
    assert sum(row.nominal for row in rows) == pytest.approx(conversions * 44.1)
    assert {row.op for row in explain(found, "adc.energy_pj", 2, "ssm")} == {"ssm"}
    with pytest.raises(UsageError, match=r"SSMC-U13.*'adc\.enrgy'.*energy_pj"):
        explain(found, "adc.enrgy")


def test_durations_are_the_sum_of_their_terms(program_of: Programs) -> None:
    hw = load_hardware("neurram")
    tiles = found_of(program_of(form="delta"), hw).tiles
    drive = next(i for i in tiles.per_step if type(i).__name__ == "Drive" and i.op == "ssm")
    found = {term.keys: term.ns for term in terms(drive, tiles, hw)}
    assert found == {("dac.pulse_ns",): 22 * 270, ("dac.phase_ns",): 2 * 300}
    assert duration_ns(drive, tiles, hw) == 22 * 270 + 600


def test_real_time_margin_is_the_period_over_the_interval(taox64: Hardware, program_of: Programs) -> None:
    found = found_of(program_of(form="delta", n=4), taox64)
    interval = found.step_timing.initiation_interval_ns
    quick, slow = real_time(found, 1e9 / interval / 4), real_time(found, 1e9 / interval * 2)
    assert (quick["margin"], quick["keeps_up"]) == (pytest.approx(4), True)
    assert (slow["margin"], slow["keeps_up"]) == (pytest.approx(0.5), False)
    assert quick["limited_by"] == found.step_timing.limited_by


def test_one_more_converter_halves_the_conversions_in_a_row(taox64: Hardware, program_of: Programs) -> None:
    """Kernel of 16 states: 17 conversions one after the other; with two converters 16 + 1 physical pairs."""
    found = found_of(program_of(form="delta", n=16, channels=2, features=1), taox64)
    more = one_more_adc(found)
    before = found.step_timing.initiation_interval_ns
    assert more["adcs_per_array"] == 2
    assert more["area_added_um2"] == found.tiles.arrays * taox64.adc.area_um2.value
    assert more["times_faster"] == pytest.approx(before / (1e9 / more["max_steps_per_s"]))
    assert more["times_faster"] > 1
    full = replace(taox64, adc=replace(taox64.adc, columns_per_adc=2))
    assert with_adcs(full, full.adcs_per_array + 1) == full
