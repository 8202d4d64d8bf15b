"""A package of somebody else adds a pass, a target and a preset: docs/extending.md, as it stands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from ssmc.cli import cli
from tests.graphs import Spec
from tests.graphs import model as model_of

ROOT = Path(__file__).parents[2]
PACKAGE = Path(__file__).parent / "package"
FILES = ["pyproject.toml", *sorted(f"ssmc_vector/{path.name}" for path in PACKAGE.glob("ssmc_vector/*.*"))]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^`([\w./]+)`[^\n]*:\n\n```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, installed by pip into a folder of its own."""
    if find_spec("pip") is None or find_spec("setuptools") is None:
        pytest.skip("pip and setuptools are not installed")
    folder = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source")
    (source / "ssmc_vector").mkdir()
    for name in FILES:
        (source / name).write_bytes((PACKAGE / name).read_bytes())
    options = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check")
    subprocess.run([sys.executable, "-m", "pip", "install", *options, "--target", folder, source], check=True)
    return folder


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """With the package on the path; ``undo`` takes it away."""
    monkeypatch.syspath_prepend(site)
    yield monkeypatch
    for name in [name for name in sys.modules if name.split(".")[0] == "ssmc_vector"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def sums(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with ``Sum``, which ssmc does not know without the package's pass."""
    proto = model_of(Spec())
    for node in proto.graph.node:
        node.op_type = "Sum" if node.op_type == "Add" else node.op_type
    path = tmp_path_factory.mktemp("model") / "sums.onnx"
    onnx.save(proto, path)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "data.npz"
    rng = np.random.default_rng(0)
    np.savez(path, x=rng.standard_normal((6, 9, 2)).astype(np.float32), label=rng.integers(0, 3, 6))
    return path


@pytest.fixture(scope="module")
def bundle(site: Path, sums: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled as a user does it: a process of its own that finds the package on its path."""
    out = tmp_path_factory.mktemp("bundle") / "out"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(site)])}
    command = [sys.executable, "-m", "ssmc", "compile", sums, "-t", "vector", "--option", "lanes=8", "-o", out]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return out


def ssmc(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments])


def done(*arguments: object) -> str:
    result = ssmc(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def fails(code: str, *arguments: object) -> str:
    result = ssmc(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith(f"error[SSMC-{code}]: ")
    return result.stderr


def test_the_page_shows_the_package_as_it_is() -> None:
    assert sorted(BLOCKS) == FILES
    for name, block in BLOCKS.items():
        text = (PACKAGE / name).read_text(encoding="utf-8")
        assert text.startswith(block) if name.endswith(".toml") else text == block, name


@pytest.mark.usefixtures("installed")
def test_the_command_line_lists_what_the_package_adds() -> None:
    assert re.search(r"^vector +Integer program on a vector unit.* lanes=4", done("targets"), re.MULTILINE)
    assert re.search(r"^tiny32 +32x32 arrays", done("hardware", "list"), re.MULTILINE)
    assert done("passes", "--target", "vector").splitlines()[2].startswith("sums-to-adds")
    assert "array.rows" in done("hardware", "show", "tiny32")


@pytest.mark.usefixtures("installed")
def test_the_bundle_runs_reports_and_is_gated(bundle: Path, sums: Path, data: Path, tmp_path: Path) -> None:
    assert re.search(r"sums-to-adds +exact +4", done("report", bundle))
    report = json.loads(done("report", bundle, "--json"))
    assert report["target"] == {"name": "vector", "lanes": "8", "hardware": "tiny32"}
    assert report["cost"]["latency_per_step_ns"] == -(-report["cost"]["macs_per_step"] // 8) * 10
    assert "StateSpace" in done("inspect", bundle)
    done("check", bundle, "--data", data, "--baseline", tmp_path / "b.json", "--update")
    assert "within tolerance" in done("check", bundle, "--data", data, "--baseline", tmp_path / "b.json")
    done("run", bundle, "--data", data, "-o", tmp_path / "y.npz")
    proto = onnx.load(sums)
    for node in proto.graph.node:
        node.op_type = "Add" if node.op_type == "Sum" else node.op_type
    onnx.save(proto, tmp_path / "adds.onnx")
    done("compile", tmp_path / "adds.onnx", "--no-oracle", "-o", tmp_path / "int")
    done("run", tmp_path / "int", "--data", data, "-o", tmp_path / "y_int.npz")
    assert (tmp_path / "y.npz").read_bytes() == (tmp_path / "y_int.npz").read_bytes()


@pytest.mark.usefixtures("installed")
def test_the_preset_is_one_for_every_target(tmp_path: Path) -> None:
    onnx.save(model_of(Spec()), tmp_path / "m.onnx")
    done("compile", tmp_path / "m.onnx", "-t", "aimc", "--hardware", "tiny32", "--no-oracle", "-o", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "program.json").read_text())["program"]["hardware"]["name"] == "tiny32"


@pytest.mark.usefixtures("installed")
def test_options_are_read_as_their_types_say(sums: Path, tmp_path: Path) -> None:
    compile_ = ("compile", sums, "-o", tmp_path / "out")
    for_vector, for_aimc = (*compile_, "-t", "vector"), (*compile_, "-t", "aimc")
    assert "give a whole number" in fails("U16", *for_vector, "--option", "lanes=four")
    assert "--option lanes has no value" in fails("U16", *for_vector, "--option", "lanes")
    assert "is given twice" in fails("U16", *for_vector, "--hardware", "tiny32", "--option", "hardware=taox64")
    assert "its options are lanes, hardware" in fails("U11", *for_vector, "--option", "lane=4")
    assert "give auto or analog or analog-split or" in fails("U16", *for_aimc, "--option", "place=somewhere")
    assert "no target is named 'vectors'" in fails("U10", *compile_, "-t", "vectors")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("installed")
def test_the_adapter_is_asked_about_every_layer() -> None:
    torch = pytest.importorskip("torch")
    from ssmc.export.swapping import swap_layers

    class LeakyAverage(torch.nn.Module):  # type: ignore[misc]
        decay = torch.tensor([0.5, 0.9])

        def forward(self, u: torch.Tensor) -> torch.Tensor:
            lag = torch.arange(u.shape[1])[:, None] - torch.arange(u.shape[1])
            weights = (1 - self.decay) * self.decay ** lag.clamp(0)[..., None] * (lag >= 0)[..., None]
            return torch.einsum("tsh,nsh->nth", weights, u)

    _, swaps = swap_layers(torch.nn.Sequential(LeakyAverage()), (torch.zeros(1, 5, 2),))
    assert [(swap.layer, swap.adapter) for swap in swaps] == [("0", "leaky")]
    assert swaps[0].error < 1e-5


def test_without_the_package_the_bundle_says_what_is_missing(
    bundle: Path, data: Path, installed: pytest.MonkeyPatch
) -> None:
    done("run", bundle, "--data", data)
    installed.undo()
    for arguments in (("run", bundle, "--data", data), ("report", bundle), ("inspect", bundle)):
        line = fails("U10", *arguments)
        assert "target 'vector' of package 'ssmc-vector' 0.1, which is not installed; install it" in line
    assert "tiny32" not in done("hardware", "list")
