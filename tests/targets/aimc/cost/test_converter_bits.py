"""What fewer converter bits cost: no more, and the file says where its figures do not follow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from ssmc.hardware.file import hardware_data, hardware_from_data, load_hardware, preset_names
from ssmc.hardware.model import Hardware
from ssmc.hardware.unfollowed import unfollowed_keys
from ssmc.ir.program import Program
from ssmc.targets.aimc.target import AimcTarget

Programs = Callable[..., Program]


def by_law(name: str, law: str, bits: int) -> Hardware:
    """A preset whose converter follows a law instead of its measured figures."""
    data = hardware_data(load_hardware(name))
    kept = {key: value for key, value in data["adc"].items() if key not in ("energy_pj", "area_um2")}
    wanted = {"bits": {"value": bits, "assumed": "test"}, "model": {"value": law, "assumed": "test"}}
    data["array"]["count"] = {"value": 0, "assumed": "test"}
    return hardware_from_data({**data, "adc": {**kept, **wanted}}, "test.toml")


@pytest.mark.parametrize("preset", preset_names())
def test_fewer_bits_never_cost_more_where_a_law_holds(preset: str, program_of: Programs) -> None:
    """The ISAAC points are of 32 nm; Walden's figure of merit covers the other nodes."""
    program = program_of(form="delta")
    law = "isaac" if preset in ("isaac128", "puma") else "walden"
    energies = []
    for bits in (8, 7, 6, 5, 4):
        found = AimcTarget(by_law(preset, law, bits)).emit(program).cost(10)["energy_pj"]["per_sequence"]
        energies.append(found["nominal"])
    assert energies == sorted(energies, reverse=True)
    assert energies[0] > energies[-1]


@pytest.mark.parametrize("preset", [name for name in preset_names() if load_hardware(name).adc.energy_pj.value])
def test_measured_figures_at_other_bits_are_warned_of(preset: str, program_of: Programs) -> None:
    hw = load_hardware(preset)
    assert unfollowed_keys(hw) == ()
    hw = replace(hw, array=replace(hw.array, count=0), adc=replace(hw.adc, bits=hw.adc.bits - 1))
    (line,) = AimcTarget(hw).emit(program_of()).cost(3)["warnings"]
    assert f"do not follow adc.bits = {hw.adc.bits}" in line
    own = replace(hw.adc, energy_pj=replace(hw.adc.energy_pj, value=hw.adc.energy_pj.value * 0.9))
    assert unfollowed_keys(replace(hw, adc=own)) == ()


def test_a_converter_that_is_charged_bit_by_bit_follows_its_bits() -> None:
    hw = load_hardware("neurram")
    assert hw.adc.energy_pj_per_step.value > 0
    assert unfollowed_keys(replace(hw, adc=replace(hw.adc, bits=5))) == ()
