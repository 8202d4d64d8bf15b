"""Keys of a chip set by hand, and the figures they leave behind."""

from __future__ import annotations

from typing import Any

import pytest

from ssmc.errors import SsmcWarning, UsageError
from ssmc.hardware.adc_models import murmann_energy_pj
from ssmc.hardware.components import Quantity
from ssmc.hardware.file import load_hardware, parse_hardware, preset_names
from ssmc.hardware.model import Hardware, sections
from ssmc.hardware.node_scaling import area_factor, energy_factor
from ssmc.hardware.schema import file_text
from ssmc.hardware.settings import changed, with_settings


def values(hardware: Hardware) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for section in sections():
        for key, value in vars(getattr(hardware, section)).items():
            ends = (value.low, value.value, value.high) if isinstance(value, Quantity) else value
            found[f"{section}.{key}"] = ends
    return found


def moved(before: Hardware, after: Hardware) -> set[str]:
    old, new = values(before), values(after)
    return {key for key in old if old[key] != new[key]}


@pytest.mark.parametrize("name", preset_names())
def test_a_chip_as_a_file_is_the_chip(name: str) -> None:
    chip = load_hardware(name)
    again = parse_hardware(file_text(chip))
    assert values(again) == values(chip)
    assert again.origins == chip.origins
    assert (again.name, again.description) == (chip.name, chip.description)


def test_a_law_is_written_as_a_law() -> None:
    chip = changed(load_hardware("taox64"), ["adc.model=murmann"]).hardware
    text = file_text(chip)
    assert parse_hardware(text).adc == chip.adc
    assert "energy_pj = { value = 44.1" not in text


def test_only_the_key_and_what_follows_it_change() -> None:
    chip = load_hardware("taox64")
    found = changed(chip, ["adc.bits=6"])
    assert moved(chip, found.hardware) == {"adc.bits"}
    assert found.hardware.adc.bits == 6
    assert found.stale == {"adc.energy_pj": "adc.bits = 8", "adc.area_um2": "adc.bits = 8"}
    assert found.hardware.origins["adc.bits"] == "assumed: set by hand"
    assert found.hardware.origins["adc.energy_pj"].endswith("; for adc.bits = 8")
    assert found.hardware.name == "taox64 (adc.bits=6)"


def test_nothing_set_is_the_same_chip_and_the_same_value_leaves_nothing_behind() -> None:
    chip = load_hardware("taox64")
    assert changed(chip, []).hardware is chip
    assert changed(chip, ["adc.bits=8"]).stale == {}


def test_a_figure_set_beside_its_key_is_not_stale() -> None:
    found = changed(load_hardware("taox64"), ["adc.bits=6", "adc.energy_pj=10:20:30"])
    energy = found.hardware.adc.energy_pj
    assert (energy.low, energy.value, energy.high) == (10, 20, 30)
    assert set(found.stale) == {"adc.area_um2"}


def test_a_converter_with_a_law_follows_its_bits() -> None:
    found = changed(load_hardware("taox64"), ["adc.model=murmann", "adc.bits=6"])
    assert found.stale == {}
    assert found.hardware.adc.energy_pj.value == pytest.approx(murmann_energy_pj(6, 180, 10e6))
    whole = changed(load_hardware("taox64"), ["adc.model=murmann"]).hardware
    assert found.hardware.adc.energy_pj.value < whole.adc.energy_pj.value


def test_the_area_of_an_array_is_that_of_its_cells() -> None:
    chip = load_hardware("taox64")
    found = changed(chip, ["array.rows=128", "array.columns=128"])
    assert found.hardware.array.area_um2.value == 4 * chip.array.area_um2.value
    assert set(found.stale) == {"array.read_latency_ns"}


def test_logic_goes_to_another_node_by_the_published_tables() -> None:
    chip = load_hardware("neurram")
    found = changed(chip, ["technology.node_nm=32", "technology.supply_v=0.9"])
    at, to = chip.technology, found.hardware.technology
    energy = energy_factor(at.node_nm.value, at.supply_v.value, to.node_nm.value, to.supply_v.value)
    area = area_factor(at.node_nm.value, to.node_nm.value)
    for section in ("shift_add", "digital", "memory"):
        for key, old in vars(getattr(chip, section)).items():
            new = getattr(getattr(found.hardware, section), key)
            factor = energy if "energy" in key else area if "area" in key else 1
            if isinstance(old, Quantity):
                assert new.value == pytest.approx(factor * old.value), key
                assert (f"{section}.{key}" in found.stale) == (factor == 1 and old.high > 0)
    assert "adc.energy_pj_per_step" in found.stale


def test_logic_beyond_the_tables_goes_by_node_and_supply() -> None:
    chip = load_hardware("taox64")
    found = changed(chip, ["technology.node_nm=90"])
    assert found.hardware.memory.buffer_energy_pj_per_bit.value == pytest.approx(
        chip.memory.buffer_energy_pj_per_bit.value / 2
    )
    assert found.hardware.digital.area_um2.value == pytest.approx(chip.digital.area_um2.value / 4)
    assert "supply not known" in found.hardware.origins["memory.buffer_energy_pj_per_bit"]


@pytest.mark.parametrize("preset", preset_names())
def test_a_converter_of_no_bits_is_ideal(preset: str) -> None:
    """Its energy stays that of the file, and a warning says so."""
    with pytest.warns(SsmcWarning, match=r"still .*figures? for adc.bits = 8"):
        assert with_settings(load_hardware(preset), ("adc.bits=0",)).adc.bits == 24


@pytest.mark.parametrize(
    ("pairs", "code", "says"),
    [
        (["adc.bit=6"], "SSMC-H03", "adc.bits"),
        (["adc"], "SSMC-H03", "is not a key"),
        (["=6"], "SSMC-H11", "adc.bits=6"),
        (["adc.bits="], "SSMC-H11", "adc.bits=VALUE, an integer from"),
        (["noise.drift_compensation"], "SSMC-H11", "VALUE, tile or column or none"),
        (["adc.bits=6", "adc.bits=7"], "SSMC-H11", "twice"),
        (["adc.bits=six"], "SSMC-H05", "an integer"),
        (["adc.bits=4:6:8"], "SSMC-H05", "an integer"),
        (["adc.energy_pj=1:2"], "SSMC-H05", "low:value:high"),
        (["adc.energy_pj=3:2:1"], "SSMC-H08", "order them"),
        (["adc.energy_pj=nan"], "SSMC-H06", "0 to"),
        (["adc.bits=99"], "SSMC-H06", "0 to 24"),
        (["adc.step=some"], "SSMC-H06", "per_column"),
        (["dac.bit_serial=yes"], "SSMC-H05", "true or false"),
        (["dac.bit_serial=true"], "SSMC-H08", "bits = 1"),
        (["adc.energy_pj=1e9"], "SSMC-H09", "plausible"),
    ],
)
def test_what_cannot_be_set(pairs: list[str], code: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        changed(load_hardware("taox64"), pairs)
    assert caught.value.code == code


def test_stale_figures_are_named_by_what_they_are_for() -> None:
    with pytest.warns(SsmcWarning, match=r"adc.energy_pj, adc.area_um2: still figures for adc.bits = 8"):
        with_settings(load_hardware("taox64"), ["adc.bits=6"])
