"""Every experiment by name, and the options of what sweeps over one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from examples.commands.train import task as commands
from examples.ecg.train import task as ecg
from examples.parents import Task
from examples.smnist.train import task as smnist
from examples.spoken_digits.experiment import task as spoken_digits

TASKS: dict[str, Callable[[Path], Task]] = {
    "commands": commands,
    "ecg": ecg,
    "smnist": smnist,
    "spoken_digits": spoken_digits,
}


def options(command: Any) -> Any:
    """Task, data, and threads."""
    for option in (
        click.option("--threads", default=1, show_default=True),
        click.option("--data", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True),
        click.option("--task", "name", type=click.Choice(sorted(TASKS)), required=True),
    ):
        command = option(command)
    return command
