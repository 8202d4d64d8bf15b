"""`ssmc noise`: text, JSON and a page from one run."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ssmc.cli import cli
from ssmc.cli.noising import seconds


def test_it_prints_and_writes(bundles: dict[str, Path], data: Path, tmp_path: Path) -> None:
    files = tmp_path / "noise.json", tmp_path / "noise.html"
    words = ["--chips", "3", "--times", "0,1d", "--json", str(files[0]), "--html", str(files[1])]
    result = CliRunner().invoke(cli, ["noise", str(bundles["aimc"]), "--data", str(data), *words])
    assert result.exit_code == 0, result.output
    assert "3 chips of 'taox64', 12 sequences" in result.stdout
    found = json.loads(files[0].read_text())
    assert [at["time_s"] for at in found["at"]] == [0, 86400]
    assert all(len(at["chips"]) == 3 for at in found["at"])
    page = files[1].read_text()
    assert page.count("<circle") == 2 * (3 + 1 + 3)  # accuracies, their mean, largest poles of the one kernel
    assert "1 d" in page


def test_a_device_of_the_callers_choice(bundles: dict[str, Path], data: Path) -> None:
    words = ["--chips", "1", "--times", "0", "--device"]
    run = lambda name: CliRunner().invoke(cli, ["noise", str(bundles["aimc"]), "--data", str(data), *words, name])  # noqa: E731
    assert run("pcm").exit_code == 0
    refused = run("magic")
    assert refused.exit_code == 2
    assert "SSMC-U14" in refused.stderr


def test_an_integer_bundle_has_no_devices(bundles: dict[str, Path], data: Path) -> None:
    result = CliRunner().invoke(cli, ["noise", str(bundles["int"]), "--data", str(data)])
    assert result.exit_code == 2
    assert "SSMC-U12" in result.stderr


def test_times() -> None:
    assert seconds("0, 90s,5m, 2h,1.5d, 7") == (0, 90, 300, 7200, 129600, 7)
    for wrong in ("", "x", "1w", "-1s", "inf"):
        with pytest.raises(click.BadParameter):
            seconds(wrong)
