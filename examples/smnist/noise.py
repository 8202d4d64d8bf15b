"""Accuracy against conductance noise: Gaussian on every cell, relative to the largest code, drawn for every batch.

\b
    python -m examples.smnist.noise --data mnist.npz \
        --quant examples/quant/direct-8.toml --quant examples/quant/delta-8.toml --quant examples/quant/mixed-8.toml

Writes noise.json and noise.svg beside this file. Test-only noise on models quantized after training.
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import matplotlib as mpl
import numpy as np
import torch

from examples.experiment import quantized
from examples.smnist.train import task
from ssmc.qat import QuantConfig, S4DClassifier, set_noise
from ssmc.qat.training import evaluate

LEVELS = (0.0, 0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05)
TOLERATED = 0.9  # share of the clean accuracy
HERE = Path(__file__).parent


def curve(model: S4DClassifier, batches: list[object], draws: int, seed: int) -> list[list[float]]:
    """Accuracies [level][draw]."""
    found = []
    for level in LEVELS:
        set_noise(model, level)
        row = []
        for draw in range(draws if level else 1):
            torch.manual_seed(1000 * seed + draw)
            row.append(evaluate(model, batches)[0])  # type: ignore[arg-type]
        found.append(row)
        click.echo(f"  noise {100 * level:.1f} %: {100 * float(np.mean(row)):.2f}")
    set_noise(model, None)
    return found


def tolerated(accuracies: list[list[float]]) -> float:
    """Noise at which the mean falls to 90 % of the clean accuracy, interpolated; the last level if it never does."""
    means = [float(np.mean(row)) for row in accuracies]
    goal = TOLERATED * means[0]
    for k in range(1, len(means)):
        if means[k] < goal:
            share = (means[k - 1] - goal) / (means[k - 1] - means[k])
            return LEVELS[k - 1] + share * (LEVELS[k] - LEVELS[k - 1])
    return LEVELS[-1]


def plot(curves: dict[str, list[list[float]]], path: Path) -> None:
    """Means over draws, with their range."""
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "ssmc"
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.6))
    for name, rows in curves.items():
        x = 100 * np.array(LEVELS)
        axes.plot(x, [100 * np.mean(row) for row in rows], marker="o", label=name)
        axes.fill_between(x, [100 * min(row) for row in rows], [100 * max(row) for row in rows], alpha=0.2)
    axes.set(xlabel="conductance noise, % of the largest code", ylabel="test accuracy, %", ylim=(0, 100))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


@click.command(help=__doc__)
@click.option("--data", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--quant", "files", type=click.Path(exists=True, path_type=Path), multiple=True, required=True)
@click.option("--method", type=click.Choice(["ptq", "qat"]), default="ptq", show_default=True)
@click.option("--images", default=1000, show_default=True, help="first so many of the test part")
@click.option("--draws", default=4, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", default=1, show_default=True)
def main(data: Path, files: tuple[Path, ...], method: str, images: int, draws: int, seed: int, threads: int) -> None:
    """Curves of all models."""
    torch.set_num_threads(threads)
    chosen = task(data)
    batches = list(chosen.data.test[:images].batches(125))  # type: ignore[attr-defined]
    curves = {}
    for file in files:
        model = quantized(chosen, QuantConfig.from_toml(file), f"{method}-{file.stem}", seed, method)
        curves[f"{method} {file.stem}"] = curve(model, batches, draws, seed)
    limits = {name: round(tolerated(rows), 5) for name, rows in curves.items()}
    document = {"images": images, "draws": draws, "levels": LEVELS, "accuracy": curves, "tolerated": limits}
    (HERE / "noise.json").write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
    plot(curves, HERE / "noise.svg")
    for name, limit in limits.items():
        click.echo(f"{name}: 90 % of the clean accuracy up to {100 * limit:.2f} % noise")


if __name__ == "__main__":
    main()
