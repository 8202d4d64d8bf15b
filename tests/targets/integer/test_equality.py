"""The integer program is the model: equal to onnxruntime on the original file, integer for integer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ssmc.checking.teacher_forced import ForcedCheck
from ssmc.importers.onnx_file import import_model
from ssmc.ir.executor import Executor
from ssmc.ir.operations import Linear, StateSpace
from ssmc.ir.read_program import read_program
from ssmc.pipeline import run_pipeline
from ssmc.targets.integer.target import IntegerTarget
from ssmc.verify import run_onnx
from tests.compiling import lower, program_of
from tests.graphs import Spec, model, reference, sample
from tests.strategies import specs


@settings(max_examples=30)
@given(specs(), st.integers(1, 3), st.integers(1, 14))
@example(Spec(form="delta", after=True, per_channel=True, spelling="minmax"), 2, 9)
@example(Spec(states=1, y_inside=True, sparse=True, seed=612483, channels=1), 1, 5)
@example(Spec(states=1, channels=1, form="delta", y_inside=True, after=True, sparse=True), 3, 4)
def test_powers_of_two_free_running(spec: Spec, batch: int, steps: int) -> None:
    """Every float32 sum of these models is exact: onnxruntime's result is the meaning, no tolerance at all."""
    x = sample(spec, batch, steps)
    assert np.array_equal(Executor(program_of(spec)).run(x), reference(spec, x))


@settings(max_examples=15)
@given(specs(free=True))
def test_free_scales_teacher_forced(spec: Spec) -> None:
    """Arbitrary float32 scales: codes differ only where the real value lies within float error of a tie."""
    runnable = replace(spec, spelling="round") if spec.spelling == "qonnx" else spec
    check = ForcedCheck()
    run_pipeline(import_model(model(runnable)), IntegerTarget().pipeline(), oracle=False, after=check.see)
    found = check.compare({"x": sample(spec)})
    assert found.compared > 0
    assert found.wrong == 0, found
    assert found.unseen == []


@settings(max_examples=12)
@given(specs(free=True))
def test_free_scales_against_the_folded_graph(spec: Spec) -> None:
    """The graph after every pass, run by onnxruntime in float64, is the program."""
    result = lower(spec)
    x = sample(spec)
    (graph,) = run_onnx(result.model, {"x": x})
    assert np.array_equal(Executor(read_program(result.model)).run(x).astype(np.float32), graph)


@pytest.mark.parametrize("spelling", ["qdq", "round", "minmax", "qonnx"])
def test_one_model_in_four_spellings_is_one_program(spelling: str) -> None:
    spec = Spec(seed=5, layers=2, form="delta", per_channel=True)
    expected = program_of(replace(spec, spelling="round"))
    found = program_of(replace(spec, spelling=spelling))
    x = sample(spec, batch=4, steps=20)
    assert np.array_equal(Executor(found).run(x), Executor(expected).run(x))
    pairs = list(zip(found.matrices(), expected.matrices(), strict=True))
    assert len(pairs) == 2 + 2 * 2
    for (_, a), (_, b) in pairs:
        assert np.array_equal(a.codes, b.codes)


def test_channels_stay_apart_and_dense_stays_dense() -> None:
    by_layout = {
        layout: next(
            op for op in program_of(Spec(layout=layout, channels=4, states=3)).ops if isinstance(op, StateSpace)
        )
        for layout in ("pair", "joint", "dense")
    }
    assert by_layout["pair"].matrix.codes.shape == (4, 6 + 1, 6 + 1)
    assert by_layout["joint"].matrix.codes.shape == (4, 3 + 1, 3 + 1)
    assert by_layout["dense"].matrix.codes.shape == (1, 3 + 4, 3 + 4)


@pytest.mark.parametrize("form", ["direct", "delta"])
def test_the_form_is_recognised(form: str) -> None:
    (kernel,) = (op for op in program_of(Spec(form=form)).ops if isinstance(op, StateSpace))
    assert kernel.form == form


def test_trained_codes_are_kept() -> None:
    """No weight changes on the way: the encoder's matrix holds the codes of the file, up to a common factor."""
    spec = Spec(seed=11, features=3, channels=4, weight_bits=8)
    stored = next(t for t in model(spec).graph.initializer if t.name == "enc.W.codes")
    codes = np.frombuffer(stored.raw_data, np.int8).reshape(4, 3).astype(np.int64)
    encoder = next(op for op in program_of(spec, "fold-quantization").ops if isinstance(op, Linear))
    factors = np.gcd.reduce(codes, axis=1, keepdims=True)
    assert np.array_equal(encoder.matrix.codes[0] * np.maximum(factors, 1), codes)
