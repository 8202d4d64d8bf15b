"""The demo on the presets: the script runs, and its page has a line for every preset."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from ssmc.hardware.file import preset_names

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def script() -> Any:
    found = importlib.util.spec_from_file_location("presets", ROOT / "examples" / "spoken_digits" / "presets.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules["presets"] = module  # dataclasses look their module up
    found.loader.exec_module(module)
    return module


def test_the_tables_are_computed(script: Any) -> None:
    run = CliRunner().invoke(script.main, ["--limit", "4", "--chips", "1", "--preset", "taox64", "--preset", "hermes"])
    assert run.exit_code == 0, run.output
    lines = run.output.splitlines()
    assert sum(line.startswith("| taox64 |") for line in lines) == 3
    assert sum(line.startswith("| hermes | does not fit") for line in lines) == 2
    place = next(line for line in lines if line.startswith("| hermes |") and "kernels" in line)
    assert "3 of 3 kernels" in place


def test_recordings_are_evenly_spaced(script: Any) -> None:
    """The file is sorted by label: the first third would be the first three digits."""
    samples = script.spaced(script.load_samples(ROOT / "examples" / "spoken_digits" / "test.npz"), 100)
    assert len(samples) == 100
    assert set(np.bincount(samples.label)) == {10}
    assert samples.offsets[-1] == len(samples.flat)


def test_rows_of_other_presets_stay(script: Any) -> None:
    old = script.kept(script.PAGE.read_text())
    assert set(old) == {script.COST_HEAD, script.PLACE_HEAD, script.ACCURACY_HEAD}
    samples = script.load_samples(ROOT / "examples" / "spoken_digits" / "test.npz")
    again = script.kept(f"{script.BEGIN}\n{script.tables([], samples, old)}\n{script.END}")
    assert again == old
    new = script.Rows(*(("taox64", *["x"] * (len(head) - 1)) for head in old))
    changed = script.kept(f"{script.BEGIN}\n{script.tables([new], samples, old)}\n{script.END}")
    for head, rows in changed.items():
        assert [row for row in rows if row[0] != "taox64"] == [row for row in old[head] if row[0] != "taox64"]
        assert ("taox64", *["x"] * (len(head) - 1)) in rows


def test_the_page_has_every_preset(script: Any) -> None:
    text = script.PAGE.read_text().split(script.BEGIN)[1].split(script.END)[0]
    for name in preset_names():
        assert text.count(f"\n| {name} |") == 3
