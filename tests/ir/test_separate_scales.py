"""A, B, C and D with scales of their own: every backend the same code, the exact one farther than stated from a tie."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import ssmc
from ssmc.errors import ModelError
from ssmc.ir.executor import Executor
from ssmc.ir.fixed_point import LARGEST_SHIFT
from ssmc.ir.operations import StateSpace
from ssmc.ir.operations.operation import Mask
from ssmc.ir.program import Program
from ssmc.ir.requant import LIMIT
from ssmc.ir.rounding import IntArray
from ssmc.ir.separate_scales import fit_row
from ssmc.native.build import find_compiler
from ssmc.native.executor import NativeExecutor
from ssmc.targets.integer.integer_onnx import integer_onnx
from ssmc.verify import run_onnx
from tests.compiling import program_of
from tests.separate_scales import Exact, Separate, exact_sums, model, quantized, sample, tie_distance


@st.composite
def systems(draw: st.DrawFn, *, weight_bits: tuple[int, ...] = (8,), code_bits: tuple[int, ...] = (8,)) -> Separate:
    return Separate(
        seed=draw(st.integers(0, 1 << 20)),
        channels=draw(st.sampled_from([0, 0, 2, 5])),
        states=draw(st.integers(2, 4)),
        inputs=draw(st.integers(2, 3)),
        outputs=draw(st.integers(1, 3)),
        after=draw(st.booleans()),
        feed=draw(st.booleans()),
        per_row=draw(st.booleans()),
        weight_bits=draw(st.sampled_from(weight_bits)),
        code_bits=draw(st.sampled_from(code_bits)),
        bias=draw(st.booleans()),
        delta=draw(st.booleans()),
    )


def kernel_of(program: Program) -> StateSpace:
    return next(op for op in program.ops if isinstance(op, StateSpace))


def require_equal_backends(s: Separate, program: Program) -> None:
    x = sample(s)
    expected = Executor(program).run(x)
    (y,) = run_onnx(integer_onnx(program), {program.input_name: x})
    assert np.array_equal(y, expected.astype(np.float32))
    if find_compiler() is not None:
        assert np.array_equal(NativeExecutor(program, word=(8, 16)[s.seed % 2]).run(x), expected)


def require_exact_codes(s: Separate, op: StateSpace) -> None:
    """Every code of one step from random codes against fractions from the file's own scales."""
    rng = np.random.default_rng((s.seed, 3))
    end = 1 << (s.code_bits - 1)
    state, u = (rng.integers(-end, end, (6, s.groups, k)) for k in (s.states, s.width[0]))
    new, y = op.step(state, u)
    increments = new - op.keep * state
    inside = (op.register_lo < new) & (new < op.register_hi)
    for k in range(len(state)):
        require_exact(
            s, op, exact_sums(s, op.read_out(state)[k], u[k], "AB"), increments[k], inside[k] | (op.keep == 0)
        )
        read = op.read_out(new if s.after else state)[k]
        require_exact(s, op, exact_sums(s, read, u[k], "CD"), y[k], np.ones(y[k].shape, bool))


def require_exact(s: Separate, op: StateSpace, sums: Exact, codes: IntArray, seen: Mask) -> None:
    """Codes against exact values farther from a tie than stated, where no register saturates."""
    distance = Fraction(op.error_bound())
    for real, code, looked in zip(sums, codes.ravel().tolist(), seen.ravel().tolist(), strict=True):
        if looked and tie_distance(real) > distance:
            assert quantized(real, s.code_bits) == code


@settings(max_examples=30, deadline=None)
@given(systems(weight_bits=(4, 8, 16), code_bits=(8, 16)))
def test_codes_are_exact_away_from_ties(s: Separate) -> None:
    require_exact_codes(s, kernel_of(program_of(model(s), "fold-quantization")))


@settings(max_examples=8, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(systems(weight_bits=(4, 8, 16), code_bits=(8, 16)))
def test_backends_agree(s: Separate) -> None:
    require_equal_backends(s, program_of(model(s)))


def test_unrelated_scales_are_bounded_and_the_distance_is_small() -> None:
    op = kernel_of(program_of(model(Separate(1))))
    assert op.matrix.multiplier is not None
    assert 0 < op.error_bound() < 1e-9


def test_distance_is_that_of_fractions() -> None:
    ratios = Fraction(1 << 58, 3**38), Fraction(1 << 50, 7**21)
    fit = fit_row(ratios, Fraction(1, 9), ((-900, 900), (0, 70)), (-8, 7))
    one = 1 << int(fit.requant.shift[0])
    pairs = zip(ratios, fit.multiplier, strict=True)
    errors = [abs(ratio - Fraction(m, one)) + ratio / (1 << 51) for ratio, m in pairs]
    expected = errors[0] * 900 + errors[1] * 70 + abs(Fraction(1, 9) - Fraction(int(fit.requant.offset[0]), one))
    assert 0 < expected == pytest.approx(fit.requant.distance)


MANTISSA = st.integers(1 << 23, (1 << 24) - 1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(MANTISSA, MANTISSA), min_size=2, max_size=4), st.integers(1, 1 << 30), st.integers(0, 20))
def test_the_shift_is_the_largest_that_fits(scales: list[tuple[int, int]], reach: int, down: int) -> None:
    ratios = tuple(Fraction(a, b) / (1 << down) * Fraction(1, 3) ** k for k, (a, b) in enumerate(scales, 2))
    fit = fit_row(ratios, Fraction(1, 7), tuple((-reach, reach) for _ in ratios), (-128, 127))
    shift = int(fit.requant.shift[0])
    if fit.requant.distance == 0:
        return
    assert sum(m * reach for m in fit.multiplier) + int(fit.requant.offset[0]) < LIMIT
    finer = [round(ratio * (2 << shift)) for ratio in ratios]
    assert shift == LARGEST_SHIFT or sum(m * reach for m in finer) + round(Fraction(2 << shift, 7)) >= LIMIT


def test_related_scales_stay_exact() -> None:
    fit = fit_row((Fraction(3, 1000), Fraction(7, 1000)), Fraction(0), ((-4000, 4000), (-900, 900)), (-128, 127))
    assert fit.multiplier == (3, 7)
    assert fit.requant.distance == 0


def test_sums_beyond_62_bits_are_refused() -> None:
    with pytest.raises(ModelError, match=r"SSMC-R01.*calibrate the quantizers again"):
        fit_row((Fraction(1 << 40), Fraction(1, 3)), Fraction(0), ((-(1 << 30), 1 << 30), (0, 9)), (-128, 127))
    fit_row((Fraction(1, 1 << 10), Fraction(1, 3)), Fraction(0), ((-(1 << 30), 1 << 30), (0, 9)), (-128, 127))


@pytest.mark.parametrize("target", ["int", "c"])
@pytest.mark.parametrize(
    "s",
    [
        Separate(2, code_bits=16, weight_bits=16),
        Separate(5, channels=5, code_bits=16, weight_bits=16, per_row=True, after=True, bias=True),
        Separate(7, channels=2, code_bits=16, weight_bits=16, delta=True),
    ],
    ids=["dense", "after", "delta"],
)
def test_sixteen_bits_from_the_file_to_the_codes(s: Separate, target: str, tmp_path: Path) -> None:
    """A, state and activations of 16 bits in QDQ: compiled under the oracle, as onnxruntime runs the file, bounded."""
    onnx.save(model(s), tmp_path / "m.onnx")
    bundle = ssmc.compile(tmp_path / "m.onnx", target=target)
    assert bundle.trace["teacher_forced"]["compared"] > 0
    (kernel,) = [op for op in bundle.report.ops if op.kind == "StateSpace"]
    assert (kernel.weight_bits, kernel.bits) == (16, 16)
    assert kernel.bound > 0
    x = sample(s)
    (expected,) = run_onnx(model(s), {"x": x})
    step = float(s.steps["y"])
    off = np.abs(bundle.run(x) - expected) / step
    assert off.max() < 3
    bundle.save(tmp_path / "b")
    assert np.array_equal(ssmc.load(tmp_path / "b").run(x), bundle.run(x))
