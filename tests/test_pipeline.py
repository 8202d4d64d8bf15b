"""The driver: runs passes in order, records them, and believes none of them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from ssmc.errors import ModelError, UsageError, VerificationError
from ssmc.importers.onnx_file import import_model
from ssmc.ir.build import add_constant
from ssmc.pipeline import Effect, Level, Pass, PassResult, Stage, run_pipeline
from ssmc.targets.integer.target import IntegerTarget
from ssmc.verify import deviation, run_onnx
from tests.graph_writer import Graph, signed
from tests.graphs import Spec, model, reference, sample

PASSES = IntegerTarget().pipeline()
NAMES = [step.name for step in PASSES]
SPEC = Spec(seed=1, form="delta")


@dataclass(frozen=True)
class Wrong(Pass):
    """Multiply the weights of every ``Linear``.

    Before: anything. After: something else. Preserves: nothing.
    """

    name = "scale-weights"
    effect = Effect.LOSSY
    bound = 0.9

    admits: bool = True
    claims: Effect = Effect.EXACT
    within: float | None = None
    times: int = -1

    def run(self, model: ir.Model) -> PassResult:
        for node in model.graph:
            weights = node.inputs[1].const_value if node.op_type == "Linear" and node.inputs[1] is not None else None
            if weights is not None:
                new = add_constant(model.graph, f"{node.name}.scaled", self.times * weights.numpy())
                node.replace_input_with(1, new)
        return PassResult(model, ("everywhere",) if self.admits else (), effect=self.claims, bound=self.within)


@dataclass(frozen=True)
class Regress(Pass):
    """Leave an operation of the real graph behind."""

    name = "leave-relu"

    def run(self, model: ir.Model) -> PassResult:
        output = model.graph.outputs[0]
        node = ir.node("Relu", [output], name="left.behind")
        node.outputs[0].name = "y"
        model.graph.append(node)
        model.graph.outputs[0] = node.outputs[0]
        return PassResult(model)


@dataclass(frozen=True)
class Watch(Pass):
    """Do nothing, anywhere."""

    name = "watch"

    def run(self, model: ir.Model) -> PassResult:
        return PassResult(model)


def test_every_pass_is_recorded() -> None:
    seen: list[str] = []
    result = run_pipeline(import_model(model(SPEC)), PASSES, progress=seen.append)
    assert [record.name for record in result.records] == NAMES == seen
    by_name = {record.name: record for record in result.records}
    assert by_name["raise-recurrences"].applied == ("l0.scan",)
    assert by_name["fold-batch-norm"].applied == ("l0.bn",)
    assert by_name["fuse-kernel"].applied == ("l0.scan",)
    assert all(record.effect is Effect.EXACT for record in result.records)
    assert all(record.deviation == 0.0 for record in result.records)
    assert all(record.ms >= 0 for record in result.records)


def test_without_the_oracle_there_is_no_deviation() -> None:
    result = run_pipeline(import_model(model(SPEC)), PASSES, oracle=False)
    assert {record.deviation for record in result.records} == {None}


def test_what_was_declined_is_recorded() -> None:
    result = run_pipeline(import_model(model(Spec(after=True))), PASSES)
    (declined,) = result.records[-1].declined
    assert declined.node == "l0.scan"
    assert declined.reason


@pytest.mark.parametrize("name", NAMES)
def test_stop_after(name: str) -> None:
    result = run_pipeline(import_model(model(SPEC)), PASSES, oracle=False, stop_after=name)
    assert [record.name for record in result.records] == NAMES[: NAMES.index(name) + 1]
    x = sample(SPEC)
    assert np.array_equal(run_onnx(result.model, {"x": x})[0], reference(SPEC, x))


def test_stop_after_an_unknown_pass() -> None:
    with pytest.raises(UsageError) as caught:
        run_pipeline(import_model(model(SPEC)), PASSES, stop_after="fuse")
    assert (caught.value.code, caught.value.exit_status) == ("SSMC-U03", 2)
    assert "fuse-kernel" in caught.value.remedy


def test_every_dumped_stage_runs_on_its_own(tmp_path: Path) -> None:
    run_pipeline(import_model(model(SPEC)), PASSES, oracle=False, dump_dir=tmp_path / "new" / "folder")
    files = sorted((tmp_path / "new" / "folder").iterdir())
    assert [f.name for f in files] == [f"{i:02d}-{name}.onnx" for i, name in enumerate(NAMES)]
    x = sample(SPEC)
    for file in files:
        proto = onnx.load(file)
        onnx.checker.check_model(proto)
        assert np.array_equal(run_onnx(proto, {"x": x})[0], reference(SPEC, x))


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(UsageError) as caught:
        run_pipeline(import_model(model(SPEC)), PASSES, oracle=False, dump_dir=blocked)
    assert (caught.value.code, caught.value.exit_status, caught.value.node) == ("SSMC-U04", 2, str(blocked))


def test_an_observer_sees_every_graph_and_how_far_it_is_lowered() -> None:
    seen: list[Stage] = []
    result = run_pipeline(import_model(model(SPEC)), (Watch(), *PASSES, Watch()), oracle=False, after=seen.append)
    levels = [stage.level.value for stage in seen]
    assert levels == ["imported", *["canonical"] * 4, *["folded"] * 2, *["fused"] * 2]
    assert result.level is Level.FUSED
    assert [bool(stage.witnesses) for stage in seen] == [index == 5 for index in range(len(seen))]


@pytest.mark.parametrize("admits", [True, False])
def test_a_wrong_pass_is_caught(admits: bool) -> None:
    """Also one that says it did nothing."""
    with pytest.raises(VerificationError) as caught:
        run_pipeline(import_model(model(SPEC)), (*PASSES[:5], Wrong(admits)))
    assert (caught.value.code, caught.value.exit_status, caught.value.node) == ("SSMC-V01", 3, "scale-weights")


def test_a_pass_that_may_change_numbers_is_recorded_instead() -> None:
    record = run_pipeline(import_model(model(SPEC)), (*PASSES[:5], Wrong(claims=Effect.LOSSY))).records[-1]
    assert record.deviation is not None
    assert record.deviation > 0.05
    assert record.moved is not None
    assert record.moved > 0.05
    assert record.bound is None


@pytest.mark.parametrize("pool", ["mean", "last", "none"])
def test_a_bounded_pass_that_zeroes_every_matrix_is_refused(pool: str) -> None:
    """A constant output is moved by 1 at least, also where a bias hides it from the largest deviation."""
    passes = (*PASSES[:5], Wrong(claims=Effect.BOUNDED, times=0))
    with pytest.raises(VerificationError) as caught:
        run_pipeline(import_model(model(replace(SPEC, pool=pool))), passes)
    assert (caught.value.code, caught.value.exit_status, caught.value.node) == ("SSMC-V05", 3, "scale-weights")
    found = re.search(r"by ([\d.]+) of its spread \(rms\), its bound is 0\.9", caught.value.fact)
    assert found is not None
    assert float(found[1]) >= 1


def test_a_bounded_pass_within_its_bound_is_recorded_with_it() -> None:
    zero = Wrong(claims=Effect.BOUNDED, times=1, within=0.5)
    record = run_pipeline(import_model(model(SPEC)), (*PASSES[:5], zero)).records[-1]
    assert (record.effect, record.moved, record.bound) == (Effect.BOUNDED, 0.0, 0.5)
    unseen = run_pipeline(import_model(model(SPEC)), (*PASSES[:5], Wrong(claims=Effect.BOUNDED)), oracle=False)
    assert (unseen.records[-1].moved, unseen.records[-1].bound) == (None, 0.9)


@pytest.mark.parametrize(
    ("declared", "claimed", "within"),
    [(Effect.EXACT, Effect.BOUNDED, None), (Effect.BOUNDED, Effect.LOSSY, None), (Effect.BOUNDED, None, 0.91)],
)
def test_a_result_may_not_claim_more_than_its_class(
    declared: Effect, claimed: Effect | None, within: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Wrong, "effect", declared)
    with pytest.raises(VerificationError, match=r"SSMC-V06.*scale-weights: the result is"):
        run_pipeline(import_model(model(SPEC)), (*PASSES[:5], Wrong(claims=claimed, within=within)), oracle=False)  # type: ignore[arg-type]


def test_a_pass_that_leaves_an_illegal_operation_is_blamed_not_the_model() -> None:
    with pytest.raises(VerificationError) as caught:
        run_pipeline(import_model(model(SPEC)), (*PASSES[:5], Watch(), Regress(), PASSES[5]), oracle=False)
    assert (caught.value.code, caught.value.node) == ("SSMC-L01", "leave-relu")
    assert "Relu (left.behind)" in caught.value.fact


def test_a_pass_is_not_run_on_a_graph_of_another_level() -> None:
    with pytest.raises(UsageError) as caught:
        run_pipeline(import_model(model(SPEC)), (PASSES[0], PASSES[-1]), oracle=False)
    assert (caught.value.code, caught.value.exit_status, caught.value.node) == ("SSMC-P01", 2, "fuse-kernel")
    assert "requires level folded, the graph is at level canonical" in caught.value.fact


def test_a_graph_of_another_level_is_not_imported() -> None:
    folded = run_pipeline(import_model(model(SPEC)), PASSES[:5], oracle=False).model
    with pytest.raises(ModelError, match="SSMC-L02"):
        run_pipeline(folded, PASSES[5:], oracle=False)


@pytest.mark.parametrize("scale", [2.0**-12, 2.0**-5, 16.0])
def test_the_oracle_drives_models_of_any_input_range(scale: float) -> None:
    """A wrong pass is seen whether the model takes volts or raw 16-bit samples."""
    g = Graph()
    u = g.quant("x", signed(8, scale), "u")
    total = g.op("MatMul", u, g.const([[1.0, 2.0], [-1.0, 1.0]]))
    proto = g.finish(2, g.quant(total, signed(8, 2 * scale), "out"), ("batch", "time", 2))
    run_pipeline(import_model(proto), PASSES)
    with pytest.raises(VerificationError):
        run_pipeline(import_model(proto), (*PASSES[:5], Wrong()))


def test_a_model_that_divides_by_zero_is_not_our_fault() -> None:
    nan, inf = float("nan"), float("inf")
    before = np.array([[1.0, nan, inf, -2.0]], np.float32)
    assert deviation(before, before) == 0
    assert deviation(before, np.array([[nan, 0.0, inf, -1.0]], np.float32)) == 0.5
    assert deviation(before, np.array([[1.0, nan, 0.0, -2.0]], np.float32)) == inf
    assert deviation(before, np.full((1, 4), nan, np.float32)) == inf
    assert deviation(np.full((1, 4), nan, np.float32), before) == 0
