"""Command-line options that several examples take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import torch

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class Numbers(click.ParamType):
    """Whole numbers with commas between them, as a tuple."""

    name = "numbers"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> tuple[int, ...]:
        """Text like 1,2,2 to (1, 2, 2)."""
        if isinstance(value, tuple):
            return value
        if not all(part.strip().isdecimal() for part in value.split(",")):
            self.fail(f"{value!r} is not a list of whole numbers like 1,2,2", parameter, context)
        return tuple(int(part) for part in value.split(","))


def _set_threads(context: click.Context, parameter: click.Parameter, count: int) -> None:
    torch.set_num_threads(count)


data = click.option("--data", type=FILE, required=True, help="Data set of the task, an npz file.")
seed = click.option("--seed", default=0, show_default=True, help="Seed of the initial weights and of the training.")
threads = click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    expose_value=False,
    callback=_set_threads,
    help="CPU threads of torch.",
)


def recipe(command: Any) -> Any:
    """Adds --modes, --states, --rates, --epochs and --batches (`examples.lib.recipe`)."""
    count = click.IntRange(min=1)
    for option in (
        click.option("--modes", type=count, help="Prune every channel to this many complex modes."),
        click.option("--states", type=count, help="Fit every channel anew with this many real states."),
        click.option(
            "--rates",
            type=Numbers(),
            default=(),
            help="Steps that become one in front of every block: 1,2,2 is the full, a half and a quarter of the rate.",
        ),
        click.option("--epochs", type=int, help="Epochs of the last phase of quantization-aware training."),
        click.option("--batches", type=count, help="Batches of an epoch, for a trial, whose rows go to runs/."),
    ):
        command = option(command)
    return command
