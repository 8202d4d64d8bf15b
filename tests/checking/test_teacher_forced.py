"""The teacher-forced comparison must see wrong codes, and only those."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
import pytest

import ssmc
from ssmc.checking.teacher_forced import Comparison, ForcedCheck
from ssmc.checking.ties import reach
from ssmc.errors import ModelError, UsageError, VerificationError
from ssmc.importers.onnx_file import import_model
from ssmc.ir.operations import Linear, Op, StateSpace, Table
from ssmc.ir.program import Program
from ssmc.ir.rounding import round_half_even
from ssmc.passes.fold_quantization import FoldQuantization
from ssmc.pipeline import Pass, PassResult, run_pipeline
from ssmc.targets.integer.target import IntegerTarget
from ssmc.verify import random_feeds
from tests.graph_writer import Graph, signed
from tests.graphs import Spec, model
from tests.importers.refusing import end

SPEC = Spec(form="delta", pool="none", code_bits=6)
PASSES = IntegerTarget().pipeline()


@dataclass(frozen=True)
class Mute(FoldQuantization):
    """Fold, and do not say which tensors show the codes."""

    name = "fold-silently"

    def run(self, model: ir.Model) -> PassResult:
        return replace(super().run(model), witnesses={})


def _check(spec: Spec = SPEC) -> tuple[ForcedCheck, dict[str, np.ndarray]]:
    graph, check = import_model(model(spec)), ForcedCheck()
    feeds = random_feeds(graph, batch=4, steps=20)
    run_pipeline(graph, IntegerTarget().pipeline(), oracle=False, after=check.see)
    return check, feeds


def _changed(program: Program, kind: type[Op]) -> Program:
    """One weight, or one table entry, moved by one code."""
    ops = list(program.ops)
    index = next(i for i, op in enumerate(ops) if isinstance(op, kind))
    op = ops[index]
    if isinstance(op, Table):
        ops[index] = replace(op, table=op.table + (np.arange(op.table.shape[1]) == op.table.shape[1] // 2))
    elif isinstance(op, Linear | StateSpace):
        codes = op.matrix.codes.copy()
        codes[0, 0, 0] += 7
        ops[index] = replace(op, matrix=replace(op.matrix, codes=codes))
    return replace(program, ops=tuple(ops))


def test_codes_may_differ_by_as_many_ties_as_the_error_spans() -> None:
    """The reach is the largest difference between the rounding of a value and that of any other within the error."""
    rng = np.random.default_rng(0)
    real, error = rng.uniform(-9, 9, 400), rng.choice([0.0, 0.01, 0.3, 0.6, 2.0, 7.5], 400)
    real[:3], error[:3] = (0.5, 2.5, 3.0), 0.0
    others = real + error * np.linspace(-1, 1, 4001)[:, None]
    moved = np.abs(round_half_even(others) - round_half_even(real)).max(0)
    found = reach(real, error)
    assert (found[3:] == moved[3:]).all()
    assert found[:3].tolist() == [1, 1, 0]  # at a tie either code is legal


def test_terms_that_cancel_below_their_own_error() -> None:
    """1e30 x0 + 1e30 x1: where x0 = -x1 float32 may round the products apart, by more than the whole range of codes."""
    g = Graph("minmax")
    x = g.quant("x", signed(7, 2.0**-4), "xq")
    huge = g.op("MatMul", x, g.const(np.full((2, 3), 1e30)))
    graph, check = import_model(end(g, huge)), ForcedCheck()
    run_pipeline(graph, IntegerTarget().pipeline(), oracle=False, after=check.see)
    steps = np.random.default_rng(0).normal(0, 2, (2, 50, 1)).astype(np.float32)
    found = check.compare({"x": np.concatenate([steps, -steps], 2)})
    assert (found.compared, found.wrong) == (500, 0)
    assert found.ties


@pytest.mark.parametrize(
    ("passes", "code", "level"),
    [(PASSES[:4], "SSMC-P02", "folded"), ((), "SSMC-P02", "canonical"), ((*PASSES[:4], Mute()), "SSMC-P03", "folded")],
)
def test_a_comparison_without_what_it_needs_is_refused(passes: tuple[Pass, ...], code: str, level: str) -> None:
    graph, check = import_model(model(SPEC)), ForcedCheck()
    feeds = random_feeds(graph)
    run_pipeline(graph, passes, oracle=False, after=check.see)
    with pytest.raises(UsageError) as caught:
        check.compare(feeds)
    assert (caught.value.code, caught.value.exit_status) == (code, 2)
    assert f"level {level}" in caught.value.fact


def test_a_right_program_differs_nowhere_with_power_of_two_scales() -> None:
    check, feeds = _check()
    found = check.compare(feeds)
    assert (found.ties, found.wrong) == (0, 0)
    assert found.compared > 1000
    assert not found.unseen


@pytest.mark.parametrize("kind", [Linear, StateSpace, Table])
def test_a_wrong_operation_is_named(kind: type[Op]) -> None:
    check, feeds = _check()
    assert check.program is not None
    check.program = _changed(check.program, kind)
    found = check.compare(feeds)
    wrong = next(op for op in check.program.ops if isinstance(op, kind))
    assert found.wrong > 0
    assert found.first.startswith(wrong.name)
    with pytest.raises(VerificationError) as caught:
        found.require_legal()
    assert (caught.value.code, caught.value.exit_status) == ("SSMC-V02", 3)


def test_free_scales_differ_at_ties_at_most() -> None:
    found = Comparison()
    for seed in range(8):
        check, feeds = _check(replace(SPEC, free=True, seed=seed))
        check.compare(feeds, found)
    assert found.wrong == 0
    assert found.compared > 10_000


def test_codes_of_sums_that_overflow_float32_are_the_fault_of_the_model() -> None:
    """Inf + x w is infinite in float32 where x w alone is finite; the integers know the exact sum."""
    g = Graph("round")
    u = g.quant("x", signed(8, 2.0**-5), "u")
    y = g.op("MatMul", u, g.const(np.full((2, 2), 3.4e38), np.float32))
    proto = g.finish(2, g.quant(y, signed(8, 2.0**-4), "out"), ["batch", "time", 2])
    with pytest.raises(ModelError, match=r"SSMC-M15.*infinite in float32"):
        ssmc.compile(import_model(proto))
