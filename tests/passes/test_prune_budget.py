"""Cuts within a budget: what is cut is gone, what is not stays code for code, and the budget holds on the data."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import ssmc
from ssmc.analysis.energy import energies, modes
from ssmc.analysis.qs4d_metrics import driven_states, live_outputs, metrics
from ssmc.bundle.pruning import Budget, correct, find_cuts, rank
from ssmc.bundle.stages import checks, split_at_folded
from ssmc.data import Samples
from ssmc.errors import UsageError, VerificationError
from ssmc.importers.onnx_file import import_model
from ssmc.ir.executor import Executor, kernel_inputs
from ssmc.ir.operations import StateSpace
from ssmc.ir.program import Program
from ssmc.ir.read_program import read_program
from ssmc.passes.prune_budget import Cut, PruneBudget, cut_program
from ssmc.pipeline import Effect, run_pipeline
from ssmc.targets.integer.target import IntegerTarget
from tests.compiling import program_of
from tests.graphs import Spec, model, sample

SPEC = Spec(seed=1, form="delta", layout="pair", pool="mean", layers=2)
AHEAD, REST = split_at_folded(IntegerTarget().pipeline(), "a cut")
AHEAD += checks("keep")  # random models are often unstable


def kernels(program: Program) -> list[StateSpace]:
    return [op for op in program.ops if isinstance(op, StateSpace)]


def compiled(proto: onnx.ModelProto, cuts: tuple[Cut, ...]) -> Program:
    return read_program(run_pipeline(import_model(proto), (*AHEAD, PruneBudget(cuts), *REST), oracle=False).model)


def labelled(program: Program, n: int = 24, steps: int = 10) -> Samples:
    """Sequences labelled by what the model says of them: it starts at 100 %."""
    x = np.random.default_rng(3).standard_normal((n, steps, program.input_size)).astype(np.float32)
    label = Executor(program).run(x).argmax(-1)
    return Samples(x.reshape(n * steps, -1), np.arange(n + 1, dtype=np.int64) * steps, label.astype(np.int64))


def test_without_cuts_nothing_happens() -> None:
    graph = run_pipeline(import_model(model(SPEC)), IntegerTarget().pipeline()[:5], oracle=False).model
    for step in (PruneBudget(), PruneBudget((Cut("no kernel", 0, (0,)),))):
        result = step.run(graph)
        assert (result.applied, result.effect) == ((), Effect.EXACT)
    assert PruneBudget.effect is Effect.LOSSY


def test_the_compiled_model_computes_the_codes_of_the_cut_program() -> None:
    folded = program_of(model(SPEC), "fold-quantization")
    x = sample(SPEC)
    whole = Executor(folded).run(x)
    moved = False
    for op in kernels(folded):
        states = tuple(np.flatnonzero(modes(op)[0] == 0).tolist())
        for cut in (Cut(op.name, 0, states), Cut(op.name, op.matrix.groups - 1, output=0)):
            expected = Executor(cut_program(folded, [cut])).run(x)
            assert np.array_equal(Executor(compiled(model(SPEC), (cut,))).run(x), expected)
            moved |= not np.array_equal(expected, whole)
    assert moved


def test_what_is_cut_is_gone_from_every_count() -> None:
    whole = compiled(model(SPEC), ())
    op = kernels(whole)[0]
    cuts = tuple(Cut(op.name, group, output=0) for group in range(op.matrix.groups))
    cut = compiled(model(SPEC), cuts)
    gone = kernels(cut)[0]
    assert driven_states(op).any()
    assert not driven_states(gone).any()
    assert not live_outputs(gone).any()
    for counting, figures in metrics(cut).items():
        for key, value in figures["model"].items():
            assert value < metrics(whole)[counting]["model"][key], (counting, key)


def test_energy_of_a_mode_is_what_its_removal_takes_from_the_linear_output() -> None:
    program = program_of(model(SPEC), "fold-quantization")
    x = np.random.default_rng(0).standard_normal((4, 12, program.input_size)).astype(np.float32)
    fed = kernel_inputs(program, (x, np.full(4, 12)))
    for op in kernels(program):
        found = energies(op, fed[op.name])
        alone = energies(op, [np.zeros_like(u) for u in fed[op.name]])
        assert (found.modes >= 0).all()
        assert found.modes.sum() > 0
        assert np.array_equal(alone.modes, np.zeros_like(alone.modes))
        for group, labels in enumerate(found.mode):
            only = [i for i in np.unique(labels) if i >= 0]
            if len(only) != 1:
                continue
            D = [Cut(op.name, group, tuple(np.flatnonzero(labels == only[0]).tolist()))]
            (rest,) = (o for o in kernels(cut_program(program, D)) if o.name == op.name)
            left = energies(rest, fed[op.name])
            assert left.modes[group].sum() == 0


@pytest.mark.parametrize("points", [0.0, 25.0])
def test_the_budget_holds_on_the_data(points: float) -> None:
    program = program_of(model(SPEC), "fold-quantization")
    samples = labelled(program)
    found = ssmc.compile(import_model(model(SPEC)), "int", prune=Budget(points, samples), oracle=False, poles="keep")
    facts = found.report.pruning
    assert facts["accuracy_before"] == 1.0
    assert facts["accuracy_after"] >= 1.0 - points / 100
    assert correct(found.compiled.program, samples) == round(facts["accuracy_after"] * len(samples))
    assert facts["modes"] + facts["channels"] == len(rank(program, samples))
    assert len(found.trace["pruned"]) == facts["modes_cut"] + facts["channels_cut"]
    assert [p.name for p in found.report.passes].count("prune-budget") == 1


def test_everything_may_go_for_a_hundred_points() -> None:
    program = program_of(model(SPEC), "fold-quantization")
    found = ssmc.compile(import_model(model(SPEC)), prune=Budget(100, labelled(program)), oracle=False, poles="keep")
    assert not any(driven_states(op).any() for op in kernels(found.compiled.program))


def test_a_search_that_does_not_hold_is_an_error() -> None:
    from dataclasses import replace

    program = program_of(model(SPEC), "fold-quantization")
    budget = Budget(0, labelled(program))
    found = find_cuts(import_model(model(SPEC)), AHEAD, budget)
    found.require_kept(compiled(model(SPEC), found.cuts), budget)
    with pytest.raises(VerificationError, match="SSMC-V04"):
        replace(found, after=found.after - 1).require_kept(compiled(model(SPEC), found.cuts), budget)


def test_data_without_labels_are_refused() -> None:
    with pytest.raises(UsageError, match="SSMC-U15"):
        Budget(1, Samples(np.zeros((2, 1)), np.array([0, 2])))
