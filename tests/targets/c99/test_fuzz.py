"""A few of the programs of ``make fuzz``: reference, fast executor and C with sanitizers give the same codes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from ssmc.emit_c.context import bound
from ssmc.ir.executor import Executor
from ssmc.ir.matrix import Matrix
from ssmc.ir.operations import Dequantize, Quantize, StateSpace
from ssmc.ir.program import Program
from ssmc.ir.quant import Codes, QuantType
from ssmc.ir.requant import make_requant
from ssmc.targets.integer.integer_onnx import integer_onnx
from ssmc.verify import run_onnx
from tests.targets.c99 import fuzz, harness
from tests.targets.c99.backends import BACKENDS, CORTEX_M, CROSSBAR, REFERENCE, Tally, differing, reference
from tests.targets.c99.programs import random_codes, random_program

SEEDS = (25, 31, 60, 67, 71)

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc, whose sanitizers are used")


@pytest.mark.parametrize("seed", SEEDS)
def test_every_executor_gives_the_same_codes(seed: int) -> None:
    tally = Tally()
    fuzz.one(seed, tally, samples=12, steps=30)
    here = {name for name in BACKENDS if name != CORTEX_M}
    assert {REFERENCE, CROSSBAR, *here} == set(tally.codes)
    assert min(tally.codes.values()) > 3_000
    assert not tally.declined


def test_the_seeds_cover_every_operation_and_requantization() -> None:
    seen = sum((fuzz.contents(random_program(seed)) for seed in SEEDS), fuzz.Counter())
    operations = {"Ids", "Linear", "StateSpace", "Table", "Product", "Sum", "Norm", "Slice", "Concat", "Mean", "Last"}
    assert operations | {"shift", "divide", "table"} <= set(seen)
    for word in ("direct", "delta", "mixed", "apart", "after"):
        assert any(word in name for name in seen), word


def test_a_difference_is_found() -> None:
    program = random_program(SEEDS[0])
    codes = random_codes(program, 0, 4, 6)
    whole = np.full(4, 6)
    want = reference(program, codes, whole)
    name = next(iter(want))
    other = {**want, name: want[name] + 1}
    assert differing(want, want, whole)[1] == ""
    assert differing(want, other, whole)[1] == name
    with pytest.raises(AssertionError, match=f"x: y differs in {name}"):
        Tally().compare("y", want, other, whole, "x")


@pytest.mark.parametrize("count", [4])
def test_recordings_of_the_demo_give_the_same_codes(count: int) -> None:
    tally = Tally()
    fuzz.recordings(count, tally, board=False)
    assert min(tally.codes.values()) > 400_000
    assert tally.codes[CROSSBAR] == tally.codes[REFERENCE]


def extreme_program(bits: int) -> Program:
    """Every weight, input and register at the end of its range, so that each sum is the largest there can be."""
    lo, hi = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    code, n, m = QuantType(lo, hi, np.asarray(1.0)), 5, 3
    codes = np.full((1, n + 2, n + m), lo)
    codes[:, 1::2] = hi
    matrix = Matrix(codes)
    low, high = matrix.reach(np.full((1, n + m), lo), np.full((1, n + m), hi))
    ratio = [Fraction(1, 1 << (bits - 1))] * (n + 2)
    requant = make_requant(ratio, [Fraction(1, 2)] * (n + 2), lo, hi, (low.ravel(), high.ravel()))
    full = [np.full((1, n), v) for v in (1, 3, lo, hi, lo << 3, hi << 3, hi << 3)]
    kernel = StateSpace("ssm", ("u",), "y", matrix, requant, *full)
    ops = (Quantize("q", ("x",), "u", code), kernel, Dequantize("o", ("y",), "out", np.asarray(1.0)))
    values = {"u": Codes(m, code, "step"), "y": Codes(2, code, "step")}
    return Program("x", m, "out", 2, ops, values)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("groups", [1, 5])
def test_nothing_overflows_at_the_extreme_codes(bits: int, groups: int) -> None:
    program = widened(extreme_program(bits), groups)
    quant = program.values["u"].quant
    ends = np.array([quant.lo, quant.hi])
    codes = np.broadcast_to(ends[:, None, None], (2, 40, program.input_size)).copy()
    codes[0, 20:] = quant.hi
    whole = np.full(2, 40)
    tally = Tally()
    fuzz.everywhere(program, codes, whole, tally, "extremes", board=not harness.load_board().missing_tools())
    tally.crossbar(program, codes, whole, "isaac128", "extremes")
    assert len(tally.codes) >= 5
    (got,) = run_onnx(integer_onnx(program), {"x": codes.astype(np.float32)})
    assert np.array_equal(got, Executor(program).run(codes))
    exact = [int(np.abs(row).sum()) << (bits - 1) for row in program.ops[1].matrix.codes[0]]
    assert max(exact) * 1 > (1 << 30 if bits == 16 else 1 << 16), "the sums are as large as their type must hold"


def widened(program: Program, groups: int) -> Program:
    """The same kernel in several channels, so that the other layout is used."""
    first, kernel, last = program.ops
    assert isinstance(kernel, StateSpace)
    r = kernel.requant
    keys = ("multiplier", "offset", "shift", "divisor", "lo", "hi")
    columns = {key: np.tile(getattr(r, key), groups) for key in keys}
    requant = replace(r, ratio=r.ratio * groups, bias=r.bias * groups, **columns)
    names = ("keep", "shift", "dac_lo", "dac_hi", "register_lo", "register_hi", "register0")
    repeated = {name: np.tile(getattr(kernel, name), (groups, 1)) for name in names}
    many = replace(kernel, matrix=Matrix(np.tile(kernel.matrix.codes, (groups, 1, 1))), requant=requant, **repeated)
    values = {name: replace(codes, size=codes.size * groups) for name, codes in program.values.items()}
    sizes = {"input_size": program.input_size * groups, "output_size": program.output_size * groups}
    return replace(program, ops=(first, many, last), values=values, **sizes)


def test_the_bound_of_a_sum_is_reached_and_never_passed() -> None:
    codes = np.array([[[3, -4], [0, 5]]])
    lo, hi = np.array([[-2, 1]]), np.array([[7, 6]])
    assert bound(codes, lo, hi).tolist() == [[3 * 7 + 4 * 6, 5 * 6]]
