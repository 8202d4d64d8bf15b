"""What needs a stage of the pipeline finds it by its level: names mean nothing, and a missing stage is an error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

import ssmc
from ssmc.bundle.compile import lower
from ssmc.bundle.pruning import Budget, find_cuts
from ssmc.bundle.stages import checks, split_at_folded
from ssmc.data import Samples
from ssmc.errors import UsageError
from ssmc.importers.onnx_file import import_model
from ssmc.ir.executor import Executor
from ssmc.pipeline import Pass
from ssmc.targets.integer.target import IntegerTarget
from tests.compiling import program_of
from tests.graphs import Spec, model

SPEC = Spec(seed=1, form="delta", layout="pair", pool="mean", layers=2)
PASSES = IntegerTarget().pipeline()


def renamed(step: Pass) -> Pass:
    """The pass as a subclass with another name."""
    kind = type(f"Other{type(step).__name__}", (type(step),), {"name": f"other-{step.name}", "__doc__": "The same."})
    return kind(**step.options())


@dataclass(frozen=True)
class Renamed(IntegerTarget):
    """The integer target under other names."""

    def pipeline(self) -> tuple[Pass, ...]:
        return tuple(map(renamed, super().pipeline()))


@dataclass(frozen=True)
class Early(IntegerTarget):
    """A target that forgets to fold."""

    def pipeline(self) -> tuple[Pass, ...]:
        return PASSES[:4]


def budget(points: float) -> Budget:
    """Sequences labelled by what the model says of them."""
    program = program_of(SPEC, "fold-quantization")
    x = np.random.default_rng(3).standard_normal((24, 10, program.input_size)).astype(np.float32)
    label = Executor(program).run(x).argmax(-1).astype(np.int64)
    return Budget(points, Samples(x.reshape(240, -1), np.arange(25, dtype=np.int64) * 10, label))


def test_names_change_no_verification() -> None:
    """Free scales: codes at ties differ, and as many under any names."""
    graph = import_model(model(Spec(seed=3, free=True, form="delta", layers=2)))
    a, b = (lower(graph, target, poles="keep") for target in (IntegerTarget(), Renamed()))
    assert a.compared is not None
    assert a.compared > 100
    assert (a.compared, a.ties) == (b.compared, b.ties)
    assert [(r.effect, r.applied, r.deviation, r.moved) for r in a.records] == [
        (r.effect, r.applied, r.deviation, r.moved) for r in b.records
    ]
    names = [[r.name for r in result.records if r.name != "stabilize-poles"] for result in (a, b)]
    assert names[1] == [f"other-{name}" for name in names[0]]


def test_names_change_no_cut() -> None:
    made = [
        ssmc.compile(import_model(model(SPEC)), target, prune=budget(25.0), oracle=False, poles="keep")
        for target in (IntegerTarget(), Renamed())
    ]
    assert made[0].trace["pruned"]
    assert made[0].trace["pruned"] == made[1].trace["pruned"]
    assert made[0].report.pruning == made[1].report.pruning
    assert made[0].model == made[1].model


def test_a_pipeline_without_a_folded_graph_is_refused_where_one_is_needed() -> None:
    graph, data = import_model(model(SPEC)), budget(0.0)
    needs = {
        "check of the poles": [lambda: ssmc.compile(graph, Early()), lambda: lower(graph, Early())],
        "comparison": [lambda: lower(graph, Early(), passes=PASSES[:4])],
        "program": [lambda: find_cuts(graph, PASSES[:4], data)],
    }
    for need, calls in needs.items():
        for call in calls:
            with pytest.raises(UsageError, match=f"SSMC-P02.*no pass reaches level folded.*{need}") as caught:
                call()
            assert caught.value.exit_status == 2


@pytest.mark.parametrize("name", [step.name for step in PASSES])
def test_a_pipeline_may_end_early_on_purpose(name: str) -> None:
    result = lower(import_model(model(SPEC)), IntegerTarget(), poles="keep", stop_after=name)
    assert result.records[-1].name == name
    folded = [r.name for r in result.records].count("fold-quantization")
    assert (result.compared is not None) == bool(folded)


def test_without_the_oracle_nothing_is_compared() -> None:
    result = lower(import_model(model(SPEC)), IntegerTarget(), passes=PASSES[:4], oracle=False)
    assert (result.compared, result.ties) == (None, None)


def test_checks_and_cuts_stand_behind_the_pass_that_folds() -> None:
    ahead, rest = split_at_folded(PASSES, "a test")
    assert ahead[-1].name == "fold-quantization"
    assert (*ahead, *rest) == PASSES
    assert [step.name for step in checks("refuse", 20.0)] == ["stabilize-poles", "allocate-adc-bits"]
