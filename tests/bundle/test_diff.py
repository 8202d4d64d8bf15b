"""What differs between two compiled models, the largest change first."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import ssmc
from ssmc.bundle.check import baseline_text, make_baseline
from ssmc.bundle.diff import difference, read_side
from ssmc.errors import UsageError
from ssmc.importers.onnx_file import import_model
from ssmc.report.differences import Change, Difference, as_markdown, as_text
from ssmc.targets.aimc.target import AimcTarget
from tests.cli.conftest import ssmc as run
from tests.graphs import Spec, model

SPEC = Spec(seed=3)


def saved(folder: Path, proto: onnx.ModelProto, target: object = "int") -> Path:
    return ssmc.compile(import_model(proto), target, oracle=False).save(folder)  # type: ignore[arg-type]


def between(old: Path, new: Path) -> Difference:
    return difference(read_side(old), read_side(new))


def with_one_code_moved(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with one code of its mixing weights one larger, where the codes of the row keep no common factor."""
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    (weights,) = [tensor for tensor in changed.graph.initializer if tensor.name == "l0.mix.W.codes"]
    array = numpy_helper.to_array(weights).copy()
    for at in np.ndindex(*array.shape):
        moved = array.copy()
        moved[at] += 1
        if np.gcd.reduce(array[at[0]]) == np.gcd.reduce(moved[at[0]]) == 1:
            weights.CopyFrom(numpy_helper.from_array(moved, weights.name))
            return changed
    raise AssertionError("no such code")


def test_nothing_differs_from_itself(tmp_path: Path) -> None:
    folder = saved(tmp_path / "a", model(SPEC))
    found = between(folder, folder / "report.json")
    assert found.empty
    assert as_text(found, 9).endswith("no difference")


def test_one_weight_code_is_named(tmp_path: Path) -> None:
    proto = model(SPEC)
    old, new = saved(tmp_path / "a", proto), saved(tmp_path / "b", with_one_code_moved(proto))
    found = between(old, new)
    ((name, what),) = found.weights.items()
    assert what is not None
    assert (what["differing"], what["largest"]) == (1, 1)
    before, after = (dict(_codes(path))[name] for path in (old, new))
    assert np.argwhere(before != after).tolist() == [what["first"]]
    assert f"1 of {before.size}" in as_text(found, 9)


def _codes(folder: Path) -> list[tuple[str, np.ndarray[tuple[int, ...], np.dtype[np.int64]]]]:
    return [(op.name, matrix.codes) for op, matrix in ssmc.load(folder).compiled.program.matrices()]


def test_a_changed_chip_is_told_by_its_keys_and_what_they_cost(tmp_path: Path) -> None:
    proto = model(SPEC)
    old = saved(tmp_path / "a", proto, AimcTarget())
    new = saved(tmp_path / "b", proto, AimcTarget(set=("adc.energy_pj=88.2", "adc.columns_per_adc=16")))
    found = between(old, new)
    assert {key for key, *_ in found.facts if key.startswith("hardware adc")} == {
        "hardware adc.columns_per_adc",
        "hardware adc.energy_pj",
    }
    assert found.weights == {}
    parts = [change for change in found.parts if change.key.endswith("/adc")]
    assert all(change.relative == pytest.approx(1) for change in parts)
    assert sum(change.share or 0 for change in found.parts) == pytest.approx(1)
    sizes = [abs(change.relative) for change in found.figures if math.isfinite(change.relative)]
    assert sizes == sorted(sizes, reverse=True)
    energy = next(change for change in found.figures if change.key == "energy_pj.per_sequence.nominal")
    assert energy.absolute == pytest.approx(sum(change.absolute for change in found.parts))
    assert found.over(0) == found.figures
    assert energy not in found.over(100 * abs(energy.relative) + 1e-6)


def test_costs_of_two_bundles_are_of_one_number_of_steps(tmp_path: Path) -> None:
    """Otherwise energy would differ by the steps alone."""
    imported = import_model(model(SPEC))
    old, new = (ssmc.compile(imported, "int", oracle=False, steps=s).save(tmp_path / str(s)) for s in (30, 100))
    found = difference(read_side(old), read_side(new, read_side(old).steps))
    assert (found.figures, found.notes) == ((), ())
    apart = between(old / "report.json", new / "report.json")
    assert apart.notes == ("figures of a sequence are those of 30 steps, then of 100",)
    assert apart.notes[0] in as_text(apart, 9)
    result = run("diff", old, new, "--fail-over", "1")
    assert (result.exit_code, "per_sequence" in result.stdout) == (0, False)


def test_accuracy_on_data_and_a_page(tmp_path: Path) -> None:
    proto, folder = model(SPEC), tmp_path
    old, new = saved(folder / "a", proto), saved(folder / "b", with_one_code_moved(proto))
    x = np.random.default_rng(0).standard_normal((40, 6, ssmc.load(old).compiled.program.input_size)).astype(np.float32)
    predicted = [ssmc.load(path).run(x).argmax(-1) for path in (old, new)]
    np.savez(folder / "d.npz", x=x, label=predicted[0])
    result = run("diff", old, new, "--data", folder / "d.npz", "--html", folder / "d.html")
    differ = int((predicted[0] != predicted[1]).sum())
    assert result.exit_code == 0, result.output
    assert f"{differ} of 40 predictions differ" in result.stdout
    page = (folder / "d.html").read_text()
    assert f"{differ} of 40 predictions differ" in page
    if differ:
        assert f"accuracy  100.00 %  {100 - 2.5 * differ:.2f} %  -{2.5 * differ:.2f} points" in result.stdout
    assert "1 of " in page.partition("<h2>Weights</h2>")[2]
    for side in (old / "report.json", folder / "none.npz"):
        refused = run("diff", old, side, "--data", folder / "d.npz", "--html", folder / "e.html")
        assert refused.exit_code == 2
        assert not (folder / "e.html").exists()
    np.savez(folder / "bare.npz", x=x)
    assert "SSMC-U12" in run("diff", old, new, "--data", folder / "bare.npz").stderr
    same = run("diff", old, old, "--html", folder / "same.html")
    assert same.exit_code == 0
    assert "No difference." in (folder / "same.html").read_text()


def test_an_interval_is_one_row() -> None:
    ends = tuple(
        Change(f"area_um2.{end}", value, 2 * value) for end, value in (("low", 1), ("nominal", 2), ("high", 3))
    )
    found = Difference(("a", "b"), (*ends, Change("accuracy", 0.5, 0.25), Change("x.low", 1, 2)), (), (), {})
    shares = Difference(("a", "b"), (Change("assumed_share.energy_pj", 0.0, 0.25),), (), (), {})
    assert "assumed_share.energy_pj  0    0.25  +0.25   from 0" in as_text(shares, 9)
    rows = [line.split()[0] for line in as_text(found, 9).splitlines()[6:]]
    assert rows == ["accuracy", "area_um2.nominal", "x.low"]


def test_baselines(tmp_path: Path) -> None:
    paths = []
    for name, metrics in (("a", {"accuracy": 0.5, "outputs.sha256": "x"}), ("b", {"accuracy": 0.4, "new": 1.0})):
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(baseline_text(make_baseline(metrics)))
    found = between(*paths)
    assert [(c.key, c.old, c.new) for c in found.figures] == [("accuracy", 0.5, 0.4), ("new", None, 1.0)]
    assert found.facts == (("outputs.sha256", "x", ""),)
    folder = saved(tmp_path / "bundle", model(SPEC))
    with pytest.raises(UsageError, match=r"SSMC-C11.*two of one kind"):
        between(paths[0], folder)


@pytest.mark.parametrize("text", ["", "{}", "[1]", "nan", '{"schema": "ssmc.report/9"}', "\x00"])
def test_what_is_no_side(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="SSMC-C11"):
        read_side(path)
    with pytest.raises(UsageError, match="SSMC-C11"):
        read_side(tmp_path / "none.json")


def test_relative_changes() -> None:
    assert Change("a", 2, 1).relative == -0.5
    assert Change("a", -2, -1).relative == 0.5
    assert Change("a", 0, -1).relative == -math.inf
    assert Change("a", None, 1).relative == math.inf


def test_markdown_has_a_cell_for_every_column() -> None:
    facts = (("operation a|b\x1b kind", "x", "y|z"),)
    found = Difference(("old", "new"), (Change("area_um2.low", 1e6, 2e6),), (), facts, {"w": None})
    lines = [line for line in as_markdown(found, 9).splitlines() if line.startswith("|")]
    assert "| area_um2.low | 1 mm² | 2 mm² | +1 mm² | +100 % |" in lines
    assert "| operation a\\|b\\\\x1b kind | x | y\\|z |" in lines


def test_the_command_fails_over_a_percentage(tmp_path: Path) -> None:
    proto = model(SPEC)
    old = saved(tmp_path / "a", proto, AimcTarget())
    new = saved(tmp_path / "b", proto, AimcTarget(set=("dac.energy_pj=3.6",)))
    assert run("diff", old, new).exit_code == 0
    assert run("diff", old, new, "--fail-over", "50").exit_code == 0
    result = run("diff", old, new, "--fail-over", "0", "--markdown", "--rows", 2)
    assert (result.exit_code, "SSMC-C03" in result.stderr) == (4, True)
    assert "### Figures" in result.stdout
    assert run("diff", old, old, "--fail-over", "0").exit_code == 0
    assert run("diff", old, new, "--fail-over", "nan").exit_code == 2
