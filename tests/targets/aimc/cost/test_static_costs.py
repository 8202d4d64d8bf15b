"""Programming, leakage, interconnect and data-dependent energy: closed forms, and traced to their keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from ssmc.data import Samples
from ssmc.hardware.components import Quantity
from ssmc.hardware.file import load_hardware, preset_names
from ssmc.hardware.model import Hardware
from ssmc.ir.program import Program
from ssmc.targets.aimc.choices.margins import real_time
from ssmc.targets.aimc.cost.activity import Factors, activity_of, conductance_seen, expected, factors
from ssmc.targets.aimc.cost.explain import explain
from ssmc.targets.aimc.lowering.mapping import Bank, Tile
from ssmc.targets.aimc.simulation.data_dependent_energy import measure
from ssmc.targets.aimc.target import AimcTarget
from ssmc.targets.aimc.tiles import instructions as isa

Programs = Callable[..., Program]


def with_keys(hw: Hardware, **keys: float) -> Hardware:
    """Keys named ``table__key``; low half of it, high twice."""
    for name, value in keys.items():
        table, key = name.split("__")
        old = getattr(hw, table)
        new = Quantity(value, value / 2, 2 * value, f"{table}.{key}", "assumed: test")
        given = next(f for f in fields(old) if f.name == key)
        hw = replace(hw, **{table: replace(old, **{given.name: new})})
    return hw


def test_writing_counts_cells_once(taox64: Hardware, program_of: Programs) -> None:
    hw = with_keys(taox64, cell__write_energy_pj=3.0, cell__write_ns=50.0)
    hw = replace(hw, cell=replace(hw.cell, write_parallel=4))
    found = AimcTarget(hw).emit(program_of(form="delta", channels=2, n=3, features=3)).costs
    cells = {"encoder": 3 * 2 * 2, "ssm": 2 * (4 * 4 * 2), "decoder": 2 * 2 * 2}
    data = found.to_json(7)
    expected = 3.0 * sum(cells.values())
    assert data["programming_energy_pj"] == {"low": expected / 2, "nominal": expected, "high": 2 * expected}
    assert data["programming_ns"] == 50 * sum(count // 4 for count in cells.values())
    rows = explain(found, "programming_energy_pj")
    assert {row.op: row.nominal for row in rows} == {op: 3.0 * count for op, count in cells.items()}
    assert {row.keys for row in rows} == {("cell.write_energy_pj",)}
    assert (
        data["energy_pj"]
        == AimcTarget(taox64).emit(program_of(form="delta", channels=2, n=3)).costs.to_json(7)["energy_pj"]
    )


def test_leakage_lasts_as_long_as_a_step(taox64: Hardware, program_of: Programs) -> None:
    hw = with_keys(taox64, array__leakage_uw=10.0, digital__leakage_uw=4.0)
    found = AimcTarget(hw).emit(program_of(form="delta", channels=2)).costs
    data, power = found.to_json(9), 10.0 * found.tiles.arrays + 4.0
    assert data["leakage_uw"]["nominal"] == power
    interval = data["initiation_interval_ns"]["nominal"]
    assert data["leakage_energy_pj"]["per_step"]["nominal"] == pytest.approx(power * 1e-6 * interval * 1e-9 * 1e12)
    whole = 9 * interval + data["latency_ns"]["finish"]["nominal"]
    assert data["leakage_energy_pj"]["per_sequence"]["high"] == pytest.approx(2 * power * whole * 1e-3)
    assert sum(row.nominal for row in explain(found, "leakage_uw")) == power
    dynamic = real_time(AimcTarget(taox64).emit(program_of(form="delta", channels=2)).costs, 1e3)["power_uw"]
    assert real_time(found, 1e3)["power_uw"] == pytest.approx(dynamic + power)


def test_interconnect_moves_what_the_buffer_holds(taox64: Hardware, program_of: Programs) -> None:
    data = AimcTarget(with_keys(taox64, memory__bus_energy_pj_per_bit=0.25)).emit(program_of()).cost(5)
    rows = {name: [row for row in data["components"] if row["component"] == name] for name in ("buffer", "bus")}
    moved, held = (sum(row["count"] for row in rows[name]) for name in ("bus", "buffer"))
    assert moved == held > 0
    assert sum(row["energy_pj_nominal"] for row in rows["bus"]) == pytest.approx(0.25 * moved)


def test_a_file_without_the_keys_says_nothing(taox64: Hardware, program_of: Programs) -> None:
    data = AimcTarget(taox64).emit(program_of()).cost(5)
    assert not {"programming_energy_pj", "programming_ns", "leakage_uw", "leakage_energy_pj"} & set(data)
    assert "bus" not in {row["component"] for row in data["components"]}


@pytest.mark.parametrize(("preset", "plane", "codes", "expected"), [
    ("taox64", None, [-128, 64, 0], [1.0, 0.25, 0.0]),  # amplitude: power goes with the square
    ("hermes", None, [-128, 64, 0], [1.0, 0.5, 0.0]),  # pulse width: time goes with the code
    ("isaac128", 3, [1, 0, 1], [1.0, 0.0, 1.0]),  # one bit
])  # fmt: skip
def test_activity_of_a_drive(preset: str, plane: int | None, codes: list[int], expected: list[float]) -> None:
    drive = isa.Drive("b", (), "", "b", plane, 8)
    assert activity_of(np.array(codes, float), drive, load_hardware(preset)).tolist() == expected


@pytest.mark.parametrize("scheme", ["differential_columns", "offset_column"])
@pytest.mark.parametrize("quadrants", [2, 4])
def test_a_cell_read_is_v_squared_g_t(scheme: Any, quadrants: int, taox64: Hardware) -> None:
    """Row by row: conductance of the connected columns, summed by hand; then the ratio to the file's own cell."""
    hw = replace(taox64, cell=replace(taox64.cell, scheme=scheme, quadrants=quadrants))
    hw = with_keys(hw, cell__g_min_us=2.0, array__read_activity=0.5, array__read_g_us=40.0)
    codes = np.array([[[[5, -7], [0, 9]]], [[[1, 1], [-2, 3]]]])
    bank = Bank("b", "b", (0, 2), (1,), (Tile(0, 0, (0, 2)), Tile(0, 1, (0, 2), 4, 4)), codes)
    u, zero = hw.level_us, (hw.cell.levels - 1) // 2
    if scheme == "differential_columns":
        seen = 4 * 2.0 + u * np.abs(codes[0, 0]).sum(0) + 4 * 2.0
    else:
        seen = 2 * (2.0 + u * zero) + u * codes[0, 0].sum(0) + 3 * (2.0 + u * zero)
    both = conductance_seen(bank, hw)
    assert both[0] == pytest.approx(seen)
    mean = np.array([[0.25, 0.5], [1.0, 0.0]])
    cells, _ = bank.conducting(hw)
    assert factors(bank, mean, hw).cells == pytest.approx(3 * ((mean * both / 20.0).sum() / cells,))


def test_data_change_the_energy_of_drives_and_cells_alone(isaac128: Hardware, program_of: Programs) -> None:
    compiled = AimcTarget(isaac128).emit(program_of(form="delta", channels=2, n=3))
    x = np.random.default_rng(0).normal(0, 5, (4, 6, 3))
    samples = Samples(x.reshape(-1, 3), np.arange(5) * 6, None)
    found = compiled.costs_on(samples)
    before = {(line.op, line.component): line for line in compiled.costs.per_step}
    for line in found.per_step:
        same = before[line.op, line.component]
        assert line.count == same.count
        changes = line.component in ("dac", "array")
        assert (line.nominal != same.nominal) == changes
        assert same.low <= line.nominal <= same.high
        assert same.low <= same.nominal <= same.high
    quiet = compiled.costs_on(Samples(0 * samples.flat, samples.offsets, None))
    assert energy(quiet, "encoder", "dac") == 0
    assert energy(found, "encoder", "dac") > 0
    traced = sum(row.nominal for row in explain(found, "energy_pj", 3))
    assert traced == pytest.approx(found.to_json(3)["energy_pj"]["per_sequence"]["nominal"])


def energy(found: Any, op: str, component: str) -> float:
    return sum(line.nominal for line in found.per_step if (line.op, line.component) == (op, component))


def test_the_mean_of_bits_is_measured(isaac128: Hardware, program_of: Programs) -> None:
    """Two sequences of unlike length: every true step counts once, padding not."""
    program = program_of(form="direct", channels=1, n=2, features=2, pool="none")
    compiled = AimcTarget(isaac128).emit(program)
    x = np.random.default_rng(1).normal(0, 9, (7, 2))
    samples = Samples(x, np.array([0, 5, 7]), None)
    codes = program.ops[0].quant.quantize(x)  # type: ignore[union-attr]
    bits = np.mean([(codes >> plane) & 1 for plane in range(8)])
    found = measure(compiled.program, compiled.tiles, isaac128, samples)["encoder"]
    assert found.drivers == pytest.approx(3 * (bits / 0.5,))


@pytest.mark.parametrize("preset", preset_names())
@pytest.mark.parametrize("loudness", [0.0, 0.1, 30.0])
def test_what_data_make_of_an_energy_lies_in_its_interval(preset: str, loudness: float, program_of: Programs) -> None:
    """Silence, quiet codes and codes at the ends of their range; every figure lies between its low and its high."""
    compiled = AimcTarget(preset, place="auto").emit(program_of(form="direct", channels=3, n=2))
    x = loudness * np.random.default_rng(0).normal(0, 10, (4, 6, 3))
    samples = Samples(x.reshape(-1, 3), np.arange(5) * 6, None)
    without = compiled.costs
    for lines, with_data in ((without.per_step, compiled.costs_on(samples).per_step), (without.finish, ())):
        known = {(line.op, line.component): line for line in with_data}
        for line in lines:
            assert line.low <= line.nominal <= line.high
            if with_data:
                assert line.low <= known[line.op, line.component].nominal <= line.high


def test_without_data_codes_are_uniform(taox64: Hardware, isaac128: Hardware) -> None:
    """Amplitudes: mean of (v / v_max)^2 is 1/3; bits: 1/2. Against the mean over all codes."""
    codes = np.arange(-128, 128)
    bank = Bank("b", "b", (0, 1), (1,), (Tile(0, 0, (0, 1)),), np.array([[[[50]]]]))
    drive = isa.Drive("b", (), "", "b", None, 8)
    mean = float(activity_of(codes, drive, taox64).mean())
    uniform = factors(bank, np.full((1, 1), mean), taox64).cells[1]
    assert expected(bank, taox64).cells[1] == pytest.approx(uniform, rel=0.01)
    bits = float(np.mean([(codes >> plane) & 1 for plane in range(8)]))
    assert expected(bank, isaac128) == factors_at(bank, isaac128, (0.0, bits, 1.0))


def factors_at(bank: Bank, hw: Hardware, means: tuple[float, float, float]) -> Factors:
    low, nominal, high = (factors(bank, np.full((1, 1), mean), hw) for mean in means)
    return Factors(
        (low.cells[0], nominal.cells[1], high.cells[2]), (low.drivers[0], nominal.drivers[1], high.drivers[2])
    )
