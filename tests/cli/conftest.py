"""A small quantized model, as the exporter writes it, and labelled data for it."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from ssmc.cli import cli

FEATURES, CLASSES = 3, 4


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An S4D classifier with one layer, exported to ONNX."""
    torch = pytest.importorskip("torch")
    from ssmc.export import export_onnx
    from ssmc.qat import Mode, ModelConfig, QuantConfig, S4DClassifier, calibrate, set_mode

    torch.manual_seed(0)
    config = ModelConfig(
        d_input=FEATURES, d_output=CLASSES, d_model=4, d_state=4, layers=1, dropout=0.0, quant=QuantConfig()
    )
    network = S4DClassifier(config)
    calibrate(network, [torch.randn(1, 20, FEATURES) for _ in range(4)])
    set_mode(network, Mode.QUANTIZED)
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export_onnx(network.eval(), torch.zeros(1, 20, FEATURES), path)
    return path


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve labelled sequences of different lengths."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 20, 12)
    path = tmp_path_factory.mktemp("data") / "data.npz"
    flat = rng.standard_normal((lengths.sum(), FEATURES)).astype(np.float32)
    np.savez(path, flat=flat, offsets=np.concatenate([[0], np.cumsum(lengths)]), label=rng.integers(0, CLASSES, 12))
    return path


@pytest.fixture(scope="session")
def bundles(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The model compiled for every target through the command line."""
    folder = tmp_path_factory.mktemp("bundles")
    for target in ("int", "aimc"):
        result = ssmc("compile", model, "--target", target, "-o", folder / target)
        assert result.exit_code == 0, result.output
    return {target: folder / target for target in ("int", "aimc")}


def ssmc(*arguments: object) -> Result:
    """Run the command line in this process; ``stdout``, ``stderr`` and ``exit_code`` are what a shell would see."""
    return CliRunner().invoke(cli, [str(a) for a in arguments])
