"""``--set`` and ``ssmc hardware new --from``: a chip that differs from a preset in some keys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ssmc.hardware.file import load_hardware
from tests.cli.conftest import ssmc


def test_a_bundle_of_a_changed_chip(model: Path, data: Path, tmp_path: Path) -> None:
    set_, out = ["--set", "adc.columns_per_adc=16"], tmp_path / "out"
    result = ssmc("compile", model, "--target", "aimc", *set_, "-o", out)
    assert result.exit_code == 0, result.output
    program = json.loads((out / "program.json").read_text())
    assert program["program"]["hardware"]["name"] == "taox64 (adc.columns_per_adc=16)"
    assert program["program"]["hardware"]["adc"]["columns_per_adc"]["value"] == 16
    assert ssmc("run", out, "--data", data).exit_code == 0
    file = tmp_path / "chip.toml"
    assert ssmc("hardware", "new", file, "--from", "taox64", *set_).exit_code == 0
    assert ssmc("compile", model, "--target", "aimc", "--hardware", file, "-o", tmp_path / "same").exit_code == 0
    costs = [json.loads((folder / "report.json").read_text())["cost"] for folder in (out, tmp_path / "same")]
    assert costs[0] == costs[1]


def test_a_key_of_another_target(model: Path, tmp_path: Path) -> None:
    result = ssmc("compile", model, "--set", "adc.bits=6", "-o", tmp_path / "out")
    assert (result.exit_code, "SSMC-U11" in result.stderr) == (2, True)
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("default::ssmc.errors.SsmcWarning")
def test_a_preset_at_another_node(tmp_path: Path) -> None:
    file = tmp_path / "chip.toml"
    result = ssmc("hardware", "new", file, "--from", "isaac128", "--node", "45", "--set", "array.count=0")
    assert result.exit_code == 0
    assert "adc.energy_pj" in result.stderr
    chip = load_hardware(file)
    assert (chip.technology.node_nm.value, chip.array.count) == (45, 0)
    assert chip.origins["adc.energy_pj"].endswith("for technology.node_nm = 32")
    assert ssmc("hardware", "validate", file).exit_code == 0


def test_show_prints_a_file(tmp_path: Path) -> None:
    file = tmp_path / "chip.toml"
    file.write_text(ssmc("hardware", "show", "taox64", "--set", "adc.columns_per_adc=8", "--toml").stdout)
    assert load_hardware(file).adc.columns_per_adc == 8


def test_a_template_has_no_chip_to_change(tmp_path: Path) -> None:
    result = ssmc("hardware", "new", tmp_path / "chip.toml", "--node", "28")
    assert (result.exit_code, "--from" in result.stderr) == (2, True)
    assert not (tmp_path / "chip.toml").exists()


def test_what_is_given_twice_or_names_no_key_is_said_so(model: Path, tmp_path: Path) -> None:
    chip = tmp_path / "chip.toml"
    twice = ssmc("hardware", "new", chip, "--from", "taox64", "--node", 28, "--set", "technology.node_nm=40")
    assert twice.stderr.startswith("error[SSMC-H11]: --node is the same as --set technology.node_nm")
    assert not chip.exists()
    nameless = ssmc("compile", model, "--target", "aimc", "--set", "=5", "-o", tmp_path / "out")
    assert "names no key" in nameless.stderr


def test_help_shows_no_bound_where_there_is_none() -> None:
    assert "None" not in ssmc("quantize", "--help").stdout
