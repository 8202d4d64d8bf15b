"""What packages declare extends the tables, never replaces them; what is broken names its package."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from ssmc.bundle.registry import make_target, package_providing, target_class
from ssmc.cli import cli
from ssmc.entry_points import Package, Registry
from ssmc.errors import UsageError
from ssmc.hardware.file import known_names, load_hardware

MODULE = """
from dataclasses import dataclass
from ssmc.targets.base import Target
from ssmc.targets.integer.target import IntegerTarget

NUMBER = 3
FILE = __file__ + ".toml"

@dataclass(frozen=True)
class Good(IntegerTarget):
    name = "good"

@dataclass(frozen=True)
class Unfinished(Target):
    name = "unfinished"

@dataclass(frozen=True, kw_only=True)
class Demanding(IntegerTarget):
    name = "demanding"
    lanes: int
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a package with entry points on the path, as an installed one lies there."""

    def add(package: str, group: str, **entries: str) -> None:
        info = tmp_path / f"{package.replace('-', '_')}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
        lines = [f"{name} = {value}" for name, value in entries.items()]
        (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))

    (tmp_path / "one_module.py").write_text(MODULE)
    (tmp_path / "raising.py").write_text("raise RuntimeError('out of\\nluck')")
    monkeypatch.syspath_prepend(tmp_path)
    yield add
    sys.modules.pop("one_module", None)


def refused(code: str, call: Callable[[], object]) -> str:
    with pytest.raises(UsageError) as caught:
        call()
    assert caught.value.code == f"SSMC-{code}"
    return str(caught.value)


def test_a_target_of_a_package_is_one_of_the_targets(install: Install) -> None:
    install("ssmc-good", "ssmc.targets", good="one_module:Good")
    assert make_target("good", output_lag=0).name == "good"
    assert package_providing("good") == Package("ssmc-good", "1.2")
    assert package_providing("int") is None


def test_a_name_has_one_owner(install: Install) -> None:
    install("ssmc-good", "ssmc.targets", int="one_module:Good", good="one_module:Good")
    install("ssmc-other", "ssmc.targets", good="one_module:Good")
    line = refused("U40", lambda: target_class("int"))
    assert "target 'int' is provided by ssmc itself and by package 'ssmc-good' 1.2; uninstall" in line
    line = refused("U40", lambda: target_class("good"))
    assert "package 'ssmc-good' 1.2" in line
    assert "package 'ssmc-other' 1.2" in line
    assert target_class("aimc").__name__ == "AimcTarget"


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("gone", "no_such_module:Target", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("gone", "one_module:Missing", "AttributeError: module 'one_module' has no attribute 'Missing'"),
        ("gone", "raising:Target", "RuntimeError: out of luck"),
        ("number", "one_module:NUMBER", "is no subclass of ssmc.targets.base.Target"),
        ("unfinished", "one_module:Unfinished", "does not define emit, load, pipeline"),
        ("demanding", "one_module:Demanding", "has options without a default: lanes"),
        ("other", "one_module:Good", "its target calls itself 'good'"),
    ],
)
def test_a_broken_target_names_its_package_and_the_cause(install: Install, name: str, value: str, why: str) -> None:
    install("ssmc-broken", "ssmc.targets", **{name: value})
    line = refused("U41", lambda: make_target(name))
    assert f"target '{name}' of package 'ssmc-broken' 1.2 cannot be used: {value}: {why};" in line
    assert "uninstall 'ssmc-broken'" in line
    listed = CliRunner().invoke(cli, ["targets"])
    assert listed.exit_code == 0
    assert "error[SSMC-U41]" in listed.stdout
    assert {"int", "c", "aimc", name} <= {row.split()[0] for row in listed.stdout.splitlines()}


def test_presets_of_packages_are_checked_like_targets(install: Install) -> None:
    install("ssmc-chips", "ssmc.hardware", taox64="one_module:FILE", none="one_module:FILE", three="one_module:NUMBER")
    assert {"taox64", "none", "three"} <= set(known_names())
    assert "by ssmc itself and by package 'ssmc-chips' 1.2" in refused("U40", lambda: load_hardware("taox64"))
    assert "is no path of a hardware file" in refused("U41", lambda: load_hardware("three"))
    assert "one_module.py.toml" in refused("H01", lambda: load_hardware("none"))
    listed = CliRunner().invoke(cli, ["hardware", "list"])
    assert listed.exit_code == 0
    assert listed.stdout.count("error[") == 3


def test_nothing_is_imported_before_it_is_asked_for(install: Install) -> None:
    install("ssmc-broken", "ssmc.things", sound="raising:Target")
    registry = Registry("ssmc.things", "thing", ("own",))
    assert registry.names() == ("own", "sound")
    entry = registry.find("sound")
    assert entry is not None
    assert registry.find("own") is registry.find("other") is None
    assert "thing 'sound' of package 'ssmc-broken'" in refused("U41", lambda: registry.load(entry))
