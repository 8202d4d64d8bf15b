"""The integer program as integer ONNX: onnxruntime, free-running, gives the reference executor's codes."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ssmc.errors import ModelError
from ssmc.ir.executor import Executor
from ssmc.ir.operations import Dequantize, Ids, Mean, Norm, Quantize
from ssmc.ir.program import Program
from ssmc.ir.quant import Codes, QuantType
from ssmc.targets.integer.integer_functions import DOMAIN
from ssmc.targets.integer.integer_onnx import integer_onnx
from ssmc.verify import run_onnx
from tests.compiling import program_of
from tests.graphs import Spec, sample
from tests.strategies import specs
from tests.targets.c99.programs import random_codes, random_program
from tests.targets.c99.test_emit import with_parts

REAL = {"Cast", "Div", "Round", "Max", "Min", "Mul"}


def _every_node(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    nodes = list(model.graph.node)
    for function in model.functions:
        nodes += function.node
        nodes += [n for node in function.node for a in node.attribute for n in a.g.node]
    return nodes


@given(specs(free=True))
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_onnxruntime_runs_the_same_codes(spec: Spec) -> None:
    program = program_of(spec)
    x = sample(spec, batch=3, steps=17)
    (got,) = run_onnx(integer_onnx(program), {program.input_name: x})
    assert (got == Executor(program).run(x).astype("float32")).all()


def test_only_the_ends_are_real() -> None:
    model = integer_onnx(program_of(Spec()))
    arrays = [onnx.numpy_helper.to_array(t) for t in model.graph.initializer]
    assert {a.dtype.kind for a in arrays if a.ndim > 1} == {"i"}
    kinds = [node.op_type for node in _every_node(model) if node.domain in ("", DOMAIN)]
    assert kinds.count("Round") == 1
    assert "Sqrt" not in kinds


@pytest.mark.parametrize("until", ["prune-structure", None])
@pytest.mark.parametrize("after", [False, True])
def test_kernels_fused_and_in_two_operations(until: str | None, after: bool) -> None:
    spec = Spec(seed=7, form="delta", after=after, layers=2)
    program, x = program_of(spec, until), sample(spec, steps=20)
    model = integer_onnx(program)
    kinds = {node.op_type for node in model.graph.node if node.domain == DOMAIN}
    assert ("KernelPairAfter" if after else "KernelPair" if until else "Kernel") in kinds
    (got,) = run_onnx(model, {"x": x})
    assert np.array_equal(got, Executor(program).run(x).astype(np.float32))


def test_random_programs_with_norms_and_requantization_by_table() -> None:
    seen: set[str] = set()
    for seed in range(24):
        program = random_program(seed)
        first = program.ops[0]
        assert isinstance(first, Quantize)
        x = first.quant.dequantize(random_codes(program, seed, 4, 12)).astype(np.float32)
        x = x.astype(np.int64) if isinstance(first, Ids) else x
        model = integer_onnx(program)
        (got,) = run_onnx(model, {"x": x})
        assert np.array_equal(got, Executor(program).run(x).astype(np.float32)), seed
        seen |= {node.op_type for node in model.graph.node if node.domain == DOMAIN}
    assert {"Norm", "RequantTable", "Kernel", "KernelTable", "KernelPair", "KernelPairAfter"} <= seen


@given(st.data(), st.booleans(), st.sampled_from([0, 1, 65535, 1 << 40]), st.sampled_from([1, 2, 3, 17, 63]))
@settings(max_examples=40)
def test_a_norm_at_any_codes(data: st.DataObject, centred: bool, epsilon: int, size: int) -> None:
    """Flat vectors, extremes and neighbours of squares included; the root must be the floor, not one more."""
    code = QuantType(-32768, 32767, np.asarray(1.0))
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 30)))
    gain, offset = rng.integers(-(1 << 20), 1 << 20, (2, size))
    norm = Norm("norm", ("u",), "v", centred, epsilon, gain, offset, 24, -32768, 32767, 0.0)
    ops = (Quantize("q", ("x",), "u", code), norm, Dequantize("o", ("v",), "y", np.asarray(1.0)))
    values = {"u": Codes(size, code, "step"), "v": Codes(size, code, "step")}
    program = Program("x", size, "y", size, ops, values)
    top = data.draw(st.sampled_from([0, 1, 2, 300, 32767]))
    x = rng.integers(-top, top + 1, (6, 5, size)).astype(np.float32)
    x[0], x[1, 0] = top, -top
    (got,) = run_onnx(integer_onnx(program), {"x": x})
    assert np.array_equal(got, Executor(program).run(x))


def test_a_crossbars_partial_sums_and_a_mean_beyond_64_bits_are_refused_by_name() -> None:
    for program, fact in ((with_parts(), "partial sums"), (mean_of(Fraction(1 << 50, 3)), "ratio does not fit")):
        with pytest.raises(ModelError, match=fact) as caught:
            integer_onnx(program)
        assert caught.value.code == "SSMC-I01"
        assert caught.value.node


def mean_of(ratio: Fraction) -> Program:
    code = QuantType(-128, 127, np.asarray(1.0))
    mean = Mean("mean", ("u",), "v", (ratio,), -128, 127)
    ops = (Quantize("q", ("x",), "u", code), mean, Dequantize("o", ("v",), "y", np.asarray(1.0)))
    return Program("x", 1, "y", 1, ops, {"u": Codes(1, code, "step"), "v": Codes(1, code, "sequence")})


def test_the_longest_sequence_is_stated() -> None:
    spec = Spec(pool="mean")
    model = integer_onnx(program_of(spec))
    stated = {prop.key: int(prop.value) for prop in model.metadata_props}
    assert stated["ssmc.most_steps"] >= 1 << 20


def test_an_empty_sequence_has_the_mean_zero() -> None:
    program = mean_of(Fraction(1, 3))
    (got,) = run_onnx(integer_onnx(program), {"x": np.zeros((2, 0, 1), np.float32)})
    assert np.array_equal(got, np.zeros((2, 1)))
