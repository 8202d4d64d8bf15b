"""The CI jobs of examples/ci: their commands run, fail on one changed code, and say what moved."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.graphs import Spec, model

ROOT = Path(__file__).resolve().parents[1]
SPEC = Spec(seed=3)
JOBS = ("github.yml", "gitlab-ci.yml")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with a model, its test data, a baseline, the report of the main branch, and a clone of ssmc."""
    (tmp_path / "ssmc").symlink_to(ROOT)
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "ssmc"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ssmc "$@"\n')
    command.chmod(0o755)
    (tmp_path / "model.onnx").write_bytes(model(SPEC).SerializeToString())
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, 9, SPEC.features)).astype(np.float32)
    np.savez(tmp_path / "test.npz", x=x, label=rng.integers(0, SPEC.classes, 12))
    for line in (
        "compile model.onnx --target int -o main",
        "check main --data test.npz --baseline baseline.json --update",
    ):
        assert shell(tmp_path, f"ssmc {line}").returncode == 0
    return tmp_path


def shell(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    return subprocess.run(["sh", "-ec", text], cwd=folder, env=environment, capture_output=True, text=True, check=False)


def steps(job: str) -> str:
    """The lines of a job that compile, check and compare; installing and posting are the host's."""
    text = (ROOT / "examples" / "ci" / job).read_text()
    lines = [line.strip().removeprefix("- ") for line in text.splitlines()]
    return "\n".join(line for line in lines if re.match(r"(if \[ -f main|sh ssmc/)", line))


@pytest.mark.parametrize("job", JOBS)
def test_a_job_passes_and_says_that_nothing_moved(project: Path, job: str) -> None:
    done = shell(project, steps(job))
    assert done.returncode == 0, done.stderr
    assert "within the tolerances" in (project / "ci" / "diff.md").read_text()
    assert "<testsuite" in (project / "ci" / "check.xml").read_text()


@pytest.mark.parametrize("job", JOBS)
def test_a_job_fails_on_one_changed_code_and_names_what_moved(project: Path, job: str) -> None:
    proto = onnx.load(project / "model.onnx")
    weight = next(w for w in proto.graph.initializer if w.name == "dec.W.codes")
    codes = numpy_helper.to_array(weight).copy()
    codes[0, 0] += 1 if codes[0, 0] < 0 else -1
    weight.CopyFrom(numpy_helper.from_array(codes, weight.name))
    onnx.save(proto, project / "model.onnx")
    done = shell(project, steps(job))
    text = (project / "ci" / "diff.md").read_text()
    assert done.returncode == 4, done.stderr
    assert "weights.sha256" in text
    assert "### Weights" in text, text


def test_a_model_that_cannot_be_compiled_ends_the_job(project: Path) -> None:
    (project / "model.onnx").write_bytes(b"no model")
    done = shell(project, steps(JOBS[0]))
    assert done.returncode == 1
    assert "SSMC-M01" in done.stderr
