"""What the figures rest on: assumed keys, times at their ends, and what a file leaves out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from ssmc.hardware.file import load_hardware, preset_names
from ssmc.hardware.model import Hardware
from ssmc.hardware.not_modelled import costs_not_modelled, effects_not_modelled
from ssmc.hardware.settings import changed
from ssmc.ir.program import Program
from ssmc.targets.aimc.cost.basis import at_pace
from ssmc.targets.aimc.target import AimcTarget
from tests.compiling import demo_program

Programs = Callable[..., Program]
RANGE = {"low", "nominal", "high"}


def ranges(data: Any, path: str = "") -> Iterator[tuple[str, dict[str, float]]]:
    if isinstance(data, dict) and set(data) == RANGE:
        yield path, data
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from ranges(value, f"{path}.{key}")


@pytest.mark.parametrize("preset", preset_names())
def test_every_nominal_lies_in_its_interval(preset: str, program_of: Programs) -> None:
    program = demo_program() if preset == "taox64" else program_of(form="delta", channels=4, n=3)
    data = AimcTarget(preset, set=("array.count=0",)).emit(program).cost(100)
    found = dict(ranges(data))
    assert {".area_um2", ".energy_pj.per_step", ".latency_ns.per_step", ".max_steps_per_s"} <= set(found)
    for path, span in found.items():
        assert span["low"] <= span["nominal"] <= span["high"], path
    for row in data["components"]:
        assert row["energy_pj_low"] <= row["energy_pj_nominal"] <= row["energy_pj_high"], row


def test_the_fast_end_of_a_loop_by_hand(taox64: Hardware, program_of: Programs) -> None:
    """Read-out, set-up, product, one conversion a column of the kernel, update; times at their best, at their worst."""
    program = program_of(form="delta", channels=1, n=3)
    data = AimcTarget(taox64).emit(program).cost(1)
    (loop,) = data["feedback_loops_ns"].values()
    columns = 4  # three states and an output
    assert loop == 20 + 10 + 100 + columns * 100 + 20
    if data["limited_by"].startswith("loop"):
        assert data["initiation_interval_ns"] == {
            "low": 5 + 1 + 10 + columns * 10 + 5, "nominal": loop, "high": 50 + 100 + 1000 + columns * 1000 + 50
        }  # fmt: skip
    low, high = at_pace(taox64, "fast"), at_pace(taox64, "slow")
    assert (low.adc.rate_msps.value, high.adc.rate_msps.value) == (100, 1)
    assert (low.array.read_latency_ns.value, high.array.read_latency_ns.value) == (10, 1000)
    assert low.adc.energy_pj == taox64.adc.energy_pj


def test_a_figure_rests_on_assumed_keys_as_far_as_they_make_it(taox64: Hardware, program_of: Programs) -> None:
    origins = dict.fromkeys(taox64.origins, "source: measured")
    program = program_of(form="delta", channels=2, n=3)

    def shares(assumed: set[str]) -> dict[str, float]:
        hw = replace(taox64, origins=origins | dict.fromkeys(assumed, "assumed: a guess"))
        found: dict[str, float] = AimcTarget(hw).emit(program).cost(1)["assumed_share"]
        return found

    assert shares(set()) == {"area_um2": 0, "energy_pj": 0, "latency_ns": 0}
    compiled = AimcTarget(taox64).emit(program)
    one, lines = compiled.cost(1), compiled.costs.per_step
    energy = sum(line.nominal for line in lines if line.component == "adc") / sum(line.nominal for line in lines)
    area = sum(row["area_um2"] for row in one["components"] if row["component"] == "adc")
    found = shares({"adc.energy_pj", "adc.area_um2", "adc.columns_per_adc"})
    assert found["energy_pj"] == pytest.approx(energy)
    assert found["area_um2"] == pytest.approx(area / one["area_um2"]["nominal"])
    assert found["latency_ns"] == 0
    assert 0 < shares({"adc.rate_msps"})["latency_ns"] < 1
    assert shares(set(origins)) == {"area_um2": 1, "energy_pj": 1, "latency_ns": 1}


def test_what_a_file_leaves_out_is_listed(isaac128: Hardware) -> None:
    effects, costs = effects_not_modelled(isaac128), costs_not_modelled(isaac128)
    assert any("drift" in what for what in effects)
    assert any("IR drop" in what for what in effects)
    assert not any("read noise" in what for what in effects)
    assert any("leakage of arrays" in what for what in costs)
    pairs = ["noise.wire_ohm=1", "noise.device=pcm", "noise.adc_inl_lsb=0.1", "array.leakage_uw=1"]
    more = changed(isaac128, pairs).hardware
    assert set(effects) - set(effects_not_modelled(more)) == {
        "drift since programming (noise.device)",
        "1/f noise (noise.device)",
        "resistance of wires (IR drop) (noise.wire_ohm)",
        "nonlinearity of converters (noise.adc_inl_lsb)",
    }
    assert set(costs) - set(costs_not_modelled(more)) == {"leakage of arrays (array.leakage_uw)"}
    assert effects_not_modelled(load_hardware("hermes64")) != effects
