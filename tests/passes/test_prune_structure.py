"""Exact structural pruning: what cannot change an output goes, what can stays, codes do not move."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from ssmc.ir.executor import Executor
from ssmc.ir.operations import Linear, StateSpace
from ssmc.ir.program import Program
from ssmc.ir.read_program import read_program
from ssmc.passes.prune_structure import PruneStructure
from ssmc.verify import run_onnx
from tests.compiling import lower, program_of
from tests.graph_writer import Graph, signed
from tests.graphs import Spec, sample

CODE = signed(8, 2.0**-4)
X = np.random.default_rng(0).standard_normal((3, 12, 2)).astype(np.float32)


def recurrence(
    A: object, B: object, C: object, *, start: float = 0.0, bias: object = 0.0, delta: bool = False
) -> onnx.ModelProto:
    """``s' = Q(A s + B u + bias)``, ``y = Q(C s)`` with dense matrices of quarters; two inputs."""
    A, B, C = (np.asarray(m, np.float64) / 4 for m in (A, B, C))
    g = Graph("round")
    u = g.quant("x", CODE, "u")

    def step(b: Graph, states: list[str], ut: str) -> tuple[list[str], list[str]]:
        total = b.op("Add", b.op("MatMul", states[0], b.const(A.T)), b.op("MatMul", ut, b.const(B.T)))
        new = b.quant(b.op("Add", total, b.const(bias)), CODE, "s.q")
        if delta:
            new = b.op("Clip", b.op("Add", states[0], new), b.const(-4.0), b.const(4.0))
        return [new], [b.op("MatMul", states[0], b.const(C.T))]

    (y,) = g.loop(u, [(len(A),)], step, start=start)
    return g.finish(2, g.quant(y, CODE, "out"), ("batch", "time", len(C)))


def pruned(proto: onnx.ModelProto) -> tuple[Program, tuple[str, ...]]:
    """The pruned program, after checking that it gives what the unpruned one and onnxruntime give."""
    result = lower(proto, "prune-structure")
    program = read_program(result.model)
    y = Executor(program).run(X)
    assert np.array_equal(y, Executor(program_of(proto, "fold-quantization")).run(X))
    assert np.array_equal(y, run_onnx(proto, {"x": X})[0])
    assert np.abs(y).max() > 0
    return program, result.records[-1].applied


def kernel(program: Program) -> StateSpace:
    (op,) = (op for op in program.ops if isinstance(op, StateSpace))
    return op


CHAIN = [[2, 0, 0], [1, 2, 0], [0, 1, 2]]


def test_nothing_to_prune() -> None:
    program, applied = pruned(recurrence(CHAIN, [[1, 2], [0, 0], [0, 0]], [[0, 0, 3]]))
    assert applied == ()
    assert kernel(program).n_state == 3


@pytest.mark.parametrize("delta", [False, True])
def test_a_state_that_nobody_reads_goes(delta: bool) -> None:
    program, applied = pruned(recurrence(CHAIN, [[1, 2], [0, 0], [0, 0]], [[0, 3, 0]], delta=delta))
    assert applied == ("scan: 1 of 3 states",)
    assert kernel(program).n_state == 2


@pytest.mark.parametrize("delta", [False, True])
def test_a_state_that_no_input_reaches_goes(delta: bool) -> None:
    program, applied = pruned(recurrence(CHAIN, [[0, 0], [1, -1], [0, 0]], [[3, 1, 2]], delta=delta))
    assert applied == ("scan: 1 of 3 states",)
    assert kernel(program).n_state == 2


def test_a_loop_of_states_apart_from_the_rest_goes() -> None:
    A = [[2, 0, 0], [0, 0, 2], [0, 2, 0]]
    program, applied = pruned(recurrence(A, [[1, 2], [0, 0], [0, 0]], [[1, 1, 1]]))
    assert applied == ("scan: 2 of 3 states",)
    assert kernel(program).n_state == 1


@pytest.mark.parametrize(("start", "bias"), [(0.5, 0.0), (0.0, 0.25)])
def test_a_state_that_starts_or_is_driven_stays(start: float, bias: float) -> None:
    _, applied = pruned(recurrence([[4, 0], [0, 4]], [[1, 1], [0, 0]], [[1, 1]], start=start, bias=bias))
    assert applied == ()


def test_a_drive_that_rounds_to_zero_is_none() -> None:
    _, applied = pruned(recurrence([[2, 0], [0, 2]], [[1, 1], [0, 0]], [[1, 1]], bias=2.0**-6))
    assert applied == ("scan: 1 of 2 states",)


def layers(*matrices: tuple[object, object]) -> onnx.ModelProto:
    """``h = Q(W h + b)`` one after the other."""
    g = Graph("round")
    h = g.quant("x", CODE, "u")
    for index, (weight, bias) in enumerate(matrices):
        total = g.op("MatMul", h, g.const(np.asarray(weight, np.float64).T / 4))
        h = g.quant(g.op("Add", total, g.const(bias)), CODE, f"h{index}")
    return g.finish(2, h, ("batch", "time", len(matrices[-1][0])))  # type: ignore[arg-type]


def linears(program: Program) -> list[Linear]:
    return [op for op in program.ops if isinstance(op, Linear)]


def test_an_unread_channel_goes_with_its_weights() -> None:
    program, applied = pruned(layers(([[1, 2], [3, 1], [2, 2]], [0, 1, 0]), ([[1, 0, 2]], [0])))
    assert applied == ("h0.codes: 1 of 3 channels",)
    first, second = linears(program)
    assert first.matrix.codes.shape == (1, 2, 2)
    assert second.matrix.codes.shape == (1, 1, 2)


def test_a_constant_channel_moves_into_the_offset() -> None:
    program, applied = pruned(layers(([[1, 2], [0, 0], [2, 2]], [0, 1.3, 0]), ([[1, 3, 2]], [0.5])))
    assert applied == ("h1.codes: 1 constant inputs", "h0.codes: 1 of 3 channels")
    assert [op.matrix.codes.shape for op in linears(program)] == [(1, 2, 2), (1, 1, 2)]


def test_a_constant_channel_saturates_first() -> None:
    program, _ = pruned(layers(([[1, 2], [0, 0]], [0, 1e4]), ([[1, 1]], [-3])))
    assert [op.matrix.codes.shape for op in linears(program)] == [(1, 1, 2), (1, 1, 1)]


def test_a_constant_keeps_ties_where_the_step_is_no_power_of_two() -> None:
    """Output step 6: offsets in sixths, which no float holds, must still meet ties exactly."""
    g = Graph("round")
    u = g.op("Mul", g.quant("x", signed(8, 0.125), "u"), g.const(8.0))
    h = g.op("Add", g.op("MatMul", u, g.const([[1.0, 0.0, 2.0], [3.0, 0.0, -1.0]])), g.const([0.0, 7.0, 3.0]))
    h = g.quant(h, signed(8, 1.0), "h")
    total = g.op("Add", g.op("MatMul", h, g.const([[1.0, 2.0], [1.0, 1.0], [3.0, 1.0]])), g.const([2.0, 1.0]))
    program, applied = pruned(g.finish(2, g.quant(total, signed(8, 6.0), "out"), ("batch", "time", 2)))
    assert len(applied) == 2
    assert any(bias.denominator % 3 == 0 for bias in linears(program)[1].requant.bias)


def test_unread_kernel_channels_go() -> None:
    spec = Spec(seed=4, channels=4, layout="joint", gate=False, residual=False, norm=False, table="Relu")
    result = lower(spec, "fold-quantization")
    mix = next(n for n in result.model.graph if n.name.startswith("l0.m"))
    kernel_before = next(op for op in read_program(result.model).ops if isinstance(op, StateSpace))
    weights = mix.inputs[1]
    assert weights is not None
    codes = np.array(weights.const_value.numpy())  # type: ignore[union-attr]
    codes[:, [1, 3]] = 0
    weights.const_value = ir.tensor(codes, name=weights.name)
    x = sample(spec)
    expected = Executor(read_program(result.model)).run(x)
    found = PruneStructure().run(result.model)
    program = read_program(found.model)
    assert kernel_before.matrix.groups == 4
    assert kernel(program).matrix.groups == 2
    assert np.array_equal(Executor(program).run(x), expected)
    assert any("2 of 4 channels" in text for text in found.applied)


def test_a_second_run_finds_nothing() -> None:
    spec = Spec(seed=1, sparse=True, channels=4, states=3, weight_bits=2)
    first = lower(spec, "prune-structure")
    assert first.records[-1].applied
    assert PruneStructure().run(first.model).applied == ()
