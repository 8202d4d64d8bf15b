"""What the experiments share, without their data: float models in files, configurations of sweeps, losses in pairs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from examples.commands.words import resampled
from examples.lib.folders import EXAMPLES
from examples.lib.parents import Task, float_model, load_parameters, parameters, save_parameters
from examples.lib.rows import wrong
from examples.studies.bits import EVERYTHING, TENSORS, config
from examples.studies.poles import distances
from examples.studies.results import loss
from examples.studies.tasks import TASKS
from ssmc.qat import Mode, ModelConfig, QuantConfig, S4DClassifier, set_mode

SHAPE = ModelConfig(d_input=2, d_output=3, d_model=4, d_state=4, layers=1)
FLOAT_MODELS = sorted(EXAMPLES.glob("*/models/float-*.npz"))


def test_a_float_model_comes_back_from_its_file_with_the_same_answers(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model, other = (S4DClassifier(SHAPE).eval() for _ in range(2))
    save_parameters(model, tmp_path / "a.npz")
    load_parameters(other, tmp_path / "a.npz")
    x = torch.randn(2, 5, 2)
    for each in (model, other):
        set_mode(each, Mode.RECURRENT)
    assert torch.equal(model(x), other(x))
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_what_calibration_finds_is_no_parameter_of_a_float_model() -> None:
    names = parameters(S4DClassifier(SHAPE))
    assert not [name for name in names if "step" in name or name.endswith(("shift", "keep", "spread"))]


@pytest.mark.parametrize("path", FLOAT_MODELS, ids=lambda path: f"{path.parent.parent.name}-{path.stem}")
def test_a_committed_float_model_has_the_parameters_its_row_counts(path: Path) -> None:
    document = json.loads((path.parent.parent / "results.json").read_text())
    row = next(row for row in document["rows"] if row["name"] == path.stem)
    with np.load(path, allow_pickle=False) as stored:
        trained = [stored[name] for name in stored.files if "running" not in name and "num_batches" not in name]
    assert f"{sum(part.size for part in trained):,} parameters" in row["architecture"]


def test_a_committed_float_model_needs_no_training(tmp_path: Path) -> None:
    torch.manual_seed(2)
    model = S4DClassifier(SHAPE)
    task = Task(str(tmp_path), "none.npz", None, SHAPE, (), ())  # type: ignore[arg-type]
    save_parameters(model, task.folder / "models" / "float-s7.npz")
    found = float_model(task, 7).state_dict()
    assert all(torch.equal(found[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("tensor", [*TENSORS, "everything"])
def test_a_sweep_changes_the_bits_of_one_tensor_alone(tensor: str) -> None:
    base, changed = config(tensor, 8), config(tensor, 3)
    differ = {name for name in EVERYTHING if getattr(base, name) != getattr(changed, name)}
    assert differ == set(TENSORS.get(tensor, EVERYTHING))
    assert base == QuantConfig(readout_bits=8, coder_bits=8, form="mixed", power_of_two=False)


def test_a_loss_is_told_with_both_intervals() -> None:
    def row(missed: str) -> dict[str, object]:
        accuracy = 1 - len(missed.split()) / 10
        return {"accuracy_torch": accuracy, "accuracy_compiled": accuracy, "wrong": missed, "n_test": 10}

    assert wrong(np.array([1, 2, 0]), np.array([1, 0, 1])) == "1 2"
    same = [(row("0 1"), row("0 1"))] * 3
    assert (
        loss(same)
        == "loses 0.00 ± 0.00 points (95 %, by seed: 0.00, 0.00, 0.00; over test items, seeds as they are: ± 0.00)"
    )
    one = [(row(""), row(str(seed))) for seed in range(3)]  # items 0, 1, 2 each missed by one of three seeds
    spread = np.std([1 / 3] * 3 + [0] * 7, ddof=1) / np.sqrt(10) * 2.2622 * 100
    assert loss(one).startswith("loses 10.00 ± 0.00 points")
    assert loss(one).endswith(f"± {spread:.2f})")


def test_every_task_says_how_to_train_it() -> None:
    assert sorted(TASKS) == sorted(
        path.parent.name for path in EXAMPLES.glob("*/results.json") if "rows" in json.loads(path.read_text())
    )


def test_distances_of_poles_are_those_of_the_committed_models() -> None:
    with np.load(EXAMPLES / "smnist" / "models" / "float-s0.npz", allow_pickle=False) as stored:
        parts = [{k: stored[f"blocks.{i}.ssm.{k}"] for k in ("log_dt", "log_A_real", "A_imag")} for i in range(2)]
    poles = [np.exp(np.exp(p["log_dt"])[:, None] * (-np.exp(p["log_A_real"]) + 1j * p["A_imag"])) for p in parts]
    np.testing.assert_allclose(distances("smnist"), np.abs(np.concatenate(poles).flatten() - 1), atol=1e-5)


def test_a_delayed_wave_is_the_wave_later_and_silence_before_it() -> None:
    wave = np.random.default_rng(0).standard_normal((2, 100))
    later, earlier = resampled(wave, np.ones(2), np.array([5.0, -7.0]))
    np.testing.assert_allclose(later, [*np.zeros(5), *wave[0, :-5]], atol=1e-12)
    np.testing.assert_allclose(earlier, [*wave[1, 7:], *np.zeros(7)], atol=1e-12)


def test_a_faster_tone_is_a_higher_tone_about_the_same_middle() -> None:
    t = np.arange(1001.0)
    (faster,) = resampled(np.sin(0.02 * t)[None], np.array([1.1]), np.zeros(1))
    inside = np.abs(t - 500) < 450
    np.testing.assert_allclose(faster[inside], np.sin(0.02 * (500 + 1.1 * (t - 500)))[inside], atol=1e-4)
    assert not faster[np.abs(t - 500) > 460].any()
