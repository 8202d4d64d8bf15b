"""The hardware file: presets say where their numbers come from, and mistakes are named with a way out."""

from __future__ import annotations

import json
import math
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from ssmc.errors import UsageError
from ssmc.hardware.adc_models import murmann_area_um2, murmann_energy_pj
from ssmc.hardware.file import PRESETS, hardware_data, hardware_from_data, load_hardware, parse_hardware, preset_names
from ssmc.hardware.model import Hardware, rules, sections
from ssmc.hardware.node_scaling import area_factor, energy_factor
from ssmc.hardware.plausibility import CHECKS, implausible
from ssmc.hardware.schema import hardware_schema, schema_text, template, with_tables

TAOX = (PRESETS / "taox64.toml").read_text()
DOCS = Path(__file__).parents[2] / "docs" / "hardware.md"


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


def between(low: float, value: float, high: float) -> str:
    """The line of effective bits with an interval."""
    return f'adc_enob = {{ value = {value}, low = {low}, high = {high}, source = "s" }}\n'


ENOB, NOISY = (f'{key} = {{ value = 8.5, source = "s" }}\n' for key in ("adc_enob", "adc_noise_lsb"))


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
        (changed(r"^(read_sigma_relative)", ENOB + r"\1"), r"SSMC-H08.*noise\.adc_enob: is 8.5, adc.bits is 8"),
        (changed(r"^(read_sigma_relative)", between(6, 7, 9) + r"\1"), r"SSMC-H08.*adc_enob: is 9, adc.bits is 8"),
        (changed(r"^(read_sigma_relative)", between(0, 7, 8) + r"\1"), r"SSMC-H08.*adc_enob: is 8 at most and 0, not"),
        (changed(r"^(read_sigma_relative)", ENOB + NOISY + r"\1"), r"SSMC-H08.*noise\.adc_enob: is given beside noise"),
        (changed(r'^name = .*$', "name = 3"), r"SSMC-H05.*h\.toml: name: is 3"),
        (changed(r"^(temperature_k = .*) = 300", r"\1 = 25"), r"SSMC-H06.*temperature_k: is 25.*from 100 to 600"),
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
    with pytest.raises(UsageError, match=r"SSMC-H01.*taox65.*isaac128, neurram, puma, taox64"):
        load_hardware("taox65")
    with pytest.raises(UsageError, match=r"SSMC-H01.*cannot read"):
        load_hardware(tmp_path / "none.toml")


def test_the_user_s_own_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(changed(r"^rows = \{ value = 64", "rows = { value = 32"))
    assert load_hardware(path).array.rows == 32
    assert load_hardware(str(path)).array.rows == 32


def test_the_documentation_and_the_schema_are_what_the_dataclasses_say() -> None:
    """Made anew by `python -m ssmc.hardware.schema`."""
    text = DOCS.read_text()
    assert with_tables(text) == text
    assert (DOCS.parent / "hardware.schema.json").read_text() == schema_text()


@pytest.mark.parametrize("name", preset_names())
def test_presets_obey_the_json_schema(name: str) -> None:
    obeys(tomllib.loads((PRESETS / f"{name}.toml").read_text()), hardware_schema())


def obeys(data: Any, schema: dict[str, Any]) -> None:
    """The part of JSON schema that `hardware_schema` uses."""
    kinds = {"object": dict, "string": str, "integer": int, "number": (int, float), "boolean": bool}
    if "const" in schema:
        assert data == schema["const"]
        return
    assert isinstance(data, kinds[schema["type"]])  # type: ignore[arg-type]
    assert schema.get("minimum", data) <= data <= schema.get("maximum", data) if schema["type"] != "object" else True
    assert data in schema.get("enum", [data])
    if schema["type"] == "object":
        assert set(schema["required"]) <= set(data) <= set(schema["properties"])
        assert sum(set(one["required"]) <= set(data) for one in schema.get("oneOf", [])) in (
            {1} if "oneOf" in schema else {0}
        )
        for key, value in data.items():
            obeys(value, schema["properties"][key])


def test_the_template_is_a_hardware_file() -> None:
    loaded = parse_hardware(template())
    assert all(origin.startswith("assumed") for origin in loaded.origins.values())
    assert all(f"{key} = {{" in template() for section in sections() for key in rules(section))


def test_a_key_with_a_default_may_be_left_out(taox64: Hardware) -> None:
    assert taox64.array.phases == 1
    assert taox64.origins["array.phases"].startswith("assumed: not given")


def test_unipolar_drivers_take_a_row_for_each_sign() -> None:
    text = changed(r"^scheme = ", 'quadrants = { value = 4, source = "QS4D figure" }\nscheme = ')
    loaded = parse_hardware(text)
    assert (loaded.rows_per_input, loaded.inputs_per_array) == (2, 32)
    with pytest.raises(UsageError, match=r"SSMC-H08.*cell\.quadrants: is 3"):
        parse_hardware(text.replace("value = 4,", "value = 3,"))


# converter laws


def by_law(law: str, bits: int = 8) -> Hardware:
    """The 32 nm preset with a converter of a published law."""
    before, rest = (PRESETS / "isaac128.toml").read_text().split("[adc]\n")
    adc, after = rest.split("[sample_hold]\n")
    adc = re.sub(r"^(energy_pj|area_um2) = .*\n", "", adc, flags=re.MULTILINE)
    adc = re.sub(r"^bits = \{ value = 8", f"bits = {{ value = {bits}", adc, flags=re.MULTILINE)
    adc = re.sub(r"^(rate_msps = \{ value =) 1280", r"\1 10", adc, flags=re.MULTILINE)
    return parse_hardware(f'{before}[adc]\nmodel = {{ value = "{law}", source = "s" }}\n{adc}[sample_hold]\n{after}')


@pytest.mark.parametrize(
    ("nm", "row"),
    [
        (180, (23.8, 24.1, 27.4, 33.7, 44.1, 60.2, 85.1)),
        (130, (12.9, 13.1, 14.9, 18.3, 23.9, 32.6, 46.2)),
        (65, (3.5, 3.55, 4.04, 4.97, 6.49, 8.87, 12.5)),
        (32, (0.92, 0.94, 1.07, 1.31, 1.71, 2.34, 3.31)),
        (14, (0.195, 0.198, 0.225, 0.277, 0.362, 0.495, 0.70)),
    ],
)
def test_the_survey_law_gives_accelergy_s_table(nm: int, row: tuple[float, ...]) -> None:
    for bits, published in enumerate(row, 4):
        assert murmann_energy_pj(bits, nm, 1e7) == pytest.approx(published, rel=0.01)


def test_the_survey_area_is_accelergy_s() -> None:
    for hertz, published in ((1e6, 1714), (1e9, 5972)):
        assert murmann_area_um2(murmann_energy_pj(8, 32, hertz), 32, hertz) == pytest.approx(published, rel=0.02)


def test_a_law_replaces_energy_and_area_and_says_so() -> None:
    loaded = by_law("murmann")
    assert loaded.adc.energy_pj.value == pytest.approx(1.71, rel=0.01)
    assert "survey" in loaded.origins["adc.energy_pj"]
    assert by_law("isaac").adc.area_um2.value == 1200
    assert by_law("walden").adc.energy_pj.value == pytest.approx(31.9e-3 * 256)
    assert hardware_from_data(json.loads(json.dumps(hardware_data(loaded))), "again") == loaded


def test_no_law_scales_with_two_to_the_bits() -> None:
    """hwcomponents-library's IsaacADC does: 0.104 pJ at 4 bits where the table it quotes says 0.79."""
    four, ten = by_law("isaac", 4).adc, by_law("isaac", 10).adc
    assert four.energy_pj.value == 0.79
    assert ten.energy_pj.value / four.energy_pj.value == pytest.approx(3.0, rel=0.01)
    assert ten.area_um2.value / four.area_um2.value == pytest.approx(8.3, rel=0.01)


def test_a_law_is_refused_where_it_says_nothing() -> None:
    with pytest.raises(UsageError, match=r"SSMC-H06.*adc\.bits.*3 at 32 nm.*4 to 10 bits"):
        by_law("isaac", 3)
    with pytest.raises(UsageError, match=r"SSMC-H06.*adc\.bits.*from 4 bits"):
        by_law("murmann", 3)
    with pytest.raises(UsageError, match=r"SSMC-H08.*adc\.energy_pj.*beside"):
        parse_hardware(
            changed(
                r"^energy_pj = \{ value = 44.1",
                'model = { value = "walden", source = "s" }\nenergy_pj = { value = 44.1',
            )
        )


# units: the errors of published cost tables (facts of MNSIM, hwcomponents-library, PUMA, accelergy-library)

ISAAC = (PRESETS / "isaac128.toml").read_text()


def isaac_with(key: str, entry: str) -> str:
    table, name = key.split(".")
    before, rest = ISAAC.split(f"[{table}]\n")
    return f"{before}[{table}]\n" + re.sub(
        rf"^{name} = .*$", f"{name} = {{ {entry}, source = 's' }}", rest, count=1, flags=re.MULTILINE
    )


@pytest.mark.parametrize(
    ("key", "entry", "what"),
    [
        ("dac.energy_pj", "value = 499.2", "MNSIM DAC.py: 0.4992 W where 0.4992 mW is meant"),
        ("adc.energy_pj", "value = 15.6", "MNSIM ADC.py: power times (bits + 2) sample periods, 10x"),
        ("adc.energy_pj", "value = 1562.5", "femtojoule in a picojoule key"),
        ("adc.energy_pj", "value = 0.0065", "a conversion scaled down by 2^bits"),
        ("adc.area_um2", "value = 0.0012", "PUMA's 0.0012 mm2 in a um2 key"),
        ("digital.multiply_energy_pj", "value = 0.04", "MNSIM Multiplier.py: the adder table pasted"),
        ("digital.mac_energy_pj", "value = 300", "femtojoule in a picojoule key"),
        ("memory.buffer_energy_pj_per_bit", "value = 2.58", "raaam_edram.csv: a word's energy times the word"),
        ("array.read_latency_ns", "value = 1.06e-16", "hwcomponents isaac.py: eDRAM latency 1.06e-16 s"),
        ("array.read_energy_fj_per_cell", "value = 30000", "a whole array's energy for one cell"),
        ("digital.clock_mhz", "value = 1e8", "hertz in a megahertz key"),
        ("memory.bus_energy_pj_per_bit", "value = 20.74", "a router's figure for a flit of 256 bits"),
        ("array.read_g_us", "value = 4e-4", "siemens in a microsiemens key"),
        ("dac.energy_pj", "value = 0.39, high = 499.2", "the same, hidden in high"),
        ("adc.energy_pj", "value = 1.56, high = 15.6", "the same, hidden in high"),
        ("adc.energy_pj", "value = 1.56, low = 0.0065", "the same, hidden in low"),
        ("array.read_latency_ns", "value = 100, low = 1e-7", "the same, hidden in low"),
    ],
)  # fmt: skip
def test_published_errors_are_refused_at_load(key: str, entry: str, what: str) -> None:
    with pytest.raises(UsageError, match=r"SSMC-H09.*h\.toml") as caught:
        parse_hardware(isaac_with(key, entry), "h.toml")
    assert "check the unit" in str(caught.value) or "nanoseconds" in str(caught.value), what


@pytest.mark.parametrize("key", ["cell.write_energy_pj", "array.leakage_uw"])
def test_a_whole_array_s_write_and_milliwatts_of_leakage_are_refused(key: str) -> None:
    table, name = key.split(".")
    before, rest = (PRESETS / "puma.toml").read_text().split(f"[{table}]\n")
    wrong = {"write_energy_pj": 1.29e6, "leakage_uw": 130_000}[name]
    rest = re.sub(rf"^{name} = .*$", f"{name} = {{ value = {wrong}, source = 's' }}", rest, count=1, flags=re.MULTILINE)
    with pytest.raises(UsageError, match=rf"SSMC-H09.*{key}"):
        parse_hardware(f"{before}[{table}]\n{rest}")


# figures of another node


def energy(a: float, b: float, c: float, v: float) -> float:
    return a * v * v + b * v + c


def test_energies_and_areas_scale_as_stillmaker_and_baas_say() -> None:
    """Their polynomials typed in again: 45 nm at 0.9 V to 14 nm at 0.8 V; and half way between two nodes."""
    at_45, at_14 = energy(1.103, -0.362, 0.2767, 0.9), energy(0.2363, -0.09675, 0.02239, 0.8)
    assert energy_factor(45, 0.9, 14, 0.8) == pytest.approx(at_14 / at_45)
    assert energy_factor(32, 0.9, 32, 0.9) == 1
    assert area_factor(45, 32) == 0.46
    assert area_factor(32, 45) == 2.2
    assert area_factor(38.5, 45) == pytest.approx((1 + 2.2) / 2)
    middle = (energy(1.103, -0.362, 0.2767, 0.9) + energy(0.9559, -0.7823, 0.471, 0.9)) / 2
    assert energy_factor(38.5, 0.9, 45, 0.9) == pytest.approx(at_45 / middle)


def test_an_entry_of_another_node_is_scaled_and_says_so() -> None:
    hw = load_hardware("hermes")
    factor = energy_factor(45, 0.9, 14, 0.8)
    mac = hw.digital.mac_energy_pj
    assert (mac.low, mac.value, mac.high) == pytest.approx((0.25 * factor, 0.3 * factor, 1.1 * factor))
    assert mac.origin.endswith("45 nm at 0.9 V to 14 nm at 0.8 V: x 0.114 (Stillmaker & Baas 2017)")
    assert hw.memory.register_area_um2_per_bit.value == pytest.approx(5.98 * area_factor(40, 14))
    assert hardware_from_data(json.loads(json.dumps(hardware_data(hw))), "again") == hw


@pytest.mark.parametrize(("key", "more", "supply", "message"), [
    ("digital.mac_energy_pj", "from_nm = 180, from_v = 1.8", 0.9, r"SSMC-H06.*from_nm: is 180.*from 7 to 130"),
    ("digital.mac_energy_pj", "from_nm = 45", 0.9, r"SSMC-H05.*from_v: is None"),
    ("digital.mac_energy_pj", "from_nm = 45, from_v = 0.9", 0, r"SSMC-H06.*technology.supply_v: is 0"),
    ("digital.area_um2", "from_nm = 45, from_v = 0.9", 0.9, r"SSMC-H08.*from_v: is given for an area"),
    ("digital.clock_mhz", "from_nm = 45", 0.9, r"SSMC-H08.*clock_mhz: is not the energy or area of logic"),
    ("adc.energy_pj", "from_nm = 45, from_v = 0.9", 0.9, r"SSMC-H08.*adc.energy_pj: is not the energy or area"),
])  # fmt: skip
def test_what_cannot_be_scaled_is_refused(key: str, more: str, supply: float, message: str) -> None:
    text = isaac_with(key, f"value = 0.3, {more}")
    text = text.replace("[technology]\n", f"[technology]\nsupply_v = {{ value = {supply}, source = 's' }}\n")
    with pytest.raises(UsageError, match=message):
        parse_hardware(text)


def test_every_check_has_a_bound_that_all_presets_keep_with_room() -> None:
    for name in preset_names():
        assert not list(implausible(load_hardware(name)))
    assert all(check.lo < check.hi and check.why for check in CHECKS)
