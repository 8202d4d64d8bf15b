"""The driver: runs passes in order, records them, and believes none of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from ssmc.errors import ModelError, UsageError, VerificationError
from ssmc.importers.onnx_file import import_model
from ssmc.ir.build import add_constant
from ssmc.pipeline import Effect, Pass, PassResult, run_pipeline
from ssmc.targets.integer.target import IntegerTarget
from ssmc.verify import run_onnx
from tests.graph_writer import Graph, signed
from tests.graphs import Spec, model, reference, sample

PASSES = IntegerTarget().pipeline()
NAMES = [step.name for step in PASSES]
SPEC = Spec(seed=1, form="delta")


@dataclass(frozen=True)
class Wrong(Pass):
    """Flip one weight of the first matrix.

    Before: anything. After: something else. Preserves: nothing.
    """

    admits: bool = True
    as_effect: Effect = Effect.EXACT

    @property
    def name(self) -> str:
        return "flip-weights"

    @property
    def effect(self) -> Effect:
        return self.as_effect

    @property
    def level(self) -> str:
        return "folded"

    def run(self, model: ir.Model) -> PassResult:
        node = next(n for n in model.graph if n.op_type == "Linear")
        weights = node.inputs[1]
        assert weights is not None
        assert weights.const_value is not None
        node.replace_input_with(1, add_constant(model.graph, "flipped", -weights.const_value.numpy()))
        return PassResult(model, (node.name or "",) if self.admits else ())


@dataclass(frozen=True)
class Regress(Pass):
    """Leave an operation of the real graph behind."""

    @property
    def name(self) -> str:
        return "leave-relu"

    @property
    def level(self) -> str:
        return "folded"

    def run(self, model: ir.Model) -> PassResult:
        output = model.graph.outputs[0]
        node = ir.node("Relu", [output], name="left.behind")
        node.outputs[0].name = "y"
        model.graph.append(node)
        model.graph.outputs[0] = node.outputs[0]
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


def test_observers_see_the_graph_after_their_pass() -> None:
    seen: dict[str, int] = {}
    watch = {name: (lambda graph, name=name: seen.update({name: len(list(graph.graph))})) for name in NAMES[:2]}
    run_pipeline(import_model(model(SPEC)), PASSES, oracle=False, after=watch)
    assert list(seen) == NAMES[:2]
    assert all(seen.values())


@pytest.mark.parametrize("admits", [True, False])
def test_a_wrong_pass_is_caught(admits: bool) -> None:
    """Also one that says it did nothing."""
    with pytest.raises(VerificationError) as caught:
        run_pipeline(import_model(model(SPEC)), (*PASSES[:5], Wrong(admits)))
    assert (caught.value.code, caught.value.exit_status, caught.value.node) == ("SSMC-V01", 3, "flip-weights")


def test_a_pass_that_may_change_numbers_is_recorded_instead() -> None:
    result = run_pipeline(import_model(model(SPEC)), (*PASSES[:5], Wrong(as_effect=Effect.LOSSY)))
    deviation = result.records[-1].deviation
    assert deviation is not None
    assert deviation > 0.05


def test_a_pass_that_leaves_an_illegal_operation_is_caught() -> None:
    with pytest.raises(ModelError) as caught:
        run_pipeline(import_model(model(SPEC)), (*PASSES[:5], Regress()), oracle=False)
    assert (caught.value.code, caught.value.node) == ("SSMC-L01", "left.behind")
    assert "leave-relu" in caught.value.fact


def test_an_illegal_operation_is_caught_where_the_pass_should_have_removed_it() -> None:

    with pytest.raises(ModelError) as caught:
        run_pipeline(import_model(model(SPEC)), (PASSES[0], PASSES[-1]), oracle=False)
    assert caught.value.code == "SSMC-L01"


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
