"""What is installed is what is here, and starting it costs nothing."""

from __future__ import annotations

import os
import re
import shutil
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


@pytest.fixture
def unlinked(tmp_path: Path) -> Path:
    """The repository as a ZIP file or git without symbolic links leaves it."""
    for top in ("ssmc", "passes", "targets"):
        shutil.copytree(ROOT / top, tmp_path / top, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("passes", "targets"):
        (tmp_path / "ssmc" / name).unlink()
        (tmp_path / "ssmc" / name).write_text(f"../{name}")
    return tmp_path


def python_in(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python in a checkout, the ssmc that runs this test on the path behind it."""
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{ROOT}"}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, cwd=root)


@pytest.mark.parametrize(("leave", "found"), [(True, "is a text file"), (False, "is missing")])
def test_a_checkout_without_links_names_the_remedy(unlinked: Path, leave: bool, found: str) -> None:
    for name in () if leave else ("passes", "targets"):
        (unlinked / "ssmc" / name).unlink()
    for arguments in (("-c", "import ssmc"), ("-m", "ssmc", "--help")):
        run = python_in(unlinked, *arguments)
        assert run.returncode == 1
        last = run.stderr.splitlines()[-1]
        assert f"error[SSMC-E01]: {unlinked / 'ssmc' / 'passes'}: {found}" in last
        assert "pip install -e ." in last
        assert "git checkout -- ssmc/passes ssmc/targets" in last
    assert run.stderr.count("\n") == 1, "the command line says it in one line"


MAPPED = """
import importlib.util, sys
class Mapped:
    @staticmethod
    def find_spec(name, path=None, target=None):
        part = name.removeprefix("ssmc.")
        if part in ("passes", "targets"):
            file = f"{sys.argv[1]}/{part}/__init__.py"
            return importlib.util.spec_from_file_location(name, file, submodule_search_locations=[sys.argv[1]])
sys.meta_path.insert(0, Mapped)
import ssmc.passes
print(ssmc.passes.__file__)
"""


def test_a_checkout_without_links_runs_where_an_installation_maps_it(unlinked: Path) -> None:
    own = python_in(unlinked, "-c", MAPPED, str(unlinked))
    assert own.stdout.strip() == str(unlinked / "passes" / "__init__.py")
    assert "SSMC-E01" in python_in(unlinked, "-c", MAPPED, str(ROOT)).stderr, "the passes of another ssmc"


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
        "numba",
        "importlib.metadata",
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
