"""The hardware file: presets say where their numbers come from, and mistakes are named with a way out."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from ssmc.errors import UsageError
from ssmc.targets.aimc.hardware import (
    PRESETS,
    Hardware,
    hardware_data,
    hardware_from_data,
    load_hardware,
    parse_hardware,
    preset_names,
    rules,
    sections,
)

TAOX = (PRESETS / "taox64.toml").read_text()
DOCS = Path(__file__).parents[3] / "docs" / "hardware.md"


def changed(pattern: str, replacement: str) -> str:
    text, count = re.subn(pattern, replacement, TAOX, flags=re.MULTILINE)
    assert count == 1, pattern
    return text


@pytest.mark.parametrize("name", preset_names())
def test_every_number_of_a_preset_has_an_origin(name: str) -> None:
    hardware = load_hardware(name)
    keys = {f"{section}.{key}" for section in sections() for key in rules(section)}
    assert hardware.name == name
    assert set(hardware.origins) == keys
    assert all(re.match(r"(source|assumed): \S", origin) for origin in hardware.origins.values())


def test_isaac_conversion_is_16_mw_for_8_converters_at_1280_msps(isaac128: Hardware) -> None:
    assert 1.56 <= isaac128.adc.energy_pj.value <= 1.67
    assert isaac128.adc.energy_pj.value == 16e-3 / 8 / (isaac128.adc.rate_msps.value * 1e6) * 1e12


def test_isaac_reads_all_columns_of_an_array_in_one_cycle(isaac128: Hardware) -> None:
    assert isaac128.array.columns / isaac128.adc.rate_msps.value * 1e3 == isaac128.array.read_latency_ns.value


def test_isaac_array_power_is_a_third_of_a_milliwatt(isaac128: Hardware) -> None:
    cells = isaac128.array.rows * isaac128.array.columns
    watts = cells * isaac128.array.read_energy_fj_per_cell.value * 1e-15 / (isaac128.array.read_latency_ns.value * 1e-9)
    assert watts == pytest.approx(0.3e-3, rel=0.01)


def test_taox_converter_is_the_survey_fit_at_180_nm(taox64: Hardware) -> None:
    """Accelergy's fit of the Murmann survey: E = exp(..ln nm, ln b..) / (2 10^((FOMS - SNDR) / 10))."""
    bits, megahertz = 8, 10
    foms = min(213.7807 - 2.87190 * math.log(megahertz * 1e6), 128.3068 + 3.22051 * bits)
    sndr = 6.0206 * bits + 1.761
    tech = math.exp(26.04962 + 1.88004 * math.log(180) - 2.82913 * math.log(bits) - 1.47020)
    assert taox64.adc.energy_pj.value == pytest.approx(tech / (2 * 10 ** ((foms - sndr) / 10)), rel=0.02)


def test_reading_back_what_was_written_is_the_identity(taox64: Hardware) -> None:
    data = json.loads(json.dumps(hardware_data(taox64)))
    assert hardware_from_data(data, "program.json") == taox64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not toml at all", r"SSMC-H02.*h\.toml.*not TOML"),
        (changed(r'^schema = .*$', 'schema = "ssmc.hardware/9"'), r"SSMC-H02.*'ssmc.hardware/9'.*ssmc.hardware/1"),
        (changed(r"^rate_msps", "rate_msp"), r"SSMC-H03.*h\.toml: adc\.rate_msp: .*did you mean rate_msps\?"),
        (changed(r"^\[sample_hold\]", "[sample_holt]"), r"SSMC-H03.*sample_holt.*did you mean sample_hold\?"),
        (changed(r"^bit_serial = .*$", ""), r"SSMC-H04.*dac\.bit_serial.*true or false"),
        (changed(r"^rows = .*$", "rows = 64"), r"SSMC-H05.*array\.rows: is 64; write \{ value"),
        (changed(r"^rows = \{ value = 64", "rows = { value = 64.5"), r"SSMC-H05.*array\.rows: is 64.5.*integer from 1"),
        (changed(r"^rows = \{ value = 64", "rows = { value = 0"), r"SSMC-H06.*array\.rows: is 0.*from 1 to 65536"),
        (changed(r'"per_column"', '"per_row"'), r"SSMC-H06.*adc\.step: is 'per_row'.*per_column or per_adc"),
        (changed(r"^energy_pj = \{ value = 44.1", "energy_pj = { value = -1"), r"SSMC-H06.*adc\.energy_pj.*from 0"),
        (changed(r"^energy_pj = \{ value = 44.1", "energy_pj = { value = nan"), r"SSMC-H06.*adc\.energy_pj.*nan"),
        (changed(r"^clock_mhz = .*$", "clock_mhz = { value = 50 }"), r"SSMC-H07.*clock_mhz.*source and assumed"),
        (changed(r"^clock_mhz = .*$", 'clock_mhz = { value = 50, low = 60, source = "s" }'), r"H08.*low 60, value 50"),
        (changed(r"^lanes = \{", "lanes = { low = 1,"), r"SSMC-H03.*digital\.lanes: is structural"),
        (changed(r"^g_min_us = \{ value = 0", "g_min_us = { value = 200"), r"SSMC-H08.*g_min_us: is 200"),
        (changed(r"^bit_serial = \{ value = false", "bit_serial = { value = true"), r"SSMC-H08.*dac\.bits: is 8 with"),
        (changed(r'^name = .*$', "name = 3"), r"SSMC-H05.*h\.toml: name: is 3"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_file_key_value_and_remedy(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_hardware(text, "h.toml")
    line = str(caught.value)
    assert re.search(message, line), line
    assert "\n" not in line
    assert caught.value.exit_status == 2


def test_unknown_names_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"SSMC-H01.*taox65.*isaac128, taox64"):
        load_hardware("taox65")
    with pytest.raises(UsageError, match=r"SSMC-H01.*cannot be read"):
        load_hardware(tmp_path / "none.toml")


def test_the_user_s_own_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(changed(r"^rows = \{ value = 64", "rows = { value = 32"))
    assert load_hardware(path).array.rows == 32
    assert load_hardware(str(path)).array.rows == 32


def test_the_documentation_names_every_key() -> None:
    text = DOCS.read_text()
    missing = [
        f"{s}.{key}"
        for s in sections()
        for key, rule in rules(s).items()
        if f"`{s}.{key}` | {rule.allowed()}" not in text
    ]
    assert not missing
