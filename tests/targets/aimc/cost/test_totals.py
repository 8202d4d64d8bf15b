"""Costs: closed forms of a kernel small enough to count by hand, sums that must hold, loops that must bind."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmc.errors import ModelError
from ssmc.hardware.model import Hardware
from ssmc.ir.executor import Executor
from ssmc.ir.matrix import Matrix
from ssmc.ir.operations import Dequantize, Quantize, StateSpace
from ssmc.ir.program import Program
from ssmc.ir.quant import Codes, QuantType
from ssmc.ir.requant import make_requant
from ssmc.targets.aimc.choices.candidates import Candidates
from ssmc.targets.aimc.choices.variants import at_steps, compare
from ssmc.targets.aimc.cost.totals import Cost, cost
from ssmc.targets.aimc.lowering.kernel_places import split
from ssmc.targets.aimc.lowering.partial_sums import Place, lower
from ssmc.targets.aimc.tiles.assemble import assemble

Programs = Callable[..., Program]


def tiny(channels: int = 3, n: int = 4, weight: int = 100) -> Program:
    """Input straight into H delta kernels of n states, output per step: nothing but the kernel costs."""
    code = QuantType(-128, 127, np.asarray(1.0))
    codes = np.full((channels, n + 1, n + 1), weight)
    outputs = channels * (n + 1)
    requant = make_requant([Fraction(1, 300)] * outputs, [Fraction(0)] * outputs, -128, 127, (-70000, 70000))
    ones = np.ones((channels, n), np.int64)
    kernel = StateSpace(
        "ssm", ("u",), "y", Matrix(codes), requant,
        ones, 2 * ones, -128 * ones, 127 * ones, -512 * ones, 511 * ones, 0 * ones,
    )  # fmt: skip
    ops = (Quantize("q", ("x",), "u", code), kernel, Dequantize("o", ("y",), "out", np.asarray(1.0)))
    values = {"u": Codes(channels, code, "step"), "y": Codes(channels, code, "step")}
    return Program("x", channels, "out", channels, ops, values)


def costs(program: Program, hw: Hardware, place: Place = "auto") -> Cost:
    return cost(assemble(lower(program, hw, place), hw), hw)


def counts(data: dict[str, Any], op: str) -> dict[str, int]:
    return {row["component"]: row["count_per_step"] for row in data["components"] if row["op"] == op}


def test_one_conversion_per_output_counted_by_hand(taox64: Hardware) -> None:
    """3 kernels of 5 x 5, differential columns, whole codes, one conversion."""
    data = costs(tiny(), taox64).to_json(10)
    assert counts(data, "ssm") == {
        "adc": 3 * 5,
        "adder": 3 * 4 + 3 * 4,
        "array": 3 * 5 * 10,
        "buffer": 3 * 8 + 3 * 8,
        "dac": 3 * 5,
        "register": 3 * 4 * 10 + 2 * 3 * 4 * 10,
        "sample_hold": 3 * 10,
    }
    assert data["adc_conversion_bits"] == {"per_step": 15 * 8, "per_sequence": 10 * 15 * 8}
    assert data["arrays"] == 3
    assert data["utilisation"] == 5 * 10 / 64**2
    assert (data["cells_used"], data["cells_nonzero"], data["cells_allocated"]) == (150, 75, 3 * 64**2)


def test_bit_serial_slices_counted_by_hand(isaac128: Hardware) -> None:
    """Weight 100 = 1210 in base 4: 4 slices, the lowest without a code; 8-bit inputs: 8 planes."""
    data = costs(tiny(), isaac128).to_json(1)
    found = counts(data, "ssm")
    assert found["adc"] == 3 * 5 * 3 * 8
    assert found["shift_add"] == 3 * 5 * 3 * 8
    assert found["dac"] == 3 * 5 * 8
    assert found["array"] == 3 * 5 * (5 * 3 * 2) * 8
    assert found["requantize"] == 3 * 5
    assert found["buffer"] == 3 * 8 * 1 + 3 * 8


def test_energy_is_count_times_key(taox64: Hardware) -> None:
    rows = {row["component"]: row for row in costs(tiny(), taox64).to_json(10)["components"] if row["op"] == "ssm"}
    assert rows["adc"]["energy_pj_nominal"] == 10 * 15 * taox64.adc.energy_pj.value
    assert rows["adc"]["energy_pj_high"] == 10 * 15 * taox64.adc.energy_pj.high
    full = 10 * 150 * taox64.array.read_energy_fj_per_cell.high * 1e-3
    seen = 100 / 2 / 127 * 150 / 75  # a pair of a cell at level 100 of 127 and one at 0; uS over those of the key
    assert rows["array"]["energy_pj_high"] == pytest.approx(full * seen)
    assert rows["array"]["energy_pj_low"] == 0  # nothing is known of the data
    assert rows["adc"]["energy_key"] == "adc.energy_pj"


def test_area_is_whole_arrays_with_their_periphery(taox64: Hardware) -> None:
    rows = {row["component"]: row for row in costs(tiny(), taox64).to_json(1)["components"] if row["op"] == "ssm"}
    assert rows["array"]["area_um2"] == 3 * taox64.array.area_um2.value
    assert rows["dac"]["area_um2"] == 3 * 64 * taox64.dac.area_um2.value
    assert rows["adc"]["area_um2"] == 3 * 1 * taox64.adc.area_um2.value
    assert rows["register"]["area_um2"] == 3 * 4 * 10 * taox64.memory.register_area_um2_per_bit.value


def test_the_feedback_loop_limits_a_kernel(taox64: Hardware) -> None:
    """read-out, drive, integrate, 5 conversions at 10 MS/s one after the other, update."""
    data = costs(tiny(), taox64).to_json(1)
    loop = 20 + 10 + 100 + 5 * 100 + 20
    assert data["feedback_loops_ns"] == {"ssm": loop}
    assert data["initiation_interval_ns"]["nominal"] == loop
    assert data["limited_by"] == "loop of ssm"
    assert data["max_steps_per_s"]["nominal"] == pytest.approx(1e9 / loop)
    assert data["latency_ns"]["per_step"]["nominal"] == loop
    assert data["latency_ns"]["finish"] == {"low": 0.0, "nominal": 0.0, "high": 0.0}


def test_bit_serial_planes_overlap_with_conversion(isaac128: Hardware) -> None:
    """8 integrations of 100 ns hide 7 times 3 x 5 conversions; the last ones, shift-add and requantize follow."""
    data = costs(tiny(), isaac128).to_json(1)
    conversions = 3 * 5 / 1.28
    loop = 1 + 8 * 100 + conversions + 0.833 + 1 + 1
    assert data["feedback_loops_ns"]["ssm"] == pytest.approx(loop)
    assert data["occupancy_ns"]["array ssm"] == 800
    assert data["occupancy_ns"]["adc ssm"] == pytest.approx(8 * conversions)


def test_slow_converters_hold_the_arrays_up(isaac128: Hardware) -> None:
    slow = replace(isaac128, adc=replace(isaac128.adc, rate_msps=replace(isaac128.adc.rate_msps, value=128.0)))
    data = costs(tiny(), slow).to_json(1)
    conversions = 3 * 5 / 0.128
    assert data["feedback_loops_ns"]["ssm"] == pytest.approx(1 + 100 + 8 * conversions + 0.833 + 1 + 1)


def test_more_converters_shorten_the_loop_and_cost_area(taox64: Hardware) -> None:
    shared = costs(tiny(), taox64).to_json(1)
    split = costs(tiny(), replace(taox64, adc=replace(taox64.adc, columns_per_adc=2))).to_json(1)
    assert split["feedback_loops_ns"]["ssm"] == shared["feedback_loops_ns"]["ssm"] - 4 * 100
    assert split["area_um2"]["nominal"] - shared["area_um2"]["nominal"] == 3 * 31 * taox64.adc.area_um2.value
    assert split["energy_pj"] == shared["energy_pj"]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_totals_are_the_sum_of_their_rows(
    shapes: Any, hardwares: Any, program_of: Programs, data: st.DataObject
) -> None:
    program, hw, steps = program_of(data.draw(shapes)), data.draw(hardwares), data.draw(st.integers(0, 50))
    try:
        found = costs(program, hw, data.draw(st.sampled_from(["analog", "digital"]))).to_json(steps)
    except ModelError:
        return
    for name in ("low", "nominal", "high"):
        rows = sum(row[f"energy_pj_{name}"] for row in found["components"])
        assert rows == pytest.approx(found["energy_pj"]["per_sequence"][name])
    assert sum(row["area_um2"] for row in found["components"]) == pytest.approx(found["area_um2"]["nominal"])
    adc = [row for row in found["components"] if row["component"] == "adc"]
    assert sum(row["count"] for row in adc) == found["adc_conversions"]["per_sequence"]
    assert found["energy_pj"]["per_step"]["low"] <= found["energy_pj"]["per_step"]["high"]
    assert found["latency_ns"]["per_step"]["nominal"] == pytest.approx(
        sum(stage["ns"] for stage in found["critical_path"])
    )
    assert all(ns <= found["initiation_interval_ns"]["nominal"] for ns in found["feedback_loops_ns"].values())
    assert json.dumps(found, sort_keys=True) == json.dumps(found)


def test_unfused_means_two_operations(taox64: Hardware) -> None:
    sides = at_steps(compare(Candidates(tiny(), taox64)), 10)
    fused, unfused, digital = sides["analog"], sides["analog-split"], sides["digital"]
    assert (fused["arrays"], unfused["arrays"], digital["arrays"]) == (3, 6, 0)
    assert unfused["dac_drives"]["per_step"] == 2 * fused["dac_drives"]["per_step"]
    assert unfused["adc_conversions"] == fused["adc_conversions"]
    assert digital["adc_conversions"]["per_step"] == 0
    assert digital["digital_macs"]["per_step"] == 3 * 25
    assert fused["conversions"] == {"ssm": "single"}
    assert unfused["conversions"] == {"ssm": "single", "ssm.output": "single"}


def test_a_digital_matrix_costs_its_non_zeros_and_their_weights(taox64: Hardware) -> None:
    program = tiny()
    kernel = program.ops[1]
    assert isinstance(kernel, StateSpace)
    kernel.matrix.codes[:, :4, :4] *= np.eye(4, dtype=np.int64)
    found = counts(costs(program, taox64, "digital").to_json(1), "ssm")
    assert found["mac"] == 3 * (4 + 9)
    assert found["weights"] == 3 * (4 + 9) * 8


def test_the_digital_alternative_is_charged_by_width_and_memory(taox64: Hardware) -> None:
    """By hand: sums of 18 or 11 bits, products of 8 x 8 bits unless ternary, weights from banks of 256 B."""
    for weight, bits, product in ((100, 8, 2 / 3), (1, 2, 0.0)):
        program = tiny(weight=weight)
        hw = replace(taox64, digital=replace(taox64.digital, lanes=1 if weight > 1 else 64))
        hw = replace(hw, memory=replace(hw.memory, buffer_bytes=128))
        program.ops[1].matrix.codes[:, 0] = -weight  # type: ignore[union-attr]
        rows = costs(program, hw, "digital").to_json(1)["components"]
        spent = {row["component"]: row["energy_pj_nominal"] for row in rows if row["op"] == "ssm"}
        macs, width = 3 * 25, (5 * weight * 256).bit_length()
        assert spent["mac"] == pytest.approx(macs * taox64.digital.mac_energy_pj.value * (width / 32 / 3 + product))
        each = hw.memory.buffer_energy_pj_per_bit.value * (max(macs * bits / hw.digital.lanes, 2048) / 1024) ** 0.5
        assert spent["weights"] == pytest.approx(macs * bits * each)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_unfusing_changes_no_code(shapes: Any, program_of: Programs, data: st.DataObject) -> None:
    program = program_of(data.draw(shapes))
    x = np.random.default_rng(0).normal(0, 10, (3, 6, program.input_size))
    apart = replace(program, ops=tuple(split(op) if isinstance(op, StateSpace) else op for op in program.ops))
    assert np.array_equal(Executor(program).run(x), Executor(apart).run(x))


def test_a_variant_that_does_not_fit_says_why(taox64: Hardware) -> None:
    few = replace(taox64, array=replace(taox64.array, count=3))
    assert compare(Candidates(tiny(), few))["analog-split"]["refused"].startswith("error[SSMC-A03]")


def test_latency_and_interval_do_not_depend_on_the_number_of_steps(taox64: Hardware) -> None:
    one, many = (costs(tiny(), taox64).to_json(steps) for steps in (1, 1000))
    for key in ("latency_ns", "initiation_interval_ns", "area_um2", "arrays"):
        assert one[key] == many[key]
    assert many["adc_conversions"]["per_sequence"] == 1000 * one["adc_conversions"]["per_sequence"]
