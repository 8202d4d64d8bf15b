"""The committed curves of accuracy against noise, and the figure that sums one up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from examples.lib.parents import Task
from examples.studies.noise import briefly, tolerated
from ssmc.qat.training import Phase

CURVES = sorted((Path(__file__).parent.parent / "examples").glob("*/noise.json"))


def test_the_tolerated_noise_is_where_the_mean_crosses_nine_tenths_of_the_clean_accuracy():
    levels = (0.0, 0.01, 0.02, 0.05)
    assert tolerated(levels, [[0.8], [0.8, 0.76], [0.7, 0.62], [0.1]]) == pytest.approx(0.015)
    assert tolerated(levels, [[0.5], [0.0], [0.0], [0.0]]) == pytest.approx(0.001)
    assert tolerated(levels, [[0.8], [0.8], [0.75], [0.73]]) == 0.05


@pytest.mark.parametrize("path", CURVES, ids=lambda path: path.parent.name)
def test_the_committed_figures_are_those_of_the_committed_curves(path):
    document = json.loads(path.read_text())
    possible = {right / document["samples"] for right in range(document["samples"] + 1)}
    assert document["tolerated"].keys() == document["accuracy"].keys()
    for name, curves in document["accuracy"].items():
        assert document["tolerated"][name] == {seed: tolerated(document["levels"], c) for seed, c in curves.items()}
        for rows in curves.values():
            assert [len(row) for row in rows] == [1] + [document["draws"]] * (len(document["levels"]) - 1)
            assert all(possible.issuperset(row) for row in rows)
    assert path.with_suffix(".svg").read_text().count("<svg") == 1


def test_a_run_of_given_length_learns_from_labels_alone():
    phases = Phase("a", 1, 1e-3, 2e-4), Phase("b", 40, 2e-3, 2e-4, distil=1.0, mixed=True)
    task = Task("t", "t.npz", None, None, (), phases)
    assert briefly(task, 3).qat_phases == (Phase("b", 3, 2e-3, 2e-4),)
    assert briefly(task, None) is task
