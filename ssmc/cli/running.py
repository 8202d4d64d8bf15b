"""``ssmc run``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssmc.cli.progress import counting
from ssmc.cli.say import say
from ssmc.cli.types import SEED, NewFile, Writing, budget_option

if TYPE_CHECKING:
    from ssmc.budgets import Budgets


@click.command(cls=Writing, short_help="Run a bundle on a data file.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help="Sequences (.npz): x, or flat and offsets; label is optional.",
)
@click.option("--noise", is_flag=True, help="Simulate device noise (aimc).")
@click.option("--seed", type=SEED, help="Seed of the simulated devices; needs --noise. Default: 0.")
@click.option("--output", "-o", type=NewFile(), help="Write outputs and predictions to this file (.npz).")
@budget_option
def run(bundle: Path, data: Path, noise: bool, seed: int | None, output: Path | None, budgets: Budgets) -> None:
    """Run a BUNDLE on the sequences of a data file; print the accuracy if the file has labels.

    The output file holds 'output' (n, size), or (n, T, size) where the model gives an output per step: NaN beyond the
    last output of a shorter sequence; how many it has is in 'lengths'. 'prediction' (n,) and the accuracy are those of
    the last step. A softmax or argmax at the model's end is applied to 'output'.

    \b
    Example:
      ssmc run out --data test.npz --noise --seed 1 -o outputs.npz
    """
    from ssmc.bundle.check import accuracy, evaluate_steps, last_steps
    from ssmc.bundle.files import write_file
    from ssmc.bundle.folder import load
    from ssmc.data import load_samples
    from ssmc.errors import UsageError
    from ssmc.ir.operations.dequantize import apply_head
    from ssmc.npz import npz_bytes

    if seed is not None and not noise:
        raise UsageError("SSMC-U12", "--seed without --noise", "add --noise, or leave the seed out")
    loaded = load(bundle)
    samples = load_samples(data, budgets, loaded.compiled.program.inputs)
    options = {"noise": True, "seed": seed or 0} if noise else {}
    if noise and not loaded.compiled.has_devices:
        raise UsageError(
            "SSMC-U12", f"target '{loaded.target}' has no devices to be noisy", "leave --noise out, or compile for aimc"
        )
    with counting(len(samples), "running") as advance:
        outputs = evaluate_steps(loaded, samples, progress=advance, **options)
    rows = loaded.compiled.program.rows_of(samples.lengths)
    click.echo(f"{len(samples)} sequences, {int(samples.lengths.sum())} steps")
    if samples.label is not None:
        correct = round(accuracy(last_steps(outputs, rows), samples.label) * len(samples))
        when = " at the last step" if outputs.ndim == 3 else ""
        click.echo(f"accuracy {correct / len(samples):.4f}{when} ({correct} of {len(samples)})")
    if output is not None:
        last = last_steps(outputs, rows)
        more = {"lengths": rows} if outputs.ndim == 3 else {}
        given = apply_head(loaded.compiled.program.head, outputs)
        write_file(output, npz_bytes({"output": given, "prediction": last.argmax(-1), **more}))
        say(f"wrote {output}")
