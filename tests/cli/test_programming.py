"""``ssmc program``: the folder for a laboratory."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import ssmc
from tests.targets.aimc.laboratory_executor import Laboratory


def test_the_command(model: Path, data: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    assert ssmc("compile", model, "--target", "aimc", "-o", bundle).exit_code == 0
    first = ssmc("program", bundle, "--data", data, "-o", tmp_path / "chip", "--samples", 3)
    assert first.exit_code == 0, first.output
    files = {path.name: path.read_bytes() for path in (tmp_path / "chip").iterdir()}
    assert set(json.loads(files["program.json"])["files"]) == set(files) - {"program.json"}
    cells = np.loadtxt(tmp_path / "chip" / "array-0000.csv", delimiter=",")
    assert cells == pytest.approx(np.load(tmp_path / "chip" / "conductances.npz")["0000"], rel=1e-8)
    assert ssmc("program", bundle, "--data", data, "-o", tmp_path / "chip", "--samples", 3).exit_code == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "chip").iterdir()} == files
    chip = Laboratory(tmp_path / "chip")
    vectors = np.load(tmp_path / "chip" / "vectors.npz")
    for x, length, output in zip(vectors["x"], vectors["lengths"], vectors["outputs"], strict=True):
        assert np.array_equal(chip.run(x[:length]), output)
    other = ssmc("compile", model, "-o", tmp_path / "int")
    assert other.exit_code == 0
    refused = ssmc("program", tmp_path / "int", "--data", data, "-o", tmp_path / "no")
    assert (refused.exit_code, "SSMC-U12" in refused.stderr) == (2, True)
    assert not (tmp_path / "no").exists()
