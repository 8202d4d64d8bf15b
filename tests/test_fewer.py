"""Few fitted states at lower rates, from a float model to rows: names, counting, and going on after a stop."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from click.testing import CliRunner

from examples.lib import dense
from examples.lib.dense import Dense
from examples.lib.options import Numbers
from examples.lib.parents import Task, save_parameters
from examples.lib.ragged import Part, Ragged
from examples.lib.recipe import FirstBatches, Recipe, Shape, shortened
from examples.studies import fewer, post_training
from ssmc.analysis.bases import literal
from ssmc.analysis.qs4d_metrics import fp32_twin, qs4d_figures
from ssmc.qat import ModelConfig, S4DClassifier
from ssmc.qat.training import Phase

ROOT = Path(__file__).parents[1]
FEWER = ROOT / "examples" / "quant" / "fewer.toml"
SHAPE = ModelConfig(d_input=2, d_output=3, d_model=4, d_state=8, layers=2, input_gain=0.01, dt_min=0.02, dt_max=0.3)


def part(count: int, seed: int) -> Part:
    """Noise of three strengths, of 9 to 20 steps."""
    rng = np.random.default_rng(seed)
    label = np.arange(count) % 3
    x = [(100 * (1 + k) * rng.standard_normal((rng.integers(9, 21), 2))).astype(np.int16) for k in label]
    return Part(tuple(x), label)


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Task:
    """A tiny task whose folder and runs are in the working directory, an empty one."""
    return task_in(tmp_path, monkeypatch, SHAPE)


@pytest.fixture
def shallow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Task:
    """The same with one layer, which takes half the time to train and to export."""
    return task_in(tmp_path, monkeypatch, replace(SHAPE, layers=1))


def task_in(folder: Path, monkeypatch: pytest.MonkeyPatch, shape: ModelConfig) -> Task:
    monkeypatch.chdir(folder)
    data = Ragged(part(24, 0), part(6, 1), part(12, 2), batch=6)
    found = Task(str(folder / "tiny"), "none.npz", data, shape, (), (Phase("qat", 2, 2e-3, 2e-4, distil=0.5),))
    torch.manual_seed(3)
    save_parameters(S4DClassifier(shape), found.folder / "models" / "float-s0.npz")
    monkeypatch.setitem(fewer.TASKS, "smnist", lambda path: found)  # data of any file
    return found


def rows(task: Task, *options: str) -> tuple[str, list[dict]]:
    """What the study prints, and its rows."""
    line = ["--task", "smnist", "--data", str(FEWER), "--quant", str(FEWER), "--seeds", "0", *options]
    ran = CliRunner().invoke(fewer.main, line, catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    return ran.output, json.loads((task.folder / "results.json").read_text())["rows"]


def test_states_and_rates_together_from_a_float_model_to_a_row(task):
    """The compiled codes are torch's, the row counts what is in the file, and a second run does nothing again."""
    printed, (row,) = rows(task, "--states", "3", "--rates", "1,2")
    assert row["name"] == "qat-fewer-fit3-r1x2-s0"
    assert row["rates"] == [1, 2]
    assert row["states"] == [12, 12]
    assert row["accuracy_compiled"] == row["accuracy_torch"]
    assert "--states 3 --rates 1,2" in row["command"]
    assert row["times_less"]["ace"] > row["times_less_equal_states"]["ace"]
    assert row["times_less"]["adc"] >= row["times_less_literal"]["adc"] > 1
    assert "qat epoch 2/2" in printed
    again, same = rows(task, "--states", "3", "--rates", "1,2")
    assert "epoch" not in again
    assert same == [row]


def test_a_training_goes_on_and_another_recipe_trains_anew(shallow):
    _, before = rows(shallow, "--modes", "1")
    (shallow.folder / "models" / "qat-fewer-n2-s0.onnx").unlink()  # as if it was stopped before the export
    printed, after = rows(shallow, "--modes", "1")
    assert "epoch" not in printed  # all of them are in the checkpoint
    assert after == before
    printed, (row,) = rows(shallow, "--modes", "1", "--epochs", "1")
    assert "qat epoch 1/1" in printed
    assert "--epochs 1" in row["command"]


def test_a_trial_is_short_and_leaves_the_results_alone(task):
    short = shortened(task, 1, 2)
    assert len(short.data.training(np.random.default_rng(0))) == 2
    assert len(task.data.training(np.random.default_rng(0))) == 4
    assert short.qat_phases[-1].epochs == 1
    recipe = Recipe(FEWER, Shape(states=2), batches=2)
    assert recipe.folder(task) != task.folder
    assert recipe.name("qat") == "qat-fewer-fit2-b2"


def test_a_trial_makes_the_batches_it_needs_and_no_more():
    x, label = np.zeros((12, 5, 2), np.int16), np.zeros(12, np.int64)
    whole = Dense(*(dense.Part(x, label),) * 3, batch=3)
    epoch = FirstBatches(whole, 2).training(np.random.default_rng(0))
    assert [len(batch[0]) for batch in epoch] == [3, 3]


@pytest.mark.parametrize(
    "shape", [Shape(modes=1, states=2), Shape(states=9), Shape(modes=5), Shape(rates=(1, 2, 2)), Shape(rates=(1, 0))]
)
def test_a_shape_that_the_model_cannot_have_is_refused(task, shape):
    with pytest.raises(click.UsageError):
        shape.check(task)


def test_numbers_with_commas():
    assert Numbers().convert("1,2, 4", None, None) == (1, 2, 4)
    with pytest.raises(click.BadParameter):
        Numbers().convert("1,-2", None, None)


def test_the_bits_of_fewer_are_17_5_and_3_levels():
    quant = Recipe(FEWER).config
    limits = [quant.grid(bits).limit for bits in (quant.kernel_bits, quant.coder, quant.weight_bits)]
    assert [2 * limit + 1 for limit in limits] == [17, 5, 3]


def test_literal_counts_states_that_differ_by_channel():
    """15 states over 6 channels instead of 12: three states and their weights more."""
    twin = fp32_twin(layers=1, channels=6, states=2, d_in=2, d_out=3)
    few, more = (qs4d_figures(literal(twin, twin, [count])) for count in (12, 15))
    assert few == qs4d_figures(twin)
    assert more.size_bits - few.size_bits == 3 * 2 * 32
    assert more.adc - few.adc == 3 * 32
    assert more.ace - few.ace == 3 * 2 * 32 * 32


def test_post_training_measures_every_width(shallow, tmp_path, monkeypatch):
    monkeypatch.setitem(post_training.TASKS, "smnist", lambda path: shallow)
    line = ["--task", "smnist", "--data", str(FEWER), "--bits", "8,5", "--out", str(tmp_path / "rows.json")]
    ran = CliRunner().invoke(post_training.main, line, catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert [row["bits"] for row in rows] == ["float", "8", "5"]
    assert rows[1]["sqnr_db"] > rows[2]["sqnr_db"]
