"""What is installed is what is here, and starting it costs nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, check=True)


def packages() -> set[str]:
    """Every folder with an ``__init__.py``, by its import name."""
    found = {path.parent for top in ("ssmc", "passes", "targets") for path in (ROOT / top).rglob("__init__.py")}
    names = {".".join(path.relative_to(ROOT).parts) for path in found}
    return {name if name.split(".")[0] == "ssmc" else f"ssmc.{name}" for name in names}


def test_every_package_is_listed() -> None:
    assert set(PYPROJECT["tool"]["setuptools"]["packages"]) == packages()


@pytest.mark.parametrize("name", ["passes", "targets"])
def test_the_links_resolve(name: str) -> None:
    link = ROOT / "ssmc" / name
    assert link.is_symlink()
    assert link.resolve() == ROOT / name


def test_every_data_file_is_packaged() -> None:
    patterns = [p for group in PYPROJECT["tool"]["setuptools"]["package-data"].values() for p in group]
    files = [path for top in ("ssmc", "passes", "targets") for path in (ROOT / top).rglob("*") if path.is_file()]
    for path in files:
        if path.suffix != ".py" and "__pycache__" not in path.parts:
            assert any(path.match(p) for p in patterns), f"{path.relative_to(ROOT)} would not be installed"


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from ssmc.cli import cli; cli.main(['--help'], prog_name='ssmc')"
    listing = python("-X", "importtime", "-c", code).stderr
    imported = {line.rsplit("|", 1)[-1].strip() for line in listing.splitlines()}
    assert "ssmc.cli.compiling" in imported
    assert not imported & {
        "torch",
        "onnxruntime",
        "matplotlib",
        "onnx",
        "onnx_ir",
        "numpy",
        "scipy",
        "networkx",
        "numba",
    }


def test_the_package_needs_no_torch() -> None:
    assert not any(name.startswith("torch") for name in PYPROJECT["project"]["dependencies"])
    code = "import sys; sys.modules['torch'] = None; import ssmc.bundle; from ssmc.bundle.registry import *; "
    python("-c", code + "[target_class(name) for name in TARGETS]")


def test_every_error_code_is_documented_and_every_documented_code_exists() -> None:
    sources = [path for top in ("ssmc", "passes", "targets") for path in (ROOT / top).rglob("*.py")]
    raised = {code for path in sources for code in re.findall(r"SSMC-[A-Z]\d\d", path.read_text())}
    listed = set(re.findall(r"^\| `(SSMC-[A-Z]\d\d)`", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE))
    assert listed == raised
