"""What each command does when all is well."""

from __future__ import annotations

import json
import re
import shutil
import sys
import warnings
from hashlib import sha256
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

import ssmc as library
from ssmc.bundle.folder import own_digest
from ssmc.cli import cli
from ssmc.npz import npz_bytes
from tests.graphs import Spec
from tests.graphs import model as model_of

FACTORY = """
import torch
from ssmc.qat import Mode, ModelConfig, QuantConfig, S4DClassifier, calibrate, set_mode

def build():
    config = ModelConfig(d_input=3, d_output=2, d_model=4, d_state=4, layers=1, dropout=0.0, quant=QuantConfig())
    model = S4DClassifier(config)
    calibrate(model, [torch.randn(1, 20, 3)])
    set_mode(model, Mode.QUANTIZED)
    return model
"""


def ssmc(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments])


def done(*arguments: object) -> str:
    """Standard output of a command that must succeed."""
    result = ssmc(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


FILES = {"program.json", "weights.npz", "model.onnx", "report.json", "report.html", "report.md", "trace.json"}


@pytest.mark.parametrize("target", ["int", "aimc"])
def test_a_bundle_has_its_files(bundles: dict[str, Path], target: str) -> None:
    extra = {"integer.onnx"} if target == "int" else set()
    assert {path.name for path in bundles[target].iterdir()} == FILES | extra


@pytest.mark.parametrize("target", ["int", "aimc"])
def test_compiling_twice_gives_the_same_bytes(
    model: Path, bundles: dict[str, Path], target: str, tmp_path: Path
) -> None:
    done("compile", model, "--target", target, "--no-oracle", "-o", tmp_path / "again")
    for name in FILES - {"trace.json"}:
        assert (tmp_path / "again" / name).read_bytes() == (bundles[target] / name).read_bytes(), name


@pytest.mark.parametrize("target", ["int", "aimc"])
def test_a_loaded_bundle_runs_and_costs_as_the_compiled_one(
    model: Path, data: Path, target: str, tmp_path: Path
) -> None:
    compiled = library.compile(model, target, oracle=False)
    loaded = library.Bundle.load(compiled.save(tmp_path / "b"))
    x = np.random.default_rng(1).standard_normal((5, 9, 3))
    assert np.array_equal(compiled.run(x), loaded.run(x))
    assert compiled.cost(7) == loaded.cost(7)
    assert compiled.files() == loaded.files()


def test_ideal_crossbar_and_integer_program_write_the_same_outputs(
    bundles: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    for target, folder in bundles.items():
        assert "accuracy" in done("run", folder, "--data", data, "-o", tmp_path / f"{target}.npz")
    with np.load(tmp_path / "int.npz") as a, np.load(tmp_path / "aimc.npz") as b:
        assert np.array_equal(a["output"], b["output"])
        assert np.array_equal(a["prediction"], a["output"].argmax(-1))


def test_noise_depends_on_the_seed_alone(bundles: dict[str, Path], data: Path, tmp_path: Path) -> None:
    outputs = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        done("run", bundles["aimc"], "--data", data, "--noise", "--seed", seed, "-o", tmp_path / f"{name}.npz")
        outputs.append((tmp_path / f"{name}.npz").read_bytes())
    assert outputs[0] == outputs[1] != outputs[2]


def test_dump_dir_holds_the_graph_after_every_pass(model: Path, tmp_path: Path) -> None:
    done("compile", model, "--dump-dir", tmp_path / "dump", "-o", tmp_path / "out")
    listed = [line.split()[0] for line in done("passes").splitlines()[2:]]
    assert [path.stem.split("-", 1)[1] for path in sorted((tmp_path / "dump").iterdir())] == listed


def test_stop_after_writes_only_that_graph(model: Path, tmp_path: Path) -> None:
    first = done("passes").splitlines()[2].split()[0]
    done("compile", model, "--stop-after", first, "-o", tmp_path / "stage")
    assert [path.name for path in (tmp_path / "stage").iterdir()] == ["model.onnx"]


def test_inspect_says_the_same_of_model_and_bundle(model: Path, bundles: dict[str, Path]) -> None:
    assert done("inspect", model) == done("inspect", bundles["int"])
    kernels = done("inspect", model, "--kernels", "--poles")
    assert "delta" in kernels
    assert "poles of" in kernels


def test_report_draws_the_same_page_again(bundles: dict[str, Path], tmp_path: Path) -> None:
    folder = bundles["aimc"]
    done("report", folder, "--html", tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text() == (folder / "report.html").read_text()
    assert json.loads(done("report", folder, "--json")) == json.loads((folder / "report.json").read_text())
    assert "deviation" in done("report", folder)


def test_the_page_needs_no_network_and_no_script(bundles: dict[str, Path]) -> None:
    page = (bundles["aimc"] / "report.html").read_text()
    for forbidden in ("http:", "https:", "<script", "<link", "src=", "@import", "url("):
        assert forbidden not in page


def test_reports_hold_no_path_and_no_time(model: Path, bundles: dict[str, Path]) -> None:
    for folder in bundles.values():
        for name in FILES - {"trace.json"}:
            content = (folder / name).read_bytes()
            assert str(model.parent).encode() not in content
            assert str(folder.parent).encode() not in content


@pytest.mark.parametrize("target", ["int", "aimc"])
def test_check_passes_on_its_own_baseline(bundles: dict[str, Path], data: Path, target: str, tmp_path: Path) -> None:
    gate = ("check", bundles[target], "--data", data, "--baseline", tmp_path / "b.json")
    done(*gate, "--update")
    assert "within tolerance" in done(*gate, "--junit", tmp_path / "j.xml")
    suite = ElementTree.parse(tmp_path / "j.xml").getroot()
    assert suite.get("failures") == "0"
    assert int(suite.get("tests", "0")) > 3


def change_a_weight(folder: Path) -> None:
    """One code more or less, and the digest of the file to match: as if another model had been compiled."""
    with np.load(folder / "weights.npz") as file:
        arrays = dict(file)
    key = next(key for key in sorted(arrays) if key.endswith("matrix/codes"))
    arrays[key].ravel()[0] += 1 if arrays[key].ravel()[0] < 127 else -1
    (folder / "weights.npz").write_bytes(npz_bytes(arrays))
    program = json.loads((folder / "program.json").read_text())
    program["files"]["weights.npz"] = sha256((folder / "weights.npz").read_bytes()).hexdigest()
    (folder / "program.json").write_text(json.dumps({**program, "sha256": own_digest(program)}))


def test_one_changed_weight_code_fails_the_check(bundles: dict[str, Path], data: Path, tmp_path: Path) -> None:
    done("check", bundles["int"], "--data", data, "--baseline", tmp_path / "b.json", "--update")
    changed = shutil.copytree(bundles["int"], tmp_path / "changed")
    change_a_weight(changed)
    result = ssmc("check", changed, "--data", data, "--baseline", tmp_path / "b.json", "--junit", tmp_path / "j.xml")
    assert result.exit_code == 4
    assert "moved: weights.sha256" in result.stdout
    assert "error[SSMC-C01]" in result.stderr
    assert ElementTree.parse(tmp_path / "j.xml").getroot().get("failures") != "0"


def test_a_moved_cost_is_reported_with_old_new_and_tolerance(
    bundles: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    path = tmp_path / "b.json"
    done("check", bundles["aimc"], "--data", data, "--baseline", path, "--update")
    baseline = json.loads(path.read_text())
    name = next(n for n, e in baseline["metrics"].items() if n.startswith("cost.energy") and e["value"])
    old = baseline["metrics"][name]["value"] = baseline["metrics"][name]["value"] * 1.05
    path.write_text(json.dumps(baseline))
    result = ssmc("check", bundles["aimc"], "--data", data, "--baseline", path)
    assert result.exit_code == 4
    assert f"moved: {name}: {old:.6g} -> {old / 1.05:.6g} (tolerance 0.001 relative)" in result.stdout


@pytest.mark.parametrize("key", ["energy_pj", "bits"])
def test_a_changed_hardware_key_fails_the_check(
    model: Path, bundles: dict[str, Path], data: Path, tmp_path: Path, key: str
) -> None:
    from ssmc.hardware.file import PRESETS

    head, adc, rest = (PRESETS / "taox64.toml").read_text().partition("[adc]")
    old = float(re.search(rf"^{key} = {{ value = ([\d.]+)", rest, re.MULTILINE)[1])  # type: ignore[index]
    new = f"{old * 1.05}" if key == "energy_pj" else f"{old - 1:.0f}"
    changed = re.sub(rf"^{key} = {{ value = [\d.]+", f"{key} = {{ value = {new}", rest, count=1, flags=re.MULTILINE)
    (tmp_path / "taox64.toml").write_text(head + adc + changed)
    done("check", bundles["aimc"], "--data", data, "--baseline", tmp_path / "b.json", "--update")
    done("compile", model, "--target", "aimc", "--hardware", tmp_path / "taox64.toml", "-o", tmp_path / "out")
    result = ssmc("check", tmp_path / "out", "--data", data, "--baseline", tmp_path / "b.json")
    assert result.exit_code == 4
    assert "moved: cost." in result.stdout


def test_update_keeps_tolerances_and_the_choice_of_metrics(
    bundles: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    path = tmp_path / "b.json"
    gate = ("check", bundles["int"], "--data", data, "--baseline", path)
    done(*gate, "--update")
    baseline = json.loads(path.read_text())
    baseline["metrics"] = {"accuracy": {"value": 0.0, "absolute": 0.25}}
    path.write_text(json.dumps(baseline))
    done(*gate, "--update")
    kept = json.loads(path.read_text())["metrics"]
    assert kept.keys() == {"accuracy"}
    assert kept["accuracy"]["absolute"] == 0.25
    assert "not gated: outputs.sha256" in done(*gate)


def test_targets_and_passes_are_listed(model: Path) -> None:
    assert {"int", "aimc"} <= {line.split()[0] for line in done("targets").splitlines()[2:]}
    assert done("passes", "--target", "aimc", "--contracts")


def test_passes_are_listed_with_effect_and_level() -> None:
    rows = {row[0]: row[1:3] for row in (re.split(r" {2,}", line) for line in done("passes").splitlines()[2:])}
    assert rows["canonicalize-quantizers"] == ["exact", "imported to canonical"]
    assert rows["fold-constants"] == ["exact", "canonical"]
    assert rows["fuse-kernel"] == ["bounded", "folded to fused"]
    assert rows["stabilize-poles"] == ["lossy", "folded"]


def test_hardware_says_where_every_number_is_from() -> None:
    listed = [line.split()[0] for line in done("hardware").splitlines()[2:]]
    assert "taox64" in listed
    for name in listed:
        rows = done("hardware", name).splitlines()[4:]
        assert rows
        assert all("source: " in row or "assumed: " in row for row in rows)


def test_hardware_new_writes_a_file_that_validates_and_compiles(model: Path, tmp_path: Path) -> None:
    chip = tmp_path / "chip.toml"
    assert "ssmc hardware validate" in done("hardware", "new", chip)
    assert "good" in done("hardware", "validate", chip)
    assert done("hardware", "list") == done("hardware")
    assert done("hardware", "show", chip).startswith("my-chip")
    done("compile", model, "--target", "aimc", "--hardware", chip, "-o", tmp_path / "out")


def test_explain_traces_figures_to_keys(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done("compile", model, "--target", "aimc", "--place", "auto", "--packing", "auto", "--minimise", "area",
         "--rate", "1000", "-o", out)  # fmt: skip
    energy = done("explain", out, "--steps", "10")
    assert "10 steps" in energy
    assert "digital." in energy or "adc." in energy
    assert "limited by" in done("explain", out, "max_steps_per_s")
    assert "area" in done("explain", out, "area_um2", "--rows", "2")
    assert "real time: margin" in done("report", out)


def test_export_builds_loads_and_writes_a_model_that_compiles(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    (tmp_path / "make.py").write_text(FACTORY)
    sys.path.insert(0, str(tmp_path))
    try:
        from make import build  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    torch.save({"model": build().state_dict()}, tmp_path / "best.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        where = ("--checkpoint", tmp_path / "best.pt", "-o", tmp_path / "m.onnx")
        done("export", f"{tmp_path / 'make.py'}:build", "--example", "1,20,3", *where)
    assert "StateSpace" in done("inspect", tmp_path / "m.onnx")


def test_python_names_are_the_commands() -> None:
    assert set(dir(library)) == set(library.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        library.nothing  # noqa: B018


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_shows_an_example(name: str) -> None:
    text = done(name, "--help")
    assert "Example:" in text
    assert f"ssmc {name}" in text.split("Example:")[1]


def test_output_lag_fuses_what_reads_the_new_state(tmp_path: Path) -> None:
    source = tmp_path / "after.onnx"
    onnx.save(model_of(Spec(after=True)), source)
    plain = done("compile", source, "-o", tmp_path / "plain")
    fused = done("compile", source, "--output-lag", "0", "-o", tmp_path / "fused")
    assert re.search(r"fuse-kernel +exact +0 +1", plain)
    assert re.search(r"fuse-kernel +bounded +1 +0", fused)


def test_pruning_needs_a_budget_and_labelled_data(model: Path, data: Path, tmp_path: Path) -> None:
    done = ssmc("compile", model, "--prune-budget", "50", "--prune-data", data, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "modes pruned" in done.stdout
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["pruning"]["accuracy_after"] >= report["pruning"]["accuracy_before"] - 0.5
    assert report["pruning"]["modes_cut"] > 0
    for arguments in (
        ("--prune-budget", "1"),
        ("--prune-data", data),
        ("--target-sqnr", "20", "--stop-after", "place"),
    ):
        refused = ssmc("compile", model, *arguments, "-o", tmp_path / "none")
        assert refused.exit_code == 2
        assert "SSMC-U15" in refused.stderr
        assert not (tmp_path / "none").exists()
