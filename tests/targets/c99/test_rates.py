"""Lower rates: every executor gives the same codes, whole, ragged and step by step; ``finish`` may come any time."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from ssmc.ir.executor import Executor
from ssmc.ir.operations import Downsample, Last, Mean
from ssmc.ir.program import Program
from ssmc.ir.rates import enough_steps, period
from ssmc.native.build import STRICT
from ssmc.native.executor import NativeExecutor
from ssmc.targets.c99.target import CTarget
from ssmc.targets.integer.integer_onnx import integer_onnx
from ssmc.verify import run_onnx
from tests.targets.c99 import fuzz
from tests.targets.c99.backends import CORTEX_M, Tally
from tests.targets.c99.programs import random_codes, random_program

SEEDS = (3, 9, 15, 17)

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc, whose sanitizers are used")


def lowered(program: Program) -> list[Downsample]:
    return [op for op in program.ops if isinstance(op, Downsample)]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_executor_gives_the_same_codes(seed: int) -> None:
    tally = Tally()
    program = fuzz.one(seed, tally, samples=8, steps=30, rates=True)
    assert lowered(program)
    assert not tally.declined
    assert CORTEX_M not in tally.codes
    assert min(tally.codes.values()) > 1_000


@pytest.mark.parametrize("seed", SEEDS)
def test_finish_at_any_step_is_the_run_of_the_prefix_and_changes_nothing(seed: int) -> None:
    program = random_program(seed, rates=True)
    x = np.asarray(program.ops[0].quant.dequantize(random_codes(program, seed, 3, 25)))
    plain = Executor(program)
    for executor in (plain, NativeExecutor(program, word=8)):
        state, rows = executor.init(len(x)), []
        for t in range(x.shape[1] + 1):
            want, final = plain.run(x[:, :t]), executor.finish(state)
            if program.output_rate == "step":
                rests = [] if final is None else [final]
                streamed = np.stack([*rows, *rests], 1) if rows or rests else want[:, :0]
                assert np.array_equal(streamed, want)
            else:
                assert np.array_equal(final, want)
            y = executor.step(state, x[:, t]) if t < x.shape[1] else None
            rows += [] if y is None else [y]


def test_the_seeds_cover_every_kind_of_lower_rate() -> None:
    programs = [random_program(seed, rates=True) for seed in SEEDS]
    ops = [op for program in programs for op in lowered(program)]
    assert {(op.how, op.rest) for op in ops} == {(how, rest) for how in ("mean", "pick") for rest in ("emit", "drop")}
    assert any(op.how == "pick" and op.phase >= op.k for op in ops)
    assert any(program.output_rate == "step" and period(program.output_clock) > 1 for program in programs)
    ends = {type(op) for program in programs for op in program.ops if program.clock(op)}
    assert {Mean, Last} <= ends
    assert any(len(program.values[op.output].clock) > 1 for program in programs for op in lowered(program))


@pytest.mark.parametrize("seed", SEEDS)
def test_integer_onnx_gives_the_same_outputs_at_every_length(seed: int) -> None:
    program = random_program(seed, rates=True)
    x = np.asarray(program.ops[0].quant.dequantize(random_codes(program, seed, 3, 25)))
    proto = integer_onnx(program)
    least = max(enough_steps(codes.clock) for codes in program.values.values())
    for steps in range(least, 26):  # ONNX reshapes no empty sequence
        (got,) = run_onnx(proto, {"x": x[:, :steps].astype(np.float32)})
        assert np.array_equal(got, Executor(program).run(x[:, :steps]))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_selftest_passes_and_the_costs_count_every_rate(seed: int, tmp_path: Path) -> None:
    program = random_program(seed, rates=True)
    compiled = CTarget("net").emit(program)
    for name, content in compiled.extra_files().items():
        (tmp_path / name).write_bytes(content)
    build = ["gcc", *STRICT, "net.c", "net_selftest.c", "-o", "net"]
    subprocess.run(build, cwd=tmp_path, check=True)
    assert "0 of" in subprocess.run(["./net"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    cost, layers = compiled.cost(100), compiled.emitted.step_layers
    assert cost["macs_per_step"] == pytest.approx(sum(layer.macs / period(layer.clock) for layer in layers))
    assert cost["macs_worst_step"] == sum(layer.macs for layer in layers) > cost["macs_per_step"]
