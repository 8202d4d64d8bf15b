"""Pages whose blocks run as they are written."""

from __future__ import annotations

import re
import runpy
import textwrap
from pathlib import Path

import numpy as np
import onnx
import pytest

from ssmc.data import Samples, load_samples
from ssmc.quantize.model import quantize
from ssmc.verify import run_onnx
from tests.pages import RECORDINGS, ROOT, run_console, run_page
from tests.quantize.floats import float_model

torch = pytest.importorskip("torch")
TUTORIALS = sorted(f"tutorials/{page.name}" for page in (ROOT / "docs" / "tutorials").glob("*.md"))
PAGES = ["onnx-examples.md", "training.md", *TUTORIALS]
#: pages whose commands take the reader's own files, or the demo's, in whose place a small model stands here
COMMANDS = ["README.md", "docs/bundle.md", "docs/hardware.md", "docs/quantize.md", "docs/reduce.md", "docs/sweep.md"]
TRAIN = """
from ssmc.qat import ModelConfig, S4DClassifier, calibrate
import torch

def build():
    model = S4DClassifier(ModelConfig(d_input=32, d_output=3, d_model=2, d_state=2, layers=1))
    calibrate(model, [torch.ones(2, 4, 32)])
    return model
"""
POINTS = """schema = "ssmc.sweep/1"
[base]
model = "model.onnx"
data = "test.npz"
[grid]
"adc.columns_per_adc" = [8, 16]
"""


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten of the 300 recordings, one of each digit: every page calls the same commands in less time."""
    whole = load_samples(ROOT / RECORDINGS)
    path = tmp_path_factory.mktemp("data") / "test.npz"
    rows = range(0, len(whole), 30)
    starts = whole.offsets
    parts = [whole.flat[starts[row] : starts[row + 1]] for row in rows]
    offsets = np.cumsum([0, *map(len, parts)])
    assert whole.label is not None
    np.savez(path, flat=np.concatenate(parts), offsets=offsets, label=whole.label[list(rows)])
    return path


@pytest.mark.parametrize("name", PAGES)
def test_a_page_does_what_it_shows(name: str, tmp_path: Path, few: Path) -> None:
    run_page(ROOT / "docs" / name, tmp_path, few)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with a reader's files."""
    proto = float_model(0, 2, 2)
    onnx.save(proto, tmp_path / "model_float.onnx")
    x = np.random.default_rng(0).standard_normal((6, 12, 3)).astype(np.float32)
    np.savez(tmp_path / "calib.npz", x=x)
    np.savez(tmp_path / "test.npz", x=x, label=run_onnx(proto, {"x": x})[0].argmax(-1))
    given = Samples(x.reshape(-1, 3), np.arange(7) * 12)
    onnx.save(quantize(tmp_path / "model_float.onnx", given).model, tmp_path / "model.onnx")
    (tmp_path / "points.toml").write_text(POINTS)
    (tmp_path / "train.py").write_text(TRAIN)
    return tmp_path


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_a_page_runs(name: str, own: Path) -> None:
    text = (
        (ROOT / name)
        .read_text()
        .replace(RECORDINGS, "test.npz")
        .replace("examples/spoken_digits/model.onnx", "model.onnx")
    )
    for kind, block in re.findall(r"^ *```(\w+)\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL):
        body = textwrap.dedent(block)
        if kind == "toml" and "ssmc.sweep/1" in body:
            (own / "converters.toml").write_text(body)
        elif kind == "console" and "best.pt" in body:
            (own / "model.onnx").rename(own / "kept.onnx")
            torch.save(runpy.run_path(str(own / "train.py"))["build"]().state_dict(), own / "best.pt")
            run_console(body, own)
            (own / "kept.onnx").rename(own / "model.onnx")
        elif kind == "console":
            run_console(body, own)
