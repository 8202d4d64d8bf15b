"""Converters that cannot give every sum: what they round to, and that graph, integers and chip agree on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ssmc
from ssmc.analysis.linear import linear_kernel
from ssmc.conversion.column_sums import Inputs
from ssmc.conversion.converter_steps import IN_CACHE, Columns, best_shared, fewest_shared, window_error
from ssmc.conversion.one_conversion import short_unit
from ssmc.data import Samples
from ssmc.errors import UsageError
from ssmc.hardware.model import Hardware
from ssmc.importers.onnx_file import import_model
from ssmc.ir.executor import Executor
from ssmc.ir.operations import StateSpace
from ssmc.ir.program import Program
from ssmc.ir.read_program import read_program
from ssmc.ir.rounding import FloatArray
from ssmc.pipeline import run_pipeline
from ssmc.targets.aimc.lowering.partial_sums import Lowered, lower
from ssmc.targets.aimc.lowering.recorded_inputs import recorded_inputs
from ssmc.targets.aimc.simulation.chip import Chip
from ssmc.targets.aimc.simulation.tile_executor import TileExecutor
from ssmc.targets.aimc.target import AimcTarget
from ssmc.targets.aimc.tiles.assemble import assemble
from ssmc.verify import Session
from tests.compiling import program_of as plain_program
from tests.graph_writer import Graph, signed
from tests.graphs import Spec
from tests.graphs import model as model_of

Programs = Callable[..., Program]
CHANGES: dict[str, dict[str, dict[str, Any]]] = {
    "coarser": {"adc": {"bits": 5}},
    "no offset": {"adc": {"bits": 5, "offset": False}},
    "shared": {"adc": {"bits": 5, "step": "per_array"}},
    "as many bits, shared": {"adc": {"step": "per_array"}},
    "slices": {"adc": {"bits": 5}, "cell": {"levels": 16}},
    "slices, shared": {"adc": {"bits": 5, "step": "per_adc", "columns_per_adc": 8}, "cell": {"levels": 16}},
    "rows": {"adc": {"bits": 5, "step": "per_array"}, "array": {"rows": 2}},
    "bits": {"adc": {"bits": 3}, "dac": {"bits": 1, "bit_serial": True}},
}


def changed(hw: Hardware, change: str) -> Hardware:
    parts = {name: replace(getattr(hw, name), **fields) for name, fields in CHANGES[change].items()}
    return replace(hw, **parts)


def recording(features: int, seed: int = 1) -> Samples:
    x = np.random.default_rng(seed).normal(0, 9, (6, 20, features))
    return Samples(x.reshape(-1, features), np.arange(0, 121, 20))


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_chip_graph_and_integers_agree(taox64: Hardware, change: str, recorded: bool) -> None:
    """The graph that onnxruntime runs, the program read back from it, the integers and the ideal chip: equal codes."""
    spec = Spec(seed=3, features=2, channels=3, states=2, layers=1, form="delta")
    samples = recording(2)
    target = AimcTarget(changed(taox64, change), ranges=samples if recorded else None)
    result = run_pipeline(import_model(model_of(spec)), target.pipeline(), oracle=False)
    compiled = target.emit_decided(read_program(result.model), result.decided)
    assert not compiled.lowered.exact
    x, _ = samples.batch(np.arange(3))
    expected = Executor(compiled.program).run(x)
    assert np.array_equal(Executor(read_program(result.model)).run(x), expected)
    assert np.array_equal(compiled.executor().run(x), expected)
    assert np.array_equal(compiled.executor(literal=True).run(x), expected)
    (found,) = Session(result.model).run({compiled.program.input_name: x.astype(np.float32)})
    assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize("bias", [37 / 128, -37 / 128])
@pytest.mark.parametrize("change", ["coarser", "no offset", "shared"])
def test_a_column_without_weights_has_its_bias(taox64: Hardware, change: str, bias: float) -> None:
    """Behind a converter that rounds coarser than the quantizer, whose window for other columns need not hold 0."""
    g = Graph("round")
    u = g.quant("x", signed(6, 2.0**-3), "u")
    weight = g.weight(np.array([[3, -2], [0, 0], [1, 5]]), 2.0**-4, "W")
    sums = g.op("MatMul", u, g.op("Transpose", weight, perm=[1, 0]))
    y = g.quant(g.op("Add", sums, g.const([bias, bias, bias])), signed(12, 2.0**-7), "y")
    program = plain_program(g.finish(2, y, ("batch", "time", 3)))
    lowered = lower(program, changed(taox64, change))
    assert not lowered.exact
    found = Executor(lowered.program).run(np.random.default_rng(0).standard_normal((2, 5, 2)))
    assert (found[..., 1] == bias).all()


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_lossy_is_bounded_and_says_so(taox64: Hardware, program_of: Programs, change: str) -> None:
    lowered = lower(program_of(form="delta", n=3, channels=2), changed(taox64, change))
    lossy = {plan.op for plan in lowered.plans.values() if plan.kind == "lossy"}
    assert lossy == {op.name for op in lowered.program.ops if op.error_bound() > 0 and op.matrices()} != set()


def gap(program: Program, lowered: Lowered, x: FloatArray) -> float:
    """Squared error of every value of every step, in codes, each matrix on the codes of the exact program."""
    exact, found = Executor(program), 0.0
    state = exact.init(len(x))
    ops = {op.name: op for op in lowered.program.ops}
    for t in range(x.shape[1]):
        before = dict(state.registers)
        codes = exact.step_codes(state, x[:, t])
        for op in program.ops:
            if op.matrices() and op.inputs[0] in codes:
                other, u = ops[op.name], codes[op.inputs[0]]
                if hasattr(op, "advance"):
                    pairs = zip(op.advance(before[op.name], u), other.advance(before[op.name], u), strict=True)
                    found += sum(float(((a - b) ** 2).sum()) for a, b in pairs)
                else:
                    found += float(((op.apply(u) - other.apply(u)) ** 2).sum())
    return found


@pytest.mark.parametrize("change", ["coarser", "shared", "slices", "bits"])
def test_more_converter_bits_are_never_worse(taox64: Hardware, program_of: Programs, change: str) -> None:
    program, samples = program_of(form="direct", n=4, channels=3, features=3), recording(3)
    seen = recorded_inputs(program, samples)
    x, _ = samples.batch(np.arange(6))
    hw = changed(taox64, change)
    errors = []
    for bits in (3, 4, 5, 6, 7, 10):
        wide = replace(hw, adc=replace(hw.adc, bits=bits))
        errors.append(gap(program, lower(program, wide, seen=seen), np.asarray(x)))
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > errors[-1]


@pytest.mark.parametrize("change", ["coarser", "shared", "slices", "rows", "bits"])
def test_recorded_sequences_make_the_error_smaller(taox64: Hardware, program_of: Programs, change: str) -> None:
    program, samples, hw = program_of(form="direct", n=4, channels=3, features=3), recording(3), changed(taox64, change)
    x, _ = samples.batch(np.arange(6))
    plain, chosen = (lower(program, hw, seen=seen) for seen in (None, recorded_inputs(program, samples)))
    assert gap(program, chosen, np.asarray(x)) <= gap(program, plain, np.asarray(x))


@pytest.mark.parametrize("change", ["coarser", "no offset", "shared"])
def test_a_converter_moves_no_pole(taox64: Hardware, program_of: Programs, change: str) -> None:
    """The analysis sees the same system, with the noise of a coarser step: 4^3 times as much for 3 bits fewer."""
    program = program_of(form="delta", n=3, channels=2)
    lowered = lower(program, changed(taox64, change)).program
    ops = [next(op for op in found.ops if isinstance(op, StateSpace)) for found in (program, lowered)]
    exact, coarse = (linear_kernel(op) for op in ops)
    assert np.allclose(exact.A, coarse.A)
    assert np.allclose(exact.B, coarse.B)
    if change == "coarser":
        assert np.allclose(coarse.state_power, 64 * exact.state_power, rtol=0.05)


def test_sequences_that_do_not_fit_are_refused(program_of: Programs) -> None:
    with pytest.raises(UsageError, match=r"SSMC-A06.*--ranges hold no step"):
        recorded_inputs(program_of(features=3), Samples(np.zeros((0, 3)), np.zeros(3, np.int64)))
    with pytest.raises(UsageError, match="SSMC-D01"):
        recorded_inputs(program_of(features=3), recording(2))


def test_a_step_is_shared_as_far_as_the_hardware_says(taox64: Hardware, program_of: Programs) -> None:
    """Step in units that cells hold: one for each array, whatever the ratios of its columns."""
    program = program_of(n=3, channels=3)
    shared, own = (
        lower(program, replace(taox64, adc=replace(taox64.adc, bits=5, step=step))).plans["ssm"].at_converter
        for step in ("per_array", "per_column")
    )
    arrays = np.array(shared.ratio).reshape(3, -1)
    assert [len(set(row)) for row in arrays.tolist()] == [1, 1, 1]
    assert len(set(own.ratio)) > 3


def test_steps_are_the_same_short_numbers_for_every_matrix() -> None:
    """2^(k / 8) within half of five significant bits, ascending."""
    units = short_unit(np.arange(400))
    assert np.abs(units / 2 ** (np.arange(400) / 8) - 1).max() <= 1 / 32
    assert (np.diff(units) > 0).all()
    assert np.isin(np.frexp(units)[0] * 32, np.arange(16, 33)).all()


def test_blocks_take_steps_that_they_can_share() -> None:
    """Three blocks of two columns; 3 costs the first 1.08 times its best, the others less; the last column is dead."""
    steps = np.repeat([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [3.0, 2.0, 5.0]], 2, 0)
    errors = np.array([[1.0, 5, 1.1], [1, 5, 1.06], [9, 9, 1], [9, 9, 1], [2, 8, 2], [0, 8, 0]])
    sets, live = np.array([0, 0, 4, 4, 7, 7]), np.array([True] * 5 + [False])
    assert fewest_shared(errors, steps, sets, live).tolist() == [2, 2, 2, 2, 0, 0]
    dear = np.where(steps == 3, 1.3, 1.0) * errors
    assert fewest_shared(dear, steps, sets, live).tolist() == [0, 0, 2, 2, 2, 2]
    assert best_shared(errors, sets).tolist() == [0, 0, 2, 2, 0, 0]


def test_white_sums_have_the_mean_and_variance_of_uniform_codes() -> None:
    codes = np.random.default_rng(0).integers(-7, 8, (1, 2, 40))
    ends = np.full((1, 40), -8), np.full((1, 40), 7)
    points = Inputs(ends).sums(codes)
    assert np.allclose(points.mean(1), -0.5 * codes.sum(-1).ravel())
    assert np.allclose(points.var(1), (codes**2).sum(-1).ravel() * (16**2 - 1) / 12, rtol=0.03)


def test_noise_passes_a_converter_and_what_is_behind_it(taox64: Hardware, program_of: Programs) -> None:
    """Coupled groups and converter errors reach the same converters: the compiled simulation equals the literal one."""
    hw = changed(taox64, "slices, shared")
    lowered = lower(program_of(n=2, channels=3), hw)
    tiles = assemble(lowered, hw)
    x = np.random.default_rng(0).normal(0, 10, (3, 5, 3))
    fast, literal = (TileExecutor(lowered.program, tiles, Chip(tiles, hw), flag).run(x) for flag in (False, True))
    assert np.array_equal(fast, literal)


def test_the_bundle_holds_the_chosen_ranges(taox64: Hardware, tmp_path: Path) -> None:
    spec = Spec(seed=3, features=2, channels=3, states=2, layers=1, form="delta")
    target = AimcTarget(changed(taox64, "coarser"), ranges=recording(2))
    bundle = ssmc.compile(import_model(model_of(spec)), target, oracle=False, poles="keep")
    bundle.save(tmp_path / "out")
    loaded = ssmc.load(tmp_path / "out")
    x = np.random.default_rng(0).normal(0, 9, (3, 9, 2))
    assert np.array_equal(loaded.run(x), bundle.run(x))
    plain = ssmc.compile(import_model(model_of(spec)), replace(target, ranges=None), oracle=False, poles="keep")
    converters = [
        [matrix.converter.ratio for _, matrix in made.compiled.program.matrices() if matrix.converter is not None]
        for made in (loaded, bundle, plain)
    ]
    assert converters[0] == converters[1] != converters[2]
    assert "6 sequences" in (tmp_path / "out" / "report.json").read_text()


@pytest.mark.parametrize("exponent", [0, 1, 3, 6])
def test_a_range_that_holds_every_code_needs_no_other(taox64: Hardware, exponent: int) -> None:
    """Both ranges at once, all columns at once: what looking at them in parts, and only where it helps, must give."""
    hw = replace(taox64, adc=replace(taox64.adc, offset=False))
    rng = np.random.default_rng(exponent)
    count, points = 2 * IN_CACHE // 1000, 1000
    centre, width = rng.normal(0, 400, (count, 1)), rng.integers(1, 400, (count, 1))
    values = np.rint(centre + width * rng.standard_normal((count, points)))
    free, zero = np.full(count, np.inf), np.zeros(count)
    columns = Columns(values, rng.random((count, points)), (values.min(1), values.max(1)), (-free, free))
    step, levels = np.full(count, 2.0**exponent), 1 << hw.adc.bits
    firsts = np.array([-levels // 2, 0])
    codes = [np.clip(np.rint(values / step[:, None]), first, first + levels - 1) for first in firsts]
    errors = np.stack([columns.error(found, step, zero) for found in codes])
    first, error = window_error(columns, step, zero, hw)
    assert (first == firsts[errors.argmin(0)]).all()
    assert (error == errors.min(0)).all()
