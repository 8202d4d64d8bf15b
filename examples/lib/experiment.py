"""What the experiments share: from the float model of a seed to its quantized children, and the command line.

A run is `python -m examples.TASK.train --data FILE --quant TOML --method qat --seed 0`. The float model of a seed is
trained once and committed (`examples.lib.parents`). The numbers of a row (`examples.lib.rows`) are measured on the
compiled integer program, except accuracy_torch and accuracy_val.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from examples.lib import options
from examples.lib.parents import Task, float_model, parameters, tuned
from examples.lib.rows import compiled, costs, float_row, result_row, save_row
from ssmc.qat import QuantConfig, S4DClassifier, calibrate
from ssmc.qat.pruning import prune_modes
from ssmc.qat.training import evaluate

METHODS = {
    "float": "the float model",
    "twin": "the float model, trained for as long again as its quantized children",
    "ptq": "quantized without training",
    "qat": "quantized and fine-tuned",
    "retest": "no new row: compile and test every committed model again",
}


def calibrated(task: Task, quant: QuantConfig, seed: int, modes: int | None = None) -> S4DClassifier:
    """The float model of the seed, pruned to ``modes`` complex modes a channel, with calibrated quantizers.

    It has no dropout (docs/design/0009).
    """
    parent = float_model(task, seed)
    model = S4DClassifier(replace(task.model, quant=quant, dropout=0.0))
    model.load_state_dict({**model.state_dict(), **parameters(parent)})
    if modes is not None:
        prune_modes(model, modes, task.data.calibration())
    calibrate(model, task.data.calibration(), parent)
    return model.eval()


def quantized(
    task: Task, quant: QuantConfig, name: str, seed: int, method: str, modes: int | None = None
) -> S4DClassifier:
    """Calibrated, and with ``method`` "qat" fine-tuned."""
    model = calibrated(task, quant, seed, modes)
    click.echo(f"{name} seed {seed}: calibrated, val {evaluate(model, task.data.validation())[0]:.4f}")
    return tuned(task, model, name, seed) if method == "qat" else model


def run(
    task: Task, module: str, *, method: str, quant: Path | None, modes: int | None, epochs: int | None, seed: int
) -> None:
    """One row: train what is missing, compile, test, save the row and the model."""
    if method == "retest":
        return retest(task)
    words = f"python -m {module} --data {task.file} --method {method} --seed {seed}"
    if method == "float":
        return save_row(task, float_row(task, float_model(task, seed), "float", seed, words))
    if method in ("qat", "twin") and epochs is not None:
        *first, last = task.qat_phases
        task = replace(task, qat_phases=(*first, replace(last, epochs=epochs)))
        words += f" --epochs {epochs}"
    if method == "twin":
        return save_row(task, float_row(task, tuned(task, float_model(task, seed), "twin", seed), "twin", seed, words))
    if quant is None:
        raise click.UsageError("give --quant, a TOML file of bits; see examples/quant/")
    name = f"{method}-{quant.stem}" + (f"-n{2 * modes}" if modes else "")
    words += f" --quant {quant}" + (f" --modes {modes}" if modes else "")
    model = quantized(task, QuantConfig.from_toml(quant), name, seed, method, modes)
    row = result_row(task, model, task.folder / "models" / f"{name}-s{seed}.onnx", seed, method, words)
    save_row(task, row)
    click.echo(json.dumps(row, indent=2))
    return None


def retest(task: Task) -> None:
    """Accuracy and cost of every committed model, measured now, into its row."""
    for row in json.loads((task.folder / "results.json").read_text())["rows"]:
        if row["method"] != "float":
            program, scores = compiled(task, task.folder / "models" / f"{row['name']}.onnx")
            row.update(scores, **costs(program, task.model))
            save_row(task, row)
            click.echo(f"{row['name']}: {100 * row['accuracy_compiled']:.2f} % of {row['n_test']}")


def row_command(task: Callable[[Path], Task], module: str, words: str | None) -> click.Command:
    """The command that makes one row of results.

    Args:
        task: makes the task from its data file.
        module: run by ``python -m``; the row records it.
        words: docstring of the module, shown by ``--help``.
    """

    @click.command(help=words)
    @options.data
    @click.option(
        "--method",
        type=click.Choice(list(METHODS)),
        default="qat",
        show_default=True,
        help="; ".join(f"{name}: {meaning}" for name, meaning in METHODS.items()) + ".",
    )
    @click.option("--quant", type=options.FILE, help="Bit widths, a TOML file.")
    @click.option("--modes", type=int, help="Prune every channel to this many complex modes.")
    @click.option("--epochs", type=int, help="Epochs of the last phase of quantization-aware training.")
    @options.seed
    @options.threads
    def main(data: Path, **chosen: Any) -> None:
        run(task(data), module, **chosen)

    return main
