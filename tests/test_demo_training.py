"""The demo's training on a few tones: it makes the files that it promises, and its model compiles."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")

import ssmc  # noqa: E402
from examples.lib.progress import ConsoleProgress  # noqa: E402
from examples.spoken_digits.train import main  # noqa: E402
from ssmc.bundle.check import accuracy, evaluate  # noqa: E402
from ssmc.data import load_samples  # noqa: E402
from ssmc.export import export_onnx  # noqa: E402
from ssmc.qat import Mode  # noqa: E402
from ssmc.qat.observer import EpochFigures  # noqa: E402

SMALL = "--epochs 2 --qat-epochs 1 --batch 8 --layers 1 --d-model 4 --d-state 4"


def tones(path: Path) -> None:
    """Write a file like fsdd.npz: ten tones, each 12 times with another length and phase."""
    rng = np.random.default_rng(0)
    label, index = (part.ravel() for part in np.meshgrid(np.arange(10), np.arange(12)))
    lengths = rng.integers(400, 800, label.size)
    each = zip(label, lengths, strict=True)
    waves = [9000 * np.sin(0.1 * (1 + k) * np.arange(n) + rng.uniform(0, 6)) for k, n in each]
    np.savez(
        path,
        audio=np.concatenate(waves).astype(np.int16),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        label=label.astype(np.uint8),
        speaker=np.zeros(label.size, np.uint8),
        index=index,
        is_test=index < 5,
    )


def test_the_demo_training_makes_a_model_that_compiles(tmp_path, monkeypatch):
    exported = {}

    def export(model, example, path):
        exported[path.name] = model
        if path.name == "model.onnx":  # an export takes seconds; that of the float twin is not looked at
            export_onnx(model, example, path)

    monkeypatch.setattr("examples.spoken_digits.train.export_onnx", export)
    tones(tmp_path / "fsdd.npz")
    (tmp_path / "results.json").write_text('{"rows": [1], "seed": 99}')
    files = {"--data": "fsdd.npz", "--checkpoint": "checkpoint.pt", "--out": "."}
    options = [word for name, file in files.items() for word in (name, str(tmp_path / file))]
    said = CliRunner().invoke(main, [*options, *SMALL.split()], catch_exceptions=False).output
    epochs = [line.split(":")[0] for line in said.splitlines() if " epoch " in line]
    assert epochs == ["float epoch 1/2", "float epoch 2/2", "qat epoch 1/1"]
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["rows"] == [1]
    assert results["seed"] == 0
    assert results["epochs"] == {"float": 2, "qat": 1}
    assert f"--data fsdd.npz {SMALL.split(' --batch')[0]}" in results["command"]
    test = load_samples(tmp_path / "test.npz")
    assert exported.keys() == {"model.onnx", "model_float.onnx"}
    assert [model.decoder.mode for model in exported.values()] == [Mode.QUANTIZED, Mode.FLOAT]
    outputs = evaluate(ssmc.compile(tmp_path / "model.onnx", oracle=False), test)
    assert accuracy(outputs, test.label) == pytest.approx(results["accuracy"]["test"]["qat"], abs=1 / 50)


def test_progress_is_a_line_for_an_epoch_and_a_bar_on_a_terminal_alone(capsys, monkeypatch):
    progress = ConsoleProgress()
    progress.on_batch(1, 4)
    progress.on_epoch(EpochFigures("qat", 2, 5, 0.912345, 0.25, 61.2))
    assert capsys.readouterr() == ("qat epoch 2/5: val 0.9123 loss 0.2500 (61 s)\n", "")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    progress.on_batch(1, 4)
    progress.on_batch(4, 4)
    bar, erased = capsys.readouterr().err.split("\r\033[K")[1:]
    assert bar == f"[{'#' * 10}{' ' * 30}] 1/4"
    assert erased == ""
