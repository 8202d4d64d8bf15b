"""What every pass owes: a valid graph that runs, codes that do not move, nothing left to do the second time."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings

from ssmc.errors import UsageError
from ssmc.importers.onnx_file import import_model
from ssmc.ir.executor import Executor
from ssmc.ir.functions import attach_functions
from ssmc.ir.read_program import read_program
from ssmc.passes.fold_quantization import FoldQuantization
from ssmc.passes.fuse_kernel import FuseKernel
from ssmc.passes.prune_structure import PruneStructure
from ssmc.pipeline import Effect, Pass, Stage, run_pipeline
from ssmc.targets.integer.target import IntegerTarget
from ssmc.verify import run_onnx
from tests.compiling import lower, ops_of, same
from tests.graphs import Spec, model, reference, sample
from tests.strategies import specs

PASSES = IntegerTarget().pipeline()
NAMES = [step.name for step in PASSES]
SPECS = [
    Spec(seed=1, spelling="qdq", form="delta", layout="pair", per_channel=True, sparse=True),
    Spec(seed=2, spelling="minmax", form="direct", layout="dense", after=True, y_inside=True, pool="none"),
    Spec(seed=3, spelling="qonnx", form="direct", layout="joint", pool="last", sparse=True, layers=2),
]


def before(spec: Spec, step: Pass) -> ir.Model:
    """The graph that a pass of the pipeline is given."""
    index = NAMES.index(step.name)
    return run_pipeline(import_model(model(spec)), PASSES[:index], oracle=False).model


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.spelling)
@pytest.mark.parametrize(
    "step", [step for step in PASSES if not isinstance(step, FoldQuantization)], ids=lambda p: p.name
)
def test_twice_is_once(step: Pass, spec: Spec) -> None:
    graph = before(spec, step)
    once = step.run(graph)
    attach_functions(once.model)
    text = ir.to_proto(once.model).SerializeToString(deterministic=True)
    again = step.run(ir.from_proto(onnx.ModelProto.FromString(text)))
    assert again.applied == ()
    attach_functions(again.model)
    assert ops_of(again.model) == ops_of(once.model)


@pytest.mark.parametrize("step", [s for s in PASSES if s.level not in (None, s.requires)], ids=lambda p: p.name)
def test_a_pass_that_leaves_its_level_is_not_run_twice(step: Pass) -> None:
    passes = (*PASSES[: PASSES.index(step) + 1], step)
    with pytest.raises(UsageError, match=f"SSMC-P01.*{step.name}: the pass requires level"):
        run_pipeline(import_model(model(SPECS[0])), passes, oracle=False)


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.spelling)
def test_every_stage_is_a_valid_model_that_gives_the_same_outputs(spec: Spec) -> None:
    x = sample(spec)
    expected = reference(spec, x)
    stages: list[Stage] = []

    def check(stage: Stage) -> None:
        proto = ir.to_proto(stage.model)
        onnx.checker.check_model(proto)
        (y,) = run_onnx(proto, {"x": x})
        assert np.array_equal(y, expected), PASSES[len(stages)].name
        stages.append(stage)

    run_pipeline(import_model(model(spec)), PASSES, oracle=False, after=check)
    assert len(stages) == len(PASSES)


@settings(max_examples=15)
@given(specs(sparse=True, layers=1))
def test_pruning_and_fusing_keep_every_code(spec: Spec) -> None:
    folded = lower(spec, "fold-quantization").model
    x = sample(spec, batch=2, steps=6)
    expected = Executor(read_program(folded)).run(x)
    for step in (PruneStructure(), FuseKernel()):
        result = step.run(folded)
        folded = result.model
        attach_functions(folded)
        assert (result.effect or step.effect) is Effect.EXACT
        assert np.array_equal(Executor(read_program(folded)).run(x), expected), step.name


def test_compiling_is_deterministic() -> None:
    spec = SPECS[0]
    a, b = (ir.to_proto(lower(spec).model).SerializeToString(deterministic=True) for _ in range(2))
    assert a == b
    assert same(*(read_program(lower(spec).model) for _ in range(2)))


@pytest.mark.parametrize("step", PASSES, ids=lambda p: p.name)
def test_a_pass_says_what_it_is(step: Pass) -> None:
    assert step.name == step.name.lower().replace("_", "-")
    assert "-" in step.name
    assert type(step).__doc__
    for word in ("Before:", "After:", "Preserves:"):
        assert word in str(type(step).__doc__)
    assert step == type(step)()
    assert set(step.options()) <= set(vars(step))
