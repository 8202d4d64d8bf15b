"""Fewer states for the committed float models without training: selected modes against fitted ones.

\b
    python -m examples.studies.orders --task spoken_digits --data fsdd.npz

Prints accuracies of the float model, of `ssmc.qat.pruning.prune_modes` (the modes with the most output energy stay as
they are) and of `ssmc.qat.reduce` (poles, residues and D fitted to each channel's output on its own input), on the
held-out part and on the test part. Both see the calibration sequences of the task, which are of the training part.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from torch import Tensor

from examples.lib.parents import Task, float_model
from examples.studies.tasks import TASKS, study_options
from ssmc.qat import Mode, S4DClassifier, reduce, set_mode
from ssmc.qat.pruning import prune_modes
from ssmc.qat.training import evaluate

Change = Callable[[S4DClassifier, list[Tensor]], object]


def changes(states: int) -> dict[str, Change]:
    """Ways to ``states`` real states a channel."""
    return {
        "selected": lambda model, batches: prune_modes(model, states // 2, batches),
        "fitted": lambda model, batches: reduce(model, batches, states=states),
    }


def accuracies(task: Task, model: S4DClassifier) -> tuple[float, float]:
    """Of the float model in percent: held out, test."""
    set_mode(model, Mode.FLOAT)
    held_out, test = (evaluate(model.eval(), part)[0] for part in (task.data.validation(), task.data.testing()))
    return 100 * held_out, 100 * test


def row(name: str, found: list[tuple[float, float]]) -> str:
    """Means over seeds, and the test accuracy of each."""
    held_out, test = np.mean(found, 0)
    each = " ".join(f"{of_test:.2f}" for _, of_test in found)
    return f"| {name} | {held_out:.2f} | {test:.2f} | {each} |"


@click.command()
@study_options
@click.option("--states", multiple=True, type=click.IntRange(2), default=(4, 6), help="Even numbers. Repeatable.")
@click.option("--seeds", default=3, show_default=True, help="Number of float models, from seed 0.")
def main(name: str, data: Path, states: tuple[int, ...], seeds: int) -> None:
    """Print the table of a task."""
    task = TASKS[name](data)
    parents = [float_model(task, seed) for seed in range(seeds)]
    batches = task.data.calibration()
    click.echo(f"{name}, seeds 0 to {seeds - 1}; fitted on {sum(map(len, batches))} sequences\n")
    click.echo("| states a channel | held out | test | test, each seed |\n| --- | --- | --- | --- |")
    click.echo(row(f"float, {2 * parents[0].blocks[0].ssm.C.shape[1]}", [accuracies(task, m) for m in parents]))
    for count in states:
        for how, change in changes(count).items():
            found = []
            for parent in parents:
                model = copy.deepcopy(parent)
                change(model, batches)
                found.append(accuracies(task, model))
            click.echo(row(f"{how}, {count}", found))


if __name__ == "__main__":
    main()
