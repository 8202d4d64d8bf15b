"""``ssmc noise --dask``: the chips of a cluster are those of this machine."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import ssmc
from ssmc import cluster
from ssmc.targets.aimc.target import AimcTarget
from tests.cli.conftest import ssmc as run
from tests.graphs import Spec, model, sample

SPEC = Spec(seed=3)


def test_a_cluster_simulates_the_same_chips(tmp_path: Path, cluster: str) -> None:
    (tmp_path / "model.onnx").write_bytes(model(SPEC).SerializeToString())
    ssmc.compile(tmp_path / "model.onnx", AimcTarget(hardware="hermes64", place="analog", packing="multiplexed")).save(
        tmp_path / "out"
    )
    x = sample(SPEC, 12)
    np.savez(tmp_path / "d.npz", x=x, label=np.random.default_rng(0).integers(0, SPEC.classes, len(x)))
    common = ["noise", tmp_path / "out", "--data", tmp_path / "d.npz", "--chips", 3, "--times", "0,1d", "--json"]
    here = run(*common, tmp_path / "here.json")
    there = run(*common, tmp_path / "there.json", "--dask", cluster)
    assert here.exit_code == there.exit_code == 0, there.output
    assert json.loads((tmp_path / "here.json").read_text()) == json.loads((tmp_path / "there.json").read_text())


def test_no_scheduler_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(cluster, "PATIENCE", "1s")
    (tmp_path / "model.onnx").write_bytes(model(SPEC).SerializeToString())
    ssmc.compile(tmp_path / "model.onnx", AimcTarget()).save(tmp_path / "out")
    np.savez(tmp_path / "d.npz", x=sample(SPEC, 2))
    refused = run("noise", tmp_path / "out", "--data", tmp_path / "d.npz", "--dask", "tcp://127.0.0.1:1")
    assert refused.exit_code == 2
    assert refused.stderr.startswith("error[SSMC-W05]")
