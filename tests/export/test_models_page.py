"""The example of docs/models.md: exported by the command line, quantized, compiled."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

import ssmc
from ssmc.cli import cli
from ssmc.data import Samples
from ssmc.quantize.model import quantize
from ssmc.verify import run_onnx

torch = pytest.importorskip("torch")

from ssmc.export import adapters  # noqa: E402 - after the torch skip

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
CODE = re.findall(r"^`network.py`:\n\n```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0]


@pytest.fixture
def exported(tmp_path, monkeypatch):
    """File and output of the command."""
    monkeypatch.setattr(adapters, "_registered", {})
    (tmp_path / "network.py").write_text(CODE)
    torch.manual_seed(0)
    arguments = ["export", f"{tmp_path / 'network.py'}:build", "--example", "2,40,3", "-o", str(tmp_path / "m.onnx")]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    return tmp_path / "m.onnx", done.stdout


def test_the_example_is_exported_as_the_page_says_and_stays_close_at_8_bits(exported, tmp_path) -> None:
    path, printed = exported
    shown = re.findall(r"^(layers\.\d +\S+ +\S+ +\d+) +\S+ *(.*)$", PAGE, re.MULTILINE)
    assert len(shown) == 2
    assert shown == re.findall(r"^(layers\.\d +\S+ +\S+ +\d+) +\S+ *(.*)$", printed, re.MULTILINE)
    x = np.random.default_rng(0).standard_normal((12, 60, 3)).astype(np.float32)
    onnx.save(quantize(path, Samples(x[:8].reshape(-1, 3), np.arange(9) * 60)).model, tmp_path / "q.onnx")
    wanted = run_onnx(onnx.load(path), {"x": x[8:]})[0]
    found = ssmc.compile(tmp_path / "q.onnx", target="int").run(x[8:])
    assert np.sqrt(np.mean((found - wanted) ** 2) / np.mean(wanted**2)) <= 0.03


@pytest.mark.parametrize("name", adapters.ADAPTERS)
def test_the_page_lists_every_adapter(name) -> None:
    assert f"| `{name}` |" in PAGE or name == "mamba"
