"""Every experiment by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

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
