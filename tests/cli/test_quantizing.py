"""``ssmc quantize`` and ``ssmc inspect --kernels``."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path

import numpy as np
import onnx
import pytest

from ssmc import compile as compile_model
from ssmc.cli.quantizing import fidelity_lines
from ssmc.errors import UsageError
from ssmc.hardware.file import load_hardware
from ssmc.quantize import QuantizeConfig
from ssmc.quantize.read_back import Fidelity
from ssmc.targets.aimc.target import AimcTarget
from tests.cli.conftest import ssmc
from tests.graph_writer import Graph
from tests.quantize.floats import FEATURES, float_model


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("calibration") / "calib.npz"
    np.savez(path, x=np.random.default_rng(0).standard_normal((8, 40, FEATURES)).astype(np.float32))
    return path


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory, calibration: Path) -> Path:
    folder = tmp_path_factory.mktemp("quantized")
    onnx.save(float_model(), folder / "float.onnx")
    result = ssmc("quantize", folder / "float.onnx", "--data", calibration, "-o", folder / "model.onnx", "--bits", 6)
    assert result.exit_code == 0, result.output
    assert re.search(r"scan: [\w ]+ states, \d+ of \d+ (modes|pairs of states) in delta form", result.stdout)
    return folder / "model.onnx"


def test_a_quantized_model_compiles_and_is_quantized_once(quantized: Path, calibration: Path, tmp_path: Path) -> None:
    assert ssmc("compile", quantized, "-o", tmp_path / "out").exit_code == 0
    again = ssmc("quantize", quantized, "--data", calibration, "-o", tmp_path / "again.onnx")
    assert again.exit_code == 1
    assert again.stderr.startswith("error[SSMC-Q10]")
    assert not (tmp_path / "again.onnx").exists()


def test_the_read_out_is_refitted_unless_told_otherwise(quantized: Path, calibration: Path, tmp_path: Path) -> None:
    arguments = ("quantize", quantized.parent / "float.onnx", "--data", calibration, "--bits", 6, "-o")
    same, other = tmp_path / "same.onnx", tmp_path / "other.onnx"
    assert ssmc(*arguments, same, "--refit").exit_code == 0
    assert ssmc(*arguments, other, "--no-refit").exit_code == 0
    assert same.read_bytes() == quantized.read_bytes() != other.read_bytes()


def test_kernels_are_analysed_on_white_codes_and_on_data(quantized: Path, calibration: Path) -> None:
    table = ssmc("inspect", quantized, "--kernels")
    assert table.exit_code == 0, table.output
    assert "SQNR dB" in table.stdout
    white, fed = (
        json.loads(ssmc("inspect", quantized, "--kernels", "--json", *more).stdout)["analysis"][0]
        for more in ((), ("--data", calibration))
    )
    assert (white["signal"], fed["signal"]) == ("white", "data")
    for channel in (*white["channels"], *fed["channels"]):
        assert 0 < channel["margin"] < 1
        assert channel["typical_register"] < channel["worst_register"]
        assert (channel["sqnr_db"] is None) == bool(channel["why"])
        assert channel["from_readout"] + channel["from_state"] + channel["from_output"] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("options", "code", "status"),
    [
        (("--data", "missing.npz"), "SSMC-D10", 2),
        (("--data", "CALIBRATION", "--kernel-bits", "1"), "SSMC-U30", 2),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, calibration: Path, options: tuple[str, ...], code: str, status: int
) -> None:
    onnx.save(float_model(), tmp_path / "float.onnx")
    given = [calibration if option == "CALIBRATION" else option for option in options]
    result = ssmc("quantize", tmp_path / "float.onnx", *given, "-o", tmp_path / "out.onnx")
    assert result.exit_code == status
    assert result.stderr.startswith(f"error[{code}]")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out.onnx").exists()


def test_quantize_says_how_good_it_is(tmp_path: Path) -> None:
    onnx.save(float_model(), tmp_path / "float.onnx")
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", x=rng.standard_normal((4, 20, FEATURES)).astype(np.float32), label=[0, 1, 2, 3])
    command = ("quantize", tmp_path / "float.onnx", "--data", tmp_path / "x.npz", "-o", tmp_path / "q.onnx")
    done = ssmc(*command)
    assert done.exit_code == 0, done.output
    assert "output SQNR" in done.stdout
    assert "accuracy on the calibration data" in done.stdout
    (tmp_path / "q.onnx").unlink()
    refused = ssmc(*command, "--min-sqnr", 200)
    assert refused.exit_code == 4
    assert "SSMC-C02" in refused.stderr
    assert not (tmp_path / "q.onnx").exists()


def test_a_ratio_without_a_figure_is_a_word(tmp_path: Path) -> None:
    """Whole numbers through a matrix of powers of two: no code differs."""
    g = Graph()
    y = g.op("MatMul", "x", g.const(np.eye(2)))
    onnx.save(g.finish(2, y, ["batch", "time", 2]), tmp_path / "float.onnx")
    np.savez(tmp_path / "x.npz", x=np.array([[[-1, 0], [0, 1], [1, 1]]], np.float32))
    done = ssmc("quantize", tmp_path / "float.onnx", "--data", tmp_path / "x.npz", "-o", tmp_path / "q.onnx")
    assert done.exit_code == 0, done.output
    assert "output SQNR unlimited (no output differs) on the calibration data" in done.stdout
    (line,) = fidelity_lines(Fidelity(-np.inf, None, None))
    assert line.startswith("output SQNR none (the float model's outputs are 0) on the calibration data; below")


@pytest.mark.parametrize("word", ["nan", "inf", "-inf"])
def test_the_least_ratio_is_a_finite_number(tmp_path: Path, calibration: Path, word: str) -> None:
    onnx.save(float_model(), tmp_path / "float.onnx")
    command = ("quantize", tmp_path / "float.onnx", "--data", calibration, "-o", tmp_path / "q.onnx")
    refused = ssmc(*command, "--min-sqnr", word)
    assert refused.exit_code == 2
    assert "no finite number" in refused.stderr
    assert not (tmp_path / "q.onnx").exists()


def test_reading_back_keeps_to_the_budgets(tmp_path: Path, calibration: Path) -> None:
    """Quantizers are nodes: the quantized model has more of them than the float one."""
    model = float_model()
    onnx.save(model, tmp_path / "float.onnx")
    command = ("quantize", tmp_path / "float.onnx", "--data", calibration, "-o", tmp_path / "q.onnx")
    refused = ssmc(*command, "--budget", f"nodes={2 * len(model.graph.node)}")
    assert refused.exit_code == 2
    assert "the quantized model" in refused.stderr
    assert "SSMC-U07" in refused.stderr


def test_states_are_named_in_pairs(tmp_path: Path) -> None:
    onnx.save(float_model(), tmp_path / "float.onnx")
    refused = ssmc("compile", tmp_path / "float.onnx", "--state", "s", "-o", tmp_path / "b")
    assert refused.exit_code == 2
    assert "SSMC-U15" in refused.stderr


LEVELS = "levels = { value = 128"


def small_chip(folder: Path, *changes: tuple[str, str]) -> Path:
    """taox64 with other lines."""
    text = resources.files("ssmc.hardware").joinpath("presets/taox64.toml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "chip.toml"
    path.write_text(text)
    return path


def test_widths_of_a_hardware_are_taken_told_and_overridden(calibration: Path, tmp_path: Path) -> None:
    onnx.save(float_model(), tmp_path / "float.onnx")
    chip = small_chip(
        tmp_path,
        ('bits = { value = 8, assumed = "QS4D deploys 8-bit states; c', 'bits = { value = 5, assumed = "c'),
        (LEVELS, LEVELS.replace("128", "16")),
    )
    line = "5-bit weights, 8-bit drives, 5-bit columns; cannot give: 8-bit weights (they take 2 slices), 8-bit columns"
    files = [tmp_path / "float.onnx", "--data", calibration, "-o"]
    result = ssmc("quantize", *files, tmp_path / "five.onnx", "--hardware", chip)
    assert result.exit_code == 0, result.output
    assert line in result.stdout
    found = compile_model(tmp_path / "five.onnx", AimcTarget(load_hardware(str(chip))), oracle=False)
    assert {plan.kind for plan in found.compiled.lowered.plans.values()} == {"single"}
    wider = ssmc("quantize", *files, tmp_path / "eight.onnx", "--hardware", chip, "--adc-bits", 8)
    assert wider.exit_code == 0
    found = compile_model(tmp_path / "eight.onnx", AimcTarget(load_hardware(str(chip))), oracle=False)
    assert "lossy" in {plan.kind for plan in found.compiled.lowered.plans.values()}


def test_less_than_a_slice_holds_no_weight() -> None:
    assert QuantizeConfig.for_hardware("isaac128", slices=4).kernel_bits == 8
    with pytest.raises(UsageError, match="SSMC-U32"):
        QuantizeConfig.for_hardware("taox64", slices=0)
