"""Accuracy against conductance noise: Gaussian on every cell, relative to the largest code, drawn for every batch.

\b
    python -m examples.studies.noise --task commands --data asc12_8khz.npz --epochs 2 --draws 2 --seeds 3 \
        --quant examples/quant/direct-8.toml --quant examples/quant/direct-8-noise.toml \
        --quant examples/quant/delta-8.toml --quant examples/quant/delta-8-noise.toml
    python -m examples.studies.noise --task smnist --data mnist.npz --epochs 1 --draws 2 --samples 1000 \
        --quant examples/quant/direct-8.toml --quant examples/quant/direct-8-noise.toml \
        --quant examples/quant/delta-8.toml --quant examples/quant/delta-8-noise.toml

Writes noise.json and noise.svg into the folder of the task; curves that the file already has are not made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from examples.lib import options
from examples.lib.experiment import quantized
from examples.lib.parents import Task
from examples.lib.sweep import begun, drawing, written
from examples.studies.tasks import TASKS, study_options
from ssmc.qat import QuantConfig, S4DClassifier, set_noise
from ssmc.qat.data import Batch
from ssmc.qat.training import evaluate

LEVELS = (0.0, 0.0005, 0.001, 0.002, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.04, 0.05)
TOLERATED = 0.9  # share of the clean accuracy
TOGETHER = 125  # sequences under one draw

Curve = list[list[float]]


def curve(model: S4DClassifier, batches: Sequence[Batch], draws: int, seed: int) -> Curve:
    """Accuracies [level][draw]."""
    found = []
    for level in LEVELS:
        set_noise(model, level)
        row = []
        for draw in range(draws if level else 1):
            torch.manual_seed(1000 * seed + draw)
            row.append(evaluate(model, batches)[0])
        found.append(row)
        click.echo(f"  noise {100 * level:.1f} %: {100 * float(np.mean(row)):.2f}")
    set_noise(model, None)
    return found


def tolerated(levels: Sequence[float], accuracies: Curve) -> float:
    """Noise at which the mean falls to 90 % of the clean accuracy, interpolated; the last level if it never does."""
    means = [float(np.mean(row)) for row in accuracies]
    goal = TOLERATED * means[0]
    for k in range(1, len(means)):
        if means[k] < goal:
            share = (means[k - 1] - goal) / (means[k - 1] - means[k])
            return round(levels[k - 1] + share * (levels[k] - levels[k - 1]), 5)
    return levels[-1]


def plot(document: dict[str, Any], path: Path) -> None:
    """Means over draws and seeds, with their range."""
    with drawing(path, 1, 1, figsize=(6, 3.6)) as ((axes,),):
        x = 100 * np.array(document["levels"])
        for name, curves in sorted(document["accuracy"].items()):
            rows = [[x for draws in level for x in draws] for level in zip(*curves.values(), strict=True)]
            axes.plot(x, [100 * np.mean(row) for row in rows], marker="o", label=name)
            axes.fill_between(x, [100 * min(row) for row in rows], [100 * max(row) for row in rows], alpha=0.2)
        axes.set(xlabel="conductance noise, % of the largest code", ylabel="test accuracy, %", ylim=(0, 100))
        axes.grid(alpha=0.3)
        axes.legend()


def briefly(task: Task, epochs: int | None) -> Task:
    """The task; with ``epochs``, fine-tuned on the labels alone for so many, at the last rates, the best kept."""
    if epochs is None:
        return task
    phase = replace(task.qat_phases[-1], epochs=epochs, distil=0.0, mixed=False, keep="best")
    return replace(task, qat_phases=(phase,))


@click.command(help=__doc__)
@study_options
@click.option("--quant", "files", type=options.FILE, multiple=True, required=True, help="Bit widths, a TOML file.")
@click.option("--method", type=click.Choice(["ptq", "qat"]), default="qat", show_default=True, help="ptq: no training.")
@click.option("--epochs", type=int, help="Epochs of fine-tuning without a teacher.  [default: as the task does]")
@click.option("--samples", type=int, help="Number of test sequences, from the first on.  [default: all]")
@click.option("--draws", default=5, show_default=True, help="Draws of the noise at each level.")
@click.option("--seeds", default=1, show_default=True, help="Number of float models, each with its quantized children.")
def main(
    name: str,
    data: Path,
    files: tuple[Path, ...],
    method: str,
    epochs: int | None,
    samples: int | None,
    draws: int,
    seeds: int,
) -> None:
    """Measure the curves that are missing, then draw all."""
    task = briefly(TASKS[name](data), epochs)
    test = task.data.test[:samples]  # type: ignore[attr-defined]
    batches = list(test.batches(TOGETHER))
    path = task.folder / "noise.json"
    setting = {"samples": len(test), "draws": draws, "levels": list(LEVELS), "epochs": epochs}
    document = begun(path, setting, {"accuracy": {}, "tolerated": {}})
    for seed in range(seeds):
        for file in files:
            key = f"{method} {file.stem}"
            if str(seed) in document["accuracy"].get(key, {}):
                continue
            model = quantized(task, QuantConfig.from_toml(file), f"noise-{method}-{file.stem}", seed, method)
            found = curve(model, batches, draws, seed)
            document["accuracy"].setdefault(key, {})[str(seed)] = found
            document["tolerated"].setdefault(key, {})[str(seed)] = tolerated(LEVELS, found)
            written(path, document)
            click.echo(f"{key} seed {seed}: 90 % of clean up to {100 * tolerated(LEVELS, found):.2f} % noise")
    plot(document, path.with_suffix(".svg"))


if __name__ == "__main__":
    main()
