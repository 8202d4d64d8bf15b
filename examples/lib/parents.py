"""A task, and the float models of its seeds: committed with the rows, trained anew where their files are not there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from examples.lib.folders import EXAMPLES, RUNS
from examples.lib.progress import ConsoleProgress
from ssmc.data import Samples
from ssmc.qat import Mode, ModelConfig, S4DClassifier, set_mode
from ssmc.qat.data import Batch, Data
from ssmc.qat.training import Phase, Trainer

QUANTIZER_STATE = ("shift", "keep", "spread")


class TaskData(Data, Protocol):
    """Training, held-out and test part of a data set."""

    def calibration(self) -> list[Tensor]:
        """Unpadded float batches (N, T, d) of the training part."""

    def testing(self) -> Iterable[Batch]:
        """The test part, for torch."""

    def samples(self) -> Samples:
        """The test part, for a program."""


@dataclass(frozen=True)
class Task:
    """A data set, the shape of the model, and how it is trained."""

    name: str
    file: str
    data: TaskData
    model: ModelConfig
    float_phases: tuple[Phase, ...]
    qat_phases: tuple[Phase, ...]

    @property
    def folder(self) -> Path:
        """Folder of the committed results and models of the task."""
        return EXAMPLES / self.name


def float_model(task: Task, seed: int) -> S4DClassifier:
    """The float model of a seed: the committed one, or trained (again, where ``runs/`` holds a part) and written."""
    path = task.folder / "models" / f"float-s{seed}.npz"
    torch.manual_seed(seed)
    model = S4DClassifier(task.model)
    set_mode(model, Mode.RECURRENT)
    if path.is_file():
        load_parameters(model, path)
        return model.eval()
    trained(task, model, f"float-s{seed}", seed, task.float_phases)
    save_parameters(model, path)
    return model


def tuned(task: Task, model: S4DClassifier, name: str, seed: int) -> S4DClassifier:
    """``model`` after the phases of quantization-aware training, with the float model of the seed as teacher.

    On a copy of that float model, it makes the float twin of the same training budget.
    """
    return trained(task, model, f"{name}-s{seed}", seed, task.qat_phases, float_model(task, seed))


def trained(
    task: Task,
    model: S4DClassifier,
    name: str,
    seed: int,
    phases: tuple[Phase, ...],
    teacher: S4DClassifier | None = None,
) -> S4DClassifier:
    """``model`` after ``phases``, resumed from the checkpoint ``name`` in ``runs/``; on a GPU where there is one."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    teacher = None if teacher is None else teacher.to(device)
    checkpoint = RUNS / task.name / f"{name}.pt"
    observers = (ConsoleProgress(),)
    trainer = Trainer(model.to(device), task.data, checkpoint, seed, resume=True, teacher=teacher, observers=observers)
    for phase in phases:
        trainer.train(phase)
    return model.cpu().eval()


def parameters(model: S4DClassifier) -> dict[str, Tensor]:
    """Weights and running statistics; not what a quantizer has calibrated."""
    return {k: v for k, v in model.state_dict().items() if "step" not in k and not k.endswith(QUANTIZER_STATE)}


def save_parameters(model: S4DClassifier, path: Path) -> None:
    """Write `parameters` as npz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp.npz")
    np.savez(temporary, **{k: v.numpy() for k, v in parameters(model).items()})
    os.replace(temporary, path)


def load_parameters(model: S4DClassifier, path: Path) -> None:
    """Read what `save_parameters` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        found = {k: torch.from_numpy(stored[k]) for k in stored.files}
    model.load_state_dict({**model.state_dict(), **found})
