"""One scale per column: what a crossbar makes of A, B, C and D with scales of their own."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
import pytest

import ssmc
from ssmc.errors import ModelError
from ssmc.importers.onnx_file import import_model
from ssmc.ir.executor import Executor
from ssmc.ir.kernel_nodes import kernel_constants, kernel_nodes
from ssmc.ir.read_program import read_program
from ssmc.passes.join_scales import JoinScales
from ssmc.pipeline import Effect, run_pipeline
from ssmc.targets.aimc.target import AimcTarget
from ssmc.verify import run_onnx
from tests.compiling import lower, program_of
from tests.graph_writer import Codes, Floats
from tests.graphs import Spec
from tests.separate_scales import Separate, model, sample

SYSTEMS = [
    Separate(0),
    Separate(3, channels=2, after=True, per_row=True, bias=True),
    Separate(4, channels=5, delta=True),
]


@pytest.mark.parametrize("s", SYSTEMS, ids=str)
def test_weights_of_a_column_share_a_scale(s: Separate) -> None:
    folded = lower(model(s), "fold-quantization").model
    before = kernel_constants(kernel_nodes(folded.graph)[0])
    result = JoinScales().run(folded)
    after = kernel_constants(kernel_nodes(folded.graph)[0])
    assert result.effect is Effect.BOUNDED
    assert len(result.applied) == 1
    for old, new, gain_old, gain in ((before.W, after.W, before.gain, after.gain),
                                     (before.W_y, after.W_y, before.gain_y, after.gain_y)):  # fmt: skip
        assert np.abs(new).max() <= 127
        assert (np.abs(new * gain[..., None] - old * gain_old) <= gain[..., None] * 0.5000001).all()
    assert JoinScales().run(folded).applied == ()


def test_without_scales_of_their_own_nothing_happens() -> None:
    folded = lower(Spec(seed=1), "fold-quantization").model
    result = JoinScales().run(folded)
    assert (result.applied, result.effect) == ((), Effect.EXACT)


@pytest.mark.parametrize("s", SYSTEMS, ids=str)
def test_the_ideal_chip_equals_its_lowered_graph(s: Separate, tmp_path: Path) -> None:
    onnx.save(model(s), tmp_path / "m.onnx")
    bundle = ssmc.compile(tmp_path / "m.onnx", target="aimc")
    x = sample(s)
    (expected,) = run_onnx(model(s), {"x": x})
    y = bundle.run(x)
    assert np.array_equal(y, Executor(bundle.compiled.program).run(x))
    assert np.array_equal(y.astype(np.float32), run_onnx(onnx.ModelProto.FromString(bundle.model), {"x": x})[0])
    assert np.linalg.norm(y - expected) < 0.05 * np.linalg.norm(expected)
    assert ("join-scales", "bounded") in [(p.name, p.effect) for p in bundle.report.passes]


class NearlyUnstable(Separate):
    """Poles just inside the circle beside a B that is far larger: no common grid places them all inside."""

    @cached_property
    def weights(self) -> dict[str, tuple[Codes, Floats]]:
        n = self.states
        inner, outer = np.float32((1 - 1e-6) / 127), np.float32(16 / 127)
        found = super().weights
        return found | {
            "A": (127 * np.eye(n, dtype=np.int64)[None], np.full((1, n), inner)),
            "B": (np.arange(37, 37 + 7 * n * self.inputs, 7).reshape(1, n, self.inputs), np.full((1, n), outer)),
        }


def test_what_no_width_keeps_stable_is_refused_with_a_way_out(tmp_path: Path) -> None:
    onnx.save(model(NearlyUnstable(0, states=6)), tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=r"SSMC-S10\]: scan.*compile for target int or c") as caught:
        ssmc.compile(tmp_path / "m.onnx", target="aimc")
    assert caught.value.node == "scan"
    for target in ("int", "c"):
        assert ssmc.compile(tmp_path / "m.onnx", target=target).target == target


def test_a_crossbar_takes_no_program_of_separate_scales() -> None:
    program = program_of(model(SYSTEMS[0]))
    with pytest.raises(ModelError, match=r"SSMC-Q12\]: scan.*run the pass join-scales before"):
        AimcTarget().emit(program)
    graph = run_pipeline(import_model(model(SYSTEMS[0])), AimcTarget().pipeline(), oracle=False)
    AimcTarget().emit(read_program(graph.model))
