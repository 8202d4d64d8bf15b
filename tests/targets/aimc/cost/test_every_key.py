"""``--set`` of every hardware key moves the figures that it should, the way it should, and no other.

A key is doubled (or set to what the table says) on a small model; figures that the table does not name must stay. The
keys of a structure, such as the size of an array, move many figures: of those the table names what must move.
"""

from __future__ import annotations

from functools import cache

import pytest

from ssmc.hardware.conductances import noise_of
from ssmc.hardware.file import load_hardware
from ssmc.hardware.model import rules, sections
from ssmc.targets.aimc.target import AimcTarget
from tests.compiling import program_of
from tests.graphs import Spec

ENERGY, AREA, TIME, NOISE, LEAKAGE = (
    {"energy": 1},
    {"area": 1},
    {"latency": 1, "interval": 1},
    {"noise": 0},
    {"leakage": 1},
)
LOSSY = ("array.rows=4",)
COUNTED = ("dac.pulses=count",)
DIGITAL = ("place=digital",)

PRICES = (
    "array.read_energy_fj_per_cell", "array.read_energy_fj_per_cell_bit", "dac.energy_pj", "dac.energy_pj_per_bit",
    "adc.energy_pj_per_step", "sample_hold.energy_pj", "sample_hold.energy_pj_per_bit", "digital.add_energy_pj",
    "digital.requantize_energy_pj", "digital.table_energy_pj", "digital.divide_energy_pj",
    "memory.register_energy_pj_per_bit", "memory.buffer_energy_pj_per_bit", "memory.bus_energy_pj_per_bit",
)  # fmt: skip
AREAS = (
    "array.area_um2", "dac.area_um2", "adc.area_um2", "sample_hold.area_um2", "digital.area_um2",
    "memory.register_area_um2_per_bit", "memory.buffer_area_um2_per_bit",
)  # fmt: skip

NAMED = ("device", "drift_compensation", "stuck_mapping", "writable_levels")

#: key -> (figures that move: 1 up, -1 down, 0 either way; settings around it; its new value, default: twice the old)
KEYS: dict[str, tuple[dict[str, int], tuple[str, ...], object]] = {
    **dict.fromkeys(PRICES, (ENERGY, (), None)),
    **dict.fromkeys(AREAS, (AREA, (), None)),
    **dict.fromkeys(["array.read_latency_ns", "dac.latency_ns", "adc.step_ns"], (TIME, (), None)),
    **dict.fromkeys(["shift_add.energy_pj"], (ENERGY, LOSSY, None)),
    **dict.fromkeys(["shift_add.area_um2"], (AREA, LOSSY, None)),
    **dict.fromkeys(["array.leakage_uw", "digital.leakage_uw"], (LEAKAGE, (), None)),
    **{f"noise.{name}": (NOISE, (), 0.25) for name in rules("noise") if name not in NAMED},
    "noise.stuck_mapping": (NOISE, (), "none"),
    "noise.device": (NOISE, (), "pcm"),
    "noise.writable_levels": (NOISE | {"energy": 0}, (), 8),  # columns are held where fewer levels round them least
    "adc.energy_pj": (ENERGY, (), 60),
    "adc.rate_msps": ({"latency": -1, "interval": -1}, (), None),
    "digital.clock_mhz": ({"latency": -1, "interval": -1}, (), None),
    "digital.lanes": ({"latency": -1}, ("digital.lanes=1",), 4),
    "digital.mac_energy_pj": (ENERGY, DIGITAL, 5),
    "digital.multiply_energy_pj": (ENERGY, (), 4),
    "cell.write_energy_pj": ({"write_energy": 1}, (), None),
    "cell.write_ns": ({"write_time": 1}, (), None),
    "cell.write_parallel": ({"write_time": -1}, ("cell.write_ns=100",), 4),
    "sample_hold.energy_pj_per_pulse": (ENERGY, COUNTED, None),
    "dac.pulse_ns": (TIME, COUNTED, None),
    "dac.phase_ns": (TIME, COUNTED, None),
    "shift_add.latency_ns": (TIME, LOSSY, None),
}
#: keys of structure: what must move with them; other figures may
STRUCTURE: dict[str, tuple[dict[str, int], tuple[str, ...], object]] = {
    "technology.node_nm": ({"energy": 1, "area": 1}, (), None),
    "array.rows": ({"area": 1}, (), None),
    "array.columns": ({"area": 1}, (), None),
    "array.active_rows": ({"conversions": 1, "energy": 1}, (), 4),
    "array.phases": ({"energy": 1, "latency": 1, "interval": 1}, (), None),
    "array.read_activity": ({"energy": 1}, (), 0.5),
    "array.read_g_us": ({"energy": -1}, (), None),
    "cell.levels": ({"energy": 0}, (), None),
    "cell.g_min_us": ({"energy": 1}, (), 10),
    "cell.g_max_us": ({"energy": 1}, (), None),
    "cell.scheme": ({"energy": 0}, ("noise.stuck_mapping=none",), "offset_column"),
    "dac.pulses": ({"energy": 0}, (), "width"),
    "dac.activity": ({"energy": 1}, ("dac.activity=1",), 0.5),
    "adc.columns_per_adc": ({"area": 1, "interval": -1}, (), 16),
    "adc.step": ({"energy": 1, "latency": 1}, LOSSY, "per_array"),
    "adc.offset": ({"energy": 0}, (), "false"),
    "adc.bits": ({"energy": -1, "area": -1}, ("adc.model=murmann",), 6),
    "adc.model": ({"energy": 0, "area": 0}, (), "murmann"),
}
#: keys that price nothing: what they are for
INDEPENDENT = {
    "technology.supply_v": "entries given at another node",
    "technology.temperature_k": "a note",
    "array.count": "a limit",
    "cell.quadrants": "rows for each sign; whole arrays are counted",
    "dac.bits": "the widest code that is driven",
    "dac.bit_serial": "needs dac.bits = 1",
    "dac.read_v": "full scales in the report",
    "adc.input_v": "full scales in the report",
    "adc.ramp": "needs a monotone table behind a converter (test_ramps.py)",
    "adc.ramp_energy_pj": "of adc.ramp",
    "adc.ramp_area_um2": "of adc.ramp",
    "cell.kind": "needs adc.bits = 0 and no noise (test_digital_macro.py)",
    "digital.mac_bits": "the width that mac_energy_pj is for",
    "noise.drift_compensation": "of chips some time after programming (test_devices.py)",
    "memory.buffer_bytes": "the size that buffer_energy_pj_per_bit is for",
}
SPEC = Spec(seed=3)


@pytest.fixture(scope="module")
def compiled():  # type: ignore[no-untyped-def]
    """Figures of the model with settings; those of options are ``key=value`` without a dot."""
    program = program_of(SPEC)

    @cache
    def figures(settings: tuple[str, ...]) -> dict[str, object]:
        options = dict(setting.split("=") for setting in settings if "." not in setting.split("=")[0])
        keys = tuple(setting for setting in settings if "." in setting.split("=")[0])
        chip = AimcTarget(set=keys, **options).emit(program)  # type: ignore[arg-type]
        cost = chip.cost(20)
        return {
            "energy": cost["energy_pj"]["per_sequence"]["nominal"],
            "area": cost["area_um2"]["nominal"],
            "latency": cost["latency_ns"]["per_step"]["nominal"],
            "interval": cost["initiation_interval_ns"]["nominal"],
            "leakage": cost.get("leakage_uw", {}).get("nominal", 0.0),
            "write_energy": cost.get("programming_energy_pj", {}).get("nominal", 0.0),
            "write_time": cost.get("programming_ns", 0.0),
            "arrays": cost["arrays"],
            "conversions": cost["adc_conversions"]["per_sequence"],
            "drives": cost["dac_drives"]["per_sequence"],
            "noise": repr(noise_of(chip.hardware)),
        }

    return figures


def moved(figures, key: str, around: tuple[str, ...], new: object) -> dict[str, int]:  # type: ignore[no-untyped-def]
    """Which figures move with the key, and which way: 1 up, -1 down, 0 where it is no number."""
    if new is None:
        old = next((s.partition("=")[2] for s in around if s.startswith(f"{key}=")), None)
        new = 2 * float(old) if old else 2 * value_of(key) or 1
        new = int(new) if rules(key.partition(".")[0])[key.partition(".")[2]].kind is int else new
    before, after = figures(around), figures((*(s for s in around if not s.startswith(f"{key}=")), f"{key}={new}"))
    changed = [name for name in before if before[name] != after[name]]
    return {n: 0 if isinstance(before[n], str) else 1 if after[n] > before[n] else -1 for n in changed}


def value_of(key: str) -> float:
    """The key's nominal value in the preset."""
    table, name = key.split(".")
    value = getattr(getattr(load_hardware("taox64"), table), name)
    return float(getattr(value, "value", value))


def agrees(found: dict[str, int], wanted: dict[str, int]) -> bool:
    """Whether every figure that must move does, the right way; 0: either."""
    return all(name in found and sign in (0, found[name]) for name, sign in wanted.items())


@pytest.mark.filterwarnings("ignore::ssmc.errors.SsmcWarning")
@pytest.mark.parametrize("key", KEYS)
def test_a_key_moves_its_figures_and_no_other(compiled, key: str) -> None:  # type: ignore[no-untyped-def]
    wanted, around, new = KEYS[key]
    found = moved(compiled, key, around, new)
    assert agrees(found, wanted), found
    assert set(found) == set(wanted)


@pytest.mark.filterwarnings("ignore::ssmc.errors.SsmcWarning")
@pytest.mark.parametrize("key", STRUCTURE)
def test_a_key_of_structure_moves_what_it_must(compiled, key: str) -> None:  # type: ignore[no-untyped-def]
    wanted, around, new = STRUCTURE[key]
    found = moved(compiled, key, around, new)
    assert agrees(found, wanted), found


def test_every_key_is_in_one_table() -> None:
    every = [f"{table}.{name}" for table in sections() for name in rules(table)]
    assert sorted([*KEYS, *STRUCTURE, *INDEPENDENT]) == sorted(every)
