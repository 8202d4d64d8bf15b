"""Numbers on the command line that make no sense are refused before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import ssmc

COMPILE = ("compile", "none.onnx", "-o", "out")


@pytest.mark.parametrize(
    "words",
    [
        *((*COMPILE, "-t", "aimc", "--rate", value) for value in ("nan", "inf", "-1", "1e-300", "1e300")),
        *((*COMPILE, "--target-sqnr", value) for value in ("nan", "inf", "-1", "1e4")),
        *((*COMPILE, "--steps", value) for value in ("0", "-1", "1.5", "1" + "0" * 40)),
        (*COMPILE, "--prune-budget", "nan"),
        ("inspect", "none.onnx", "--sqnr", "nan"),
        ("inspect", "none.onnx", "--samples", "0"),
        ("run", "none", "--data", "none.npz", "--seed", "-1"),
        ("run", "none", "--data", "none.npz", "--noise", "--seed", "1" + "0" * 30),
        ("noise", "none", "--data", "none.npz", "--chips", "0"),
        ("noise", "none", "--data", "none.npz", "--times", "nan"),
        ("explain", "none", "--rows", "0"),
        ("export", "module:factory", "--example", "1,²"),
        ("export", "module:factory", "--example", "1,99999999999999999999"),
    ],
)
def test_a_number_out_of_its_range_is_a_wrong_command_line(words: tuple[str, ...]) -> None:
    result = ssmc(*words)
    assert result.exit_code == 2
    assert result.stderr.startswith(("error[SSMC-U00]: Invalid value for --", "error[SSMC-U00]: Invalid value for '--"))
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("pair", ["rate=nan", "rate=inf"])
def test_options_by_name_are_finite_as_well(pair: str) -> None:
    result = ssmc(*COMPILE, "-t", "aimc", "--option", pair)
    assert (result.exit_code, result.stderr[:15]) == (2, "error[SSMC-U16]")


def test_budgets_are_raised_and_named_on_the_command_line(model: Path, tmp_path: Path) -> None:
    words = ("compile", model, "-o", tmp_path / "out", "--stop-after", "canonicalize-quantizers")
    refused = ssmc(*words, "--budget", "nodes=3")
    assert refused.exit_code == 2
    assert "SSMC-U07" in refused.stderr
    needed = refused.stderr.rsplit("--budget ", 1)[1].strip()
    assert ssmc(*words, "--budget", needed).exit_code == 0
    assert "SSMC-U16" in ssmc(*words, "--budget", "colour=3").stderr


def test_budgets_limit_data_files(bundles: dict[str, Path], data: Path) -> None:
    for words in (("run", bundles["int"]), ("check", bundles["int"], "--baseline", "none.json", "--update")):
        assert "SSMC-U07" in ssmc(*words, "--data", data, "--budget", "data-bytes=100").stderr
    assert not Path("none.json").exists()


def test_a_prefix_that_hides_a_header_or_is_too_long(model: Path, tmp_path: Path) -> None:
    for prefix in ("stdint", "string", "p" * 64, "Ü", "1a", ""):
        result = ssmc("compile", model, "-t", "c", "--prefix", prefix, "-o", tmp_path / "out")
        assert (result.exit_code, "SSMC-C26" in result.stderr) == (2, True), prefix
