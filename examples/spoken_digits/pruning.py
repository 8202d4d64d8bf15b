"""Structural pruning of the demo within a budget of accuracy: what goes, and what is left of the costs.

    python examples/spoken_digits/pruning.py --data fsdd.npz --points 1

The budget is measured on the 300 held-out recordings of the training part, accuracy reported on the 300 of the test
part. Writes ``pruning.json``.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from recordings import load_splits, write_npz

from ssmc import bundle
from ssmc.bundle import Bundle
from ssmc.bundle.check import accuracy, evaluate
from ssmc.bundle.pruning import Budget
from ssmc.data import Samples, load_samples
from ssmc.report.facts import dump_json

HERE = Path(__file__).parent


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


def main() -> None:
    """Compile without and with every budget."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="fsdd.npz")
    parser.add_argument("--points", type=float, nargs="+", default=[1.0], help="budgets, percentage points")
    arguments = parser.parse_args()
    kept, test = held_out(arguments.data), load_samples(HERE / "test.npz")
    rows: list[dict[str, Any]] = [figures(bundle.compile(HERE / "model.onnx", oracle=False), test)]
    for points in arguments.points:
        made = bundle.compile(HERE / "model.onnx", prune=Budget(points, kept), oracle=False)
        rows.append({"pruning": made.report.pruning, **figures(made, test)})
        print(dump_json(rows[-1]))
    (HERE / "pruning.json").write_text(dump_json({"rows": rows}), encoding="utf-8")


if __name__ == "__main__":
    main()
