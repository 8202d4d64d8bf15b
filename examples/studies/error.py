"""What `ssmc quantize --error` makes of a float model: the fewest bits, tensor by tensor, for a loss that is allowed.

\b
    python -m examples.studies.error --task spoken_digits --data fsdd.npz --points 1 --points 2

Exports the float model of a seed, calibrates on sequences of the training part, lets the held-out part judge, and
compiles for the integer target. Prints, for every loss, points lost on the held-out part and on the test part, which
chose nothing, and how many times fewer ACE, size and ADC complexity are than at 32 bits; with --out as JSON.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import click
import onnx
import torch

import ssmc
from examples.lib.parents import Task, float_model
from examples.studies.post_training import calibration, samples_of
from examples.studies.tasks import TASKS, study_options
from ssmc.bundle.check import accuracy, evaluate
from ssmc.qat import Mode, set_mode
from ssmc.qat.training import evaluate as of_torch
from ssmc.quantize import QuantizeConfig
from ssmc.quantize.allocation import Allocated, allocate
from ssmc.quantize.model import Ready

FIGURES = ("ace", "size_bits", "adc")


def measured(task: Task, seed: int, points: tuple[float, ...]) -> list[dict[str, Any]]:
    """A row for each loss, in percent and percentage points."""
    model = float_model(task, seed)
    set_mode(model, Mode.FLOAT)
    before = 100 * of_torch(model.eval(), task.data.testing())[0]
    set_mode(model, Mode.RECURRENT)
    judges, test = samples_of(task.data.validation()), samples_of(task.data.testing())
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "float.onnx"
        ssmc.export_onnx(model.eval(), torch.zeros(2, 40, task.model.d_input), path)
        ready = Ready.read(path, calibration(task))
        for most in points:
            found = allocate(ready, judges, most, QuantizeConfig())
            onnx.save(found.quantized.model, Path(folder) / "quantized.onnx")
            compiled = ssmc.compile(Path(folder) / "quantized.onnx", oracle=False)
            score = 100 * accuracy(evaluate(compiled, test), test.label)
            rows.append({"allowed": most, "lost_held_out": found.lost, "test": score, "lost_test": before - score})
            rows[-1] |= {"times_less": less(found), "bits": {":".join(tensor): b for tensor, b in found.bits.items()}}
    return rows


def less(found: Allocated) -> dict[str, float]:
    """How many times fewer than at 32 bits."""
    return {name: round(getattr(found.fp32, name) / getattr(found.figures, name), 2) for name in FIGURES}


@click.command(help=__doc__)
@study_options
@click.option("--points", type=float, multiple=True, default=(1.0, 2.0), show_default=True, help="Losses allowed.")
@click.option("--seed", type=int, default=0, show_default=True, help="Float model to quantize.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="JSON file to write.")
def main(name: str, data: Path, points: tuple[float, ...], seed: int, out: Path | None) -> None:
    """A line for each loss."""
    rows = measured(TASKS[name](data), seed, points)
    click.echo("| allowed | lost, held out | test | lost, test | ACE | size | ADC |\n|---|---|---|---|---|---|---|")
    for row in rows:
        times = " | ".join(f"{row['times_less'][figure]:.1f}x" for figure in FIGURES)
        lost = f"{row['lost_held_out']:.2f} | {row['test']:.2f} | {row['lost_test']:.2f}"
        click.echo(f"| {row['allowed']:g} | {lost} | {times} |")
    if out is not None:
        out.write_text(json.dumps({"task": name, "seed": seed, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
