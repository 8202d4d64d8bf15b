"""Structural pruning of the demo within a budget of accuracy: what goes, and what is left of the costs.

    python -m examples.spoken_digits.pruning --data fsdd.npz

The budget is measured on the 300 held-out recordings of the training part, accuracy reported on the 300 of the test
part; nothing is trained. Writes ``pruning.json`` and ``pruning.svg``. Published beside it: 20.7 % of the kernel goes in
structures at a point of loss, S4D at 7 bits on sCIFAR-10 (arXiv 2507.06079, digitised from its figure).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import ssmc
from examples.lib.sweep import drawing
from examples.spoken_digits.recordings import load_splits, write_npz
from ssmc.bundle.check import accuracy, evaluate
from ssmc.bundle.folder import Bundle
from ssmc.bundle.pruning import Budget
from ssmc.data import Samples, load_samples
from ssmc.report.facts import dump_json

HERE = Path(__file__).parent
PUBLISHED_SHARE = 20.7


def held_out(data: Path) -> Samples:
    """The recordings that chose the model, as frames."""
    with tempfile.TemporaryDirectory() as folder:
        write_npz(load_splits(data)["val"], Path(folder) / "held_out.npz")
        return load_samples(Path(folder) / "held_out.npz")


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


def main() -> None:
    """Compile without and with every budget."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="fsdd.npz")
    parser.add_argument("--points", type=float, nargs="+", default=[0.4, 1, 2, 4, 8], help="budgets, percentage points")
    arguments = parser.parse_args()
    kept, test = held_out(arguments.data), load_samples(HERE / "test.npz")
    rows: list[dict[str, Any]] = [figures(ssmc.compile(HERE / "model.onnx", oracle=False), test)]
    for points in arguments.points:
        made = ssmc.compile(HERE / "model.onnx", prune=Budget(points, kept), oracle=False)
        rows.append({"pruning": made.report.pruning, **figures(made, test)})
        print(dump_json(rows[-1]))
    (HERE / "pruning.json").write_text(dump_json({"rows": rows}), encoding="utf-8")
    plot(rows, HERE / "pruning.svg")


if __name__ == "__main__":
    main()
