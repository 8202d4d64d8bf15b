"""A bundle that is not what was written is refused by file, whatever was changed in it."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ssmc
from ssmc.bundle.folder import own_digest
from ssmc.errors import UsageError
from ssmc.importers.onnx_file import import_model
from ssmc.npz import npz_bytes, read_npz
from tests.fuzzing.seeds import SPECS
from tests.graph_writer import unsigned
from tests.graphs import model, sample
from tests.importers.refusing import end, start


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    bundle = ssmc.compile(import_model(model(SPECS[1])), oracle=False)
    return bundle.save(tmp_path / "bundle")


def _refused(folder: Path) -> str:
    with pytest.raises(UsageError) as caught:
        ssmc.load(folder)
    assert caught.value.code == "SSMC-B04"
    return str(caught.value)


def _rewrite(folder: Path, name: str, data: bytes) -> None:
    """Put a file in, with digests that fit."""
    (folder / name).write_bytes(data)
    whole = json.loads((folder / "program.json").read_bytes())
    whole["files"][name] = hashlib.sha256(data).hexdigest()
    whole["sha256"] = own_digest(whole)
    (folder / "program.json").write_text(json.dumps(whole))


def test_any_changed_field_of_the_program_is_found(folder: Path) -> None:
    whole = json.loads((folder / "program.json").read_bytes())
    changes: list[dict[str, Any]] = [
        {"target": "c"},
        {"files": {}},
        {"sha256": "00"},
        {"program": {**whole["program"], "output_size": 3}},
        {"program": {**whole["program"], "ops": whole["program"]["ops"][:-1]}},
    ]
    for change in changes:
        (folder / "program.json").write_text(json.dumps({**whole, **change}))
        assert "program.json: the file is not the one that was written" in _refused(folder)
    (folder / "program.json").write_text(json.dumps(whole))
    ssmc.load(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [("passes", [{"name": 1}]), ("ops", "x"), ("cost", []), ("cost", {"steps": "x"}), ("ssmc", None), ("kernels", [3])],
)
def test_a_report_whose_fields_are_of_another_type_is_named(folder: Path, field: str, value: object) -> None:
    report = json.loads((folder / "report.json").read_bytes())
    _rewrite(folder, "report.json", json.dumps({**report, field: value}).encode())
    assert "report.json" in _refused(folder)


def test_arrays_of_another_shape_or_dtype_are_refused(folder: Path) -> None:
    arrays = read_npz((folder / "weights.npz").read_bytes())
    key = next(key for key, array in arrays.items() if key.endswith("matrix/codes"))
    for other in (arrays[key][..., :-1], arrays[key][None], arrays[key].astype(float), np.zeros(0, np.int8)):
        _rewrite(folder, "weights.npz", npz_bytes(arrays | {key: other}))
        _refused(folder)
    _rewrite(folder, "weights.npz", npz_bytes(arrays))
    ssmc.load(folder)


def test_a_pipe_in_the_place_of_a_file_is_not_read(folder: Path) -> None:
    (folder / "weights.npz").unlink()
    os.mkfifo(folder / "weights.npz")
    assert "no regular file" in _refused(folder)


def test_names_of_any_kind_are_written_and_read(tmp_path: Path) -> None:
    g, u = start("round")
    odd = g.quant(g.op("Relu", u), unsigned(4, 0.25), "a\0b/../../c" + "n" * 300)
    bundle = ssmc.compile(import_model(end(g, odd)), oracle=False)
    loaded = ssmc.load(bundle.save(tmp_path / "odd"))
    x = sample(SPECS[1])
    assert np.array_equal(loaded.run(x), bundle.run(x))
