"""An output per step is kept whole by `ssmc run` and `ssmc check`; accuracy is that of the last step."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import ssmc
from ssmc.bundle.check import accuracy, evaluate, evaluate_steps, last_steps, measure
from ssmc.cli import cli
from ssmc.data import Samples
from ssmc.importers.onnx_file import import_model
from tests.graphs import Spec, model

LENGTHS = np.array([5, 9, 1, 7])


def samples(seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    flat = rng.standard_normal((int(LENGTHS.sum()), 2)).astype(np.float32)
    return Samples(flat, np.concatenate([[0], np.cumsum(LENGTHS)]), rng.integers(0, 3, len(LENGTHS)))


def per_step() -> ssmc.Bundle:
    return ssmc.compile(import_model(model(Spec(pool="none"))), oracle=False)


def test_steps_beyond_the_end_are_nan_and_the_last_true_one_counts() -> None:
    bundle, data = per_step(), samples()
    y = evaluate_steps(bundle, data)
    assert y.shape == (4, 9, 3)
    for row, length in enumerate(LENGTHS):
        alone = bundle.run(data.sequence(row)[None])[0]
        assert np.array_equal(y[row, :length], alone)
        assert np.isnan(y[row, length:]).all()
    assert np.array_equal(last_steps(y, LENGTHS), evaluate(bundle, data))
    assert data.label is not None
    assert measure(bundle, data, y)["accuracy"] == accuracy(evaluate(bundle, data), data.label)


def test_the_digest_sees_every_true_step_and_no_other() -> None:
    bundle, data = per_step(), samples()
    y = evaluate_steps(bundle, data)
    digest = measure(bundle, data, y)["outputs.sha256"]
    earlier, beyond = y.copy(), y.copy()
    earlier[1, 0, 0] += 1
    beyond[0, 8] = 0
    assert measure(bundle, data, earlier)["outputs.sha256"] != digest
    assert measure(bundle, data, beyond)["outputs.sha256"] == digest


def test_run_writes_every_step(tmp_path: Path) -> None:
    from click.testing import CliRunner

    bundle, data = per_step(), samples()
    bundle.save(tmp_path / "b")
    np.savez(tmp_path / "x.npz", flat=data.flat, offsets=data.offsets, label=data.label)
    command = ["run", str(tmp_path / "b"), "--data", str(tmp_path / "x.npz"), "-o", str(tmp_path / "y.npz")]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.output
    assert "at the last step" in done.output
    with np.load(tmp_path / "y.npz") as file:
        assert np.array_equal(file["output"], evaluate_steps(bundle, data), equal_nan=True)
        assert np.array_equal(file["lengths"], LENGTHS)
        assert np.array_equal(file["prediction"], evaluate(bundle, data).argmax(-1))
