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
from examples.lib.recipe import Recipe, Shape, shortened
from examples.lib.rows import Row, compiled, costs, float_row, result_row, save_row
from ssmc.qat import Mode, QuantConfig, S4DClassifier, calibrate, set_mode
from ssmc.qat.training import evaluate

METHODS = {
    "float": "the float model",
    "twin": "the float model, trained for as long again as its quantized children",
    "ptq": "quantized without training",
    "qat": "quantized and fine-tuned",
    "retest": "no new row: compile and test every committed model again",
}


def calibrated(
    task: Task, quant: QuantConfig, seed: int, modes: int | None = None, shape: Shape | None = None
) -> S4DClassifier:
    """The float model of the seed in its ``shape`` (or pruned to ``modes`` complex modes), with calibrated quantizers.

    It has no dropout (docs/design/0009).
    """
    shape, parent, batches = shape or Shape(modes), float_model(task, seed), task.data.calibration()
    model = S4DClassifier(replace(task.model, quant=quant, dropout=0.0))
    model.load_state_dict({**model.state_dict(), **parameters(parent)})
    model = shape.given_to(model, batches)
    calibrate(model, batches, shape.slower(parent))
    return model.eval()


def quantized(
    task: Task, quant: QuantConfig, name: str, seed: int, method: str, shape: Shape | None = None
) -> S4DClassifier:
    """Calibrated, and with ``method`` "qat" fine-tuned."""
    model = calibrated(task, quant, seed, shape=shape)
    click.echo(f"{name} seed {seed}: calibrated, val {evaluate(model, task.data.validation())[0]:.4f}")
    return tuned(task, model, name, seed) if method == "qat" else model


def run(
    task: Task,
    module: str,
    *,
    method: str,
    quant: Path | None,
    modes: int | None,
    states: int | None,
    rates: tuple[int, ...],
    epochs: int | None,
    batches: int | None,
    seed: int,
) -> None:
    """One row: train what is missing, compile, test, save the row and the model."""
    shape = Shape(modes, states, rates)
    shape.check(task)
    if method == "retest":
        return retest(task)
    if method in ("float", "twin"):
        if batches is not None or (method == "float" and shape.tag):
            raise click.UsageError(f"--method {method} is not of a trial; only a twin takes --modes, --states, --rates")
        return float_reference(task, module, method, shape, epochs, seed)
    if quant is None:
        raise click.UsageError("give --quant, a TOML file of bits; see examples/quant/")
    recipe = Recipe(quant, shape, epochs, batches)
    click.echo(json.dumps(recipe_row(task, module, recipe, seed, method), indent=2))
    return None


def recipe_row(
    task: Task, module: str, recipe: Recipe, seed: int, method: str = "qat", folder: Path | None = None
) -> Row:
    """The row of a quantized model, saved with the model to ``folder``; a training that was stopped goes on."""
    folder = folder or recipe.folder(task)
    short = shortened(task, recipe.epochs if method == "qat" else None, recipe.batches)
    model = quantized(short, recipe.config, recipe.name(method), seed, method, recipe.shape)
    path = folder / "models" / f"{recipe.name(method)}-s{seed}.onnx"
    row = result_row(short, model, path, seed, method, recipe.command(task, module, method, seed))
    save_row(folder, row)
    return row


def float_reference(task: Task, module: str, method: str, shape: Shape, epochs: int | None, seed: int) -> None:
    """The row of the float model, or of one of this ``shape`` that is trained on ("twin")."""
    words = f"python -m {module} --data {task.file} --method {method} --seed {seed}"
    model = float_model(task, seed)
    if method == "float":
        return save_row(task.folder, float_row(task, model, "float", seed, words))
    words += (f" --epochs {epochs}" if epochs is not None else "") + shape.words
    model = shape.given_to(model, task.data.calibration())
    set_mode(model, Mode.RECURRENT)
    name = f"twin{shape.tag}"
    twin = tuned(shortened(task, epochs, None), model, name, seed)
    return save_row(task.folder, float_row(task, twin, name, seed, words))


def retest(task: Task) -> None:
    """Accuracy and cost of every committed model, measured now, into its row."""
    for row in json.loads((task.folder / "results.json").read_text())["rows"]:
        if row["method"] != "float":
            program, scores = compiled(task, task.folder / "models" / f"{row['name']}.onnx")
            row.update(scores, **costs(program, task.model, row.get("states")))
            save_row(task.folder, row)
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
    @options.recipe
    @options.seed
    @options.threads
    def main(data: Path, **chosen: Any) -> None:
        run(task(data), module, **chosen)

    return main
