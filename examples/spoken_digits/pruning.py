"""Structural pruning of the demo within a budget of accuracy: what goes, and what is left of the costs.

\b
    python -m examples.spoken_digits.pruning --data fsdd.npz

The budget is measured on the 300 held-out recordings of the training part, accuracy reported on the 300 of the test
part; nothing is trained. Writes pruning.json and pruning.svg. The figure also shows what was published: 20.7 % of the
kernel removed in structures for one point of loss (S4D at 7 bits on sCIFAR-10, arXiv 2507.06079, digitised).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import ssmc
from examples.lib import options
from examples.lib.sweep import drawing
from examples.spoken_digits.recordings import load_splits, samples
from ssmc.bundle.check import accuracy, evaluate
from ssmc.bundle.folder import Bundle
from ssmc.bundle.pruning import Budget
from ssmc.data import Samples, load_samples
from ssmc.report.facts import dump_json

HERE = Path(__file__).parent
PUBLISHED_SHARE = 20.7


def figures(made: Bundle, test: Samples) -> dict[str, Any]:
    """Accuracy on the test part, nonzero weights, and both countings of the literature."""
    assert test.label is not None
    return {
        "accuracy_test": accuracy(evaluate(made, test), test.label),
        "live_states": sum(k.live_states for k in made.report.kernels),
        "nonzero_weights": sum(op.weights - op.zero_weights for op in made.report.ops),
        "metrics": {name: counting["model"] for name, counting in made.report.metrics.items()},
    }


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Accuracy over the share of modes that is gone, on the data of the budget and on the test part."""
    first, *pruned = rows
    start = pruned[0]["pruning"]
    gone = [0.0, *(100 * row["pruning"]["modes_cut"] / row["pruning"]["modes"] for row in pruned)]
    held_out = [start["accuracy_before"], *(row["pruning"]["accuracy_after"] for row in pruned)]
    test = [first["accuracy_test"], *(row["accuracy_test"] for row in pruned)]
    with drawing(path, 1, 1, figsize=(6, 3.6)) as ((axes,),):
        axes.plot(gone, [100 * a for a in held_out], marker="o", label="held out (the budget)")
        axes.plot(gone, [100 * a for a in test], marker="o", label="test")
        axes.axvline(PUBLISHED_SHARE, ls=":", color="gray", label="published, 1 point of loss (sCIFAR-10)")
        for x, row in zip(gone[1:], pruned, strict=True):
            text = f"{row['pruning']['budget_points']:g}"
            axes.annotate(text, (x, 100 * row["pruning"]["accuracy_after"]), textcoords="offset points", xytext=(3, 4))
        axes.set(xlabel="modes removed, %", ylabel="accuracy, %", title="numbers: budget in points")
        axes.grid(alpha=0.3)
        axes.legend()


@click.command(help=__doc__)
@options.data
@click.option(
    "--points",
    type=float,
    multiple=True,
    default=(0.4, 1.0, 2.0, 4.0, 8.0),
    show_default=True,
    help="Budget in percentage points; several are allowed.",
)
def main(data: Path, points: tuple[float, ...]) -> None:
    """Compile without and with every budget."""
    held_out, test = samples(load_splits(data)["val"]), load_samples(HERE / "test.npz")
    rows: list[dict[str, Any]] = [figures(ssmc.compile(HERE / "model.onnx", oracle=False), test)]
    for budget in points:
        made = ssmc.compile(HERE / "model.onnx", prune=Budget(budget, held_out), oracle=False)
        rows.append({"pruning": made.report.pruning, **figures(made, test)})
        click.echo(dump_json(rows[-1]))
    (HERE / "pruning.json").write_text(dump_json({"rows": rows}), encoding="utf-8")
    plot(rows, HERE / "pruning.svg")


if __name__ == "__main__":
    main()
