"""Command-line options that several examples take."""

from __future__ import annotations

from pathlib import Path

import click
import torch

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


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
