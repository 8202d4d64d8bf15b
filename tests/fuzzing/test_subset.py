"""The fuzzer on a few inputs, and that it sees the faults that it looks for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.fuzzing import seeds
from tests.fuzzing.__main__ import inputs
from tests.fuzzing.commands import Fault, Shell
from tests.fuzzing.judge import judge
from tests.fuzzing.kinds import KINDS

ROOT = Path(__file__).resolve().parents[2]


def test_some_inputs_of_every_kind(tmp_path: Path) -> None:
    """In a process of its own: a process with threads must not fork."""
    command = [sys.executable, "-m", "tests.fuzzing", "--inputs", "40", "--start", "12", "--jobs", "1", "--keep", "k"]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("40 inputs (")
    assert "0 faults of 0 kinds" in done.stdout


def test_the_same_start_gives_the_same_inputs_of_all_kinds() -> None:
    def first(start: int) -> list[tuple[object, bytes]]:
        chosen = [one for one, _ in zip(inputs(start, list(KINDS)), range(30), strict=False)]
        return [(one, one.data()) for one in chosen]

    again = first(3)
    assert first(3) == again
    assert first(4) != again
    assert {one.kind for one, _ in again} == {kind.name for kind in KINDS}  # type: ignore[attr-defined]


@pytest.mark.parametrize("index", [0, 7, 8])
def test_a_sound_model_is_judged_right(index: int) -> None:
    judge(seeds.quantized_models()[index])


def test_the_judge_compares_behind_a_softmax() -> None:
    model = onnx.load_model_from_string(seeds.quantized_models()[7])
    output = model.graph.output[0].name
    maker = next(node for node in model.graph.node if output in node.output)
    maker.output[0] = "logits"
    model.graph.node.append(onnx.helper.make_node("Softmax", ["logits"], [output], "softmax"))
    judge(model.SerializeToString())


def test_the_judge_sees_another_value(monkeypatch: pytest.MonkeyPatch) -> None:
    from ssmc.ir.operations import Linear

    right = Linear.apply
    monkeypatch.setattr(Linear, "apply", lambda self, x: right(self, x) + (np.abs(x).max() > 100))
    with pytest.raises(Fault, match="wrong value"):
        judge(seeds.quantized_models()[7])


def test_the_shell_sees_what_must_not_happen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shell = Shell(tmp_path)
    assert shell.run("targets") == 0
    assert shell.run("targets", "--colour") == 2
    with pytest.raises(Fault, match="half-written"):
        shell.run("hardware", "new", tmp_path / "left.toml")
    monkeypatch.setattr("ssmc.report.text.columns", lambda *rows: 1 // 0)
    with pytest.raises(Fault, match="status 70 ZeroDivisionError"):
        shell.run("targets")
