"""Every task by name, and the options of a study of one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from examples.commands.train import task as commands
from examples.ecg.train import task as ecg
from examples.lib import options
from examples.lib.parents import Task
from examples.smnist.train import task as smnist
from examples.spoken_digits.experiment import task as spoken_digits

TASKS: dict[str, Callable[[Path], Task]] = {
    "commands": commands,
    "ecg": ecg,
    "smnist": smnist,
    "spoken_digits": spoken_digits,
}


def study_options(command: Any) -> Any:
    """Adds --task and --data, the arguments ``name`` and ``data`` of the command, and --threads."""
    name = click.option("--task", "name", type=click.Choice(sorted(TASKS)), required=True, help="Task to study.")
    return name(options.data(options.threads(command)))
