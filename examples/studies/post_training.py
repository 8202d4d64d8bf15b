"""Post-training quantization of the committed float models at few bits: what it loses, task by task and seed by seed.

\b
    python -m examples.studies.post_training --task commands --data asc12_8khz.npz --bits 6,5

Exports the float model of every seed, quantizes it on the calibration sequences of the task (of the training part), all
widths alike but the output's, and compiles it for the integer target. Prints accuracies of the float model and of the
compiled one on the held-out part and on the test part, and with --out writes them as JSON.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import onnx
import torch

import ssmc
from examples.lib import options
from examples.lib.parents import Task, float_model
from examples.studies.tasks import TASKS, study_options
from ssmc.bundle.check import accuracy, evaluate
from ssmc.data import Samples
from ssmc.qat import Mode, set_mode
from ssmc.qat.data import Batch
from ssmc.qat.training import evaluate as of_torch
from ssmc.quantize import QuantizeConfig, quantize

WIDTHS = ("kernel_bits", "state_bits", "adc_bits", "weight_bits", "activation_bits", "input_bits")
CALIBRATION = 64


def samples_of(batches: Iterable[Batch]) -> Samples:
    """The sequences of batches, one after the other."""
    parts, labels = [], []
    for x, lengths, label in batches:
        steps = [x.shape[1]] * len(x) if lengths is None else lengths.tolist()
        parts += [one[:length].numpy() for one, length in zip(x, steps, strict=True)]
        labels.append(label.numpy())
    return Samples(np.concatenate(parts), np.cumsum([0, *map(len, parts)]), np.concatenate(labels))


def calibration(task: Task, count: int = CALIBRATION) -> Samples:
    """``count`` sequences of the training part, without labels."""
    unlabelled = torch.zeros(1, dtype=torch.long)
    every = samples_of((x, None, unlabelled.expand(len(x))) for x in task.data.calibration())
    return Samples(every.flat, every.offsets).spread(count)


def measured(
    task: Task, seed: int, bits: tuple[int, ...], base: QuantizeConfig, calibrated: Samples
) -> dict[str, dict[str, float]]:
    """Accuracies in percent, held out and test, of the float model and at every width; and the output SQNR, dB."""
    model = float_model(task, seed)
    set_mode(model, Mode.FLOAT)
    parts = {"held out": task.data.validation, "test": task.data.testing}
    found = {"float": {name: 100 * of_torch(model.eval(), part())[0] for name, part in parts.items()}}
    set_mode(model, Mode.RECURRENT)
    data = {name: samples_of(part()) for name, part in parts.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "float.onnx"
        ssmc.export_onnx(model.eval(), torch.zeros(2, 40, task.model.d_input), path)
        for width in bits:
            made = quantize(path, calibrated, replace(base, **dict.fromkeys(WIDTHS, width)))
            onnx.save(made.model, Path(folder) / "quantized.onnx")
            compiled = ssmc.compile(Path(folder) / "quantized.onnx", oracle=False)
            scores = {name: 100 * accuracy(evaluate(compiled, x), x.label) for name, x in data.items()}
            found[str(width)] = {**scores, "sqnr_db": made.fidelity.sqnr_db}
    return found


@click.command(help=__doc__)
@study_options
@click.option("--bits", type=options.Numbers(), default="8,6,5,4", show_default=True, help="Widths.")
@click.option("--seeds", type=options.Numbers(), default="0", show_default=True, help="Float models to quantize.")
@click.option("--power-of-two/--free", default=True, show_default=True, help="Scales.")
@click.option("--sequences", default=CALIBRATION, show_default=True, help="Of the training part, to calibrate on.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="JSON file to write.")
def main(
    name: str,
    data: Path,
    bits: tuple[int, ...],
    seeds: tuple[int, ...],
    power_of_two: bool,
    sequences: int,
    out: Path | None,
) -> None:
    """A line for each seed and width."""
    task, rows, base = TASKS[name](data), [], QuantizeConfig(power_of_two=power_of_two)
    calibrated = calibration(task, sequences)
    click.echo("| seed | bits | held out | test | points lost, test | output SQNR, dB |\n|---|---|---|---|---|---|")
    for seed in seeds:
        found = measured(task, seed, bits, base, calibrated)
        for width, row in found.items():
            lost, sqnr = found["float"]["test"] - row["test"], row.get("sqnr_db")
            figures = (
                f"{row['held out']:.2f} | {row['test']:.2f} | {lost:.2f} | {'' if sqnr is None else f'{sqnr:.1f}'}"
            )
            click.echo(f"| {seed} | {width} | {figures} |")
            rows.append({"seed": seed, "bits": width, **row})
        if out is not None:
            out.write_text(json.dumps({"task": name, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
