"""The full scale of the converters that the report gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ssmc.hardware.components import Quantity
from ssmc.hardware.model import Hardware
from ssmc.ir.program import Program
from ssmc.report.crossbar import crossbar_sections
from ssmc.targets.aimc.choices.full_scale import full_scales
from ssmc.targets.aimc.lowering.partial_sums import lower
from ssmc.targets.aimc.target import AimcTarget

Programs = Callable[..., Program]


def volt(key: str, value: float) -> Quantity:
    return Quantity(value, value, value, key, "test")


def test_a_full_scale_is_its_codes_times_their_step(taox64: Hardware, program_of: Programs) -> None:
    """`dac.read_v` volt at code 128 on every row; 2 V over the 2^8 codes; cells hold multiples of codes."""
    hw = replace(
        taox64,
        dac=replace(taox64.dac, read_v=volt("dac.read_v", 0.2)),
        adc=replace(taox64.adc, input_v=volt("adc.input_v", 2.0)),
    )
    lowered = lower(program_of(), hw)
    found = {one["matrix"]: one for one in full_scales(lowered, hw)}["ssm"]
    plan = lowered.plans["ssm"]
    held = np.array([float(factor) for factor in plan.factor])
    units = held * np.array([1 / float(r) for r in plan.requant.ratio])
    assert held.max() > 1
    assert np.allclose(found["accumulator_units"], 256 * units)
    assert np.allclose(found["full_scale_ua"], 256 * units * hw.level_us * 0.2 / 128)
    assert (found["full_scale_v"], found["first_code"], found["last_code"]) == ([2.0], [-128], [127])


def test_a_file_without_voltages_gives_codes_alone(taox64: Hardware, program_of: Programs) -> None:
    hw = replace(taox64, adc=replace(taox64.adc, bits=5))
    cost = AimcTarget(hw).emit(program_of()).cost(3)
    assert {one["matrix"] for one in cost["converters"]} == {"encoder", "ssm", "decoder"}
    assert not any("full_scale_ua" in one or "full_scale_v" in one for one in cost["converters"])
    assert all(one["last_code"][0] - one["first_code"][0] == 31 for one in cost["converters"])
    page = "".join(map(str, crossbar_sections(cost)))
    assert "Converter ranges" in page
    assert "µA" not in page.split("Converter ranges")[1].split("<table")[1].split("</table>")[0]
