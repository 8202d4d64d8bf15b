"""Components of a file's own: read, written back, refused by name."""

from __future__ import annotations

import pytest

from ssmc.errors import UsageError
from ssmc.hardware.file import entries, hardware_data, hardware_from_data, load_hardware, parse_hardware
from ssmc.hardware.model import Hardware
from ssmc.hardware.peak import peak
from ssmc.hardware.schema import file_text
from ssmc.hardware.settings import with_settings

TIA = """
[[component]]
name = "tia"
per = "column"
energy_pj = { value = 0.1, low = 0.05, high = 0.2, source = "a paper" }
on = "column"
area_um2 = { value = 50, assumed = "a guess" }
"""


def chip(own: str = TIA) -> Hardware:
    return parse_hardware(file_text(load_hardware("taox64")) + own)


def test_the_figures_are_read_with_their_origins() -> None:
    hardware = chip()
    energy = hardware.quantity("component.tia.energy_pj")
    assert (energy.low, energy.value, energy.high) == (0.05, 0.1, 0.2)
    assert hardware.origins["component.tia.energy_pj"] == "source: a paper"
    assert hardware.origins["component.tia.area_um2"] == "assumed: a guess"


def test_what_is_written_reads_the_same() -> None:
    hardware = chip()
    assert parse_hardware(file_text(hardware)) == hardware
    assert hardware_from_data(hardware_data(hardware), "again") == hardware
    assert entries(hardware)["component.tia.per"]["value"] == "column"


def test_other_keys_may_be_set_beside_them() -> None:
    assert with_settings(chip(), ("noise.wire_ohm=1",)).customs == chip().customs


def test_peak_figures_have_them() -> None:
    with_it, without = peak(chip(), 8, 8), peak(load_hardware("taox64"), 8, 8)
    columns = load_hardware("taox64").array.columns
    assert with_it.energy_pj - without.energy_pj == pytest.approx(0.1 * columns)
    assert with_it.um2 - without.um2 == pytest.approx(50 * columns)


@pytest.mark.parametrize(
    ("own", "code", "says"),
    [
        ("component = 3", "SSMC-H05", "[[component]]"),
        ('[component]\nname = "tia"', "SSMC-H05", "[[component]]"),
        ("[[component]]", "SSMC-H04", "lower-case"),
        ('[[component]]\nname = "T I A"', "SSMC-H05", "lower-case"),
        ('[[component]]\nname = "adc"', "SSMC-H08", "a name of its own"),
        (TIA + TIA, "SSMC-H08", "a name of its own"),
        ('[[component]]\nname = "tia"', "SSMC-H08", "has no figure"),
        ('[[component]]\nname = "tia"\nenergy_pj = { value = 1, assumed = "x" }', "SSMC-H08", "per what"),
        ('[[component]]\nname = "tia"\narea_um2 = { value = 1, assumed = "x" }', "SSMC-H08", "on what"),
        (TIA.replace('"column"', '"row"', 1), "SSMC-H06", "drive or cell"),
        (TIA.replace("per =", "pre ="), "SSMC-H03", "allowed are name"),
        (TIA.replace("value = 50", "value = -1"), "SSMC-H06", "0 to"),
        (TIA.replace('assumed = "a guess"', 'assumed = ""'), "SSMC-H07", "source"),
        (TIA.replace("value = 50", "from_nm = 90, value = 50"), "SSMC-H08", "from_nm"),
    ],
)
def test_what_a_component_may_not_say(own: str, code: str, says: str) -> None:
    text = file_text(load_hardware("taox64"))
    with pytest.raises(UsageError) as caught:
        parse_hardware(f"{own}\n{text}" if own.startswith("component =") else f"{text}\n{own}\n")
    assert caught.value.code == code
    assert says in str(caught.value)
