"""What makes a quantized child of a float model, besides its seed: bits, states, rates, and how long it is trained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import click
import numpy as np
from torch import Tensor

from examples.lib.folders import RUNS
from examples.lib.parents import Task, TaskData
from ssmc.data import Samples
from ssmc.qat import QuantConfig, S4DClassifier, lower_rates, reduce
from ssmc.qat.data import Batch
from ssmc.qat.pruning import prune_modes


@dataclass(frozen=True)
class Shape:
    """How a model differs from its float parent in structure.

    Attributes:
        modes: complex modes of a channel that stay (`prune_modes`); None: all.
        states: real states of a channel, fitted (`ssmc.qat.reduce`); None: all.
        rates: of the blocks, as `ModelConfig.rates`; () is full rate.
    """

    modes: int | None = None
    states: int | None = None
    rates: tuple[int, ...] = ()

    @property
    def tag(self) -> str:
        """What it adds to the name of a model."""
        pruned = f"-n{2 * self.modes}" if self.modes else ""
        fitted = f"-fit{self.states}" if self.states else ""
        return pruned + fitted + (f"-r{'x'.join(map(str, self.rates))}" if self.rates else "")

    @property
    def words(self) -> str:
        """As options of a command."""
        pruned = f" --modes {self.modes}" if self.modes else ""
        fitted = f" --states {self.states}" if self.states else ""
        return pruned + fitted + (f" --rates {','.join(map(str, self.rates))}" if self.rates else "")

    def check(self, task: Task) -> None:
        """Raises click.UsageError where the models of ``task`` cannot have this shape."""
        if self.modes is not None and self.states is not None:
            raise click.UsageError("--modes selects and --states fits: give one of them")
        for option, count in (("--modes", 2 * (self.modes or 0)), ("--states", self.states or 0)):
            if count > task.model.d_state:
                raise click.UsageError(f"{option} wants {count} real states; the float model has {task.model.d_state}")
        try:
            replace(task.model, rates=self.rates)
        except ValueError as error:
            raise click.UsageError(f"--rates: {error}") from error

    def slower(self, model: S4DClassifier) -> S4DClassifier:
        """``model`` at these rates."""
        return lower_rates(model, self.rates) if self.rates else model

    def given_to(self, model: S4DClassifier, batches: Sequence[Tensor]) -> S4DClassifier:
        """``model`` (which may change) in this shape; the states are fitted to the inputs at the lower rates."""
        model = self.slower(model)
        if self.modes is not None:
            prune_modes(model, self.modes, batches)
        if self.states is not None:
            reduce(model, batches, states=self.states)
        return model


@dataclass(frozen=True)
class Recipe:
    """Bits (a TOML file), shape and training of a quantized child.

    ``epochs``: of the last phase of training; None: as the task has it. ``batches``: of an epoch, for a trial; None:
    all.
    """

    quant: Path
    shape: Shape = Shape()
    epochs: int | None = None
    batches: int | None = None

    @property
    def config(self) -> QuantConfig:
        """The bits."""
        return QuantConfig.from_toml(self.quant)

    def name(self, method: str) -> str:
        """Of the models, without their seed."""
        trial = f"-b{self.batches}" if self.batches else ""
        return f"{method}-{self.quant.stem}{self.shape.tag}{trial}"

    def command(self, task: Task, module: str, method: str, seed: int) -> str:
        """What makes the row of a seed."""
        epochs = f" --epochs {self.epochs}" if self.epochs is not None and method == "qat" else ""
        trial = f" --batches {self.batches}" if self.batches else ""
        start = f"python -m {module} --data {task.file} --method {method} --seed {seed}{epochs}{trial}"
        return f"{start} --quant {self.quant}{self.shape.words}"

    def folder(self, task: Task) -> Path:
        """Where rows and models go: a trial does not belong to the committed results."""
        return RUNS / task.name / "trial" if self.batches else task.folder


def shortened(task: Task, epochs: int | None, batches: int | None) -> Task:
    """``task`` with so many epochs in its last phase of quantized training, and batches in an epoch; None: as it is."""
    if epochs is not None:
        *first, last = task.qat_phases
        task = replace(task, qat_phases=(*first, replace(last, epochs=epochs)))
    return task if batches is None else replace(task, data=FirstBatches(task.data, batches))


@dataclass(frozen=True)
class FirstBatches:
    """The first ``count`` batches of every epoch and of the held-out part; calibration and test part are whole."""

    data: TaskData
    count: int

    def training(self, rng: np.random.Generator) -> Sequence[Batch]:
        """Of one epoch, one by one: it may make a batch when asked for it."""
        epoch = self.data.training(rng)
        return [epoch[index] for index in range(min(self.count, len(epoch)))]

    def validation(self) -> Iterable[Batch]:
        """Of the held-out part."""
        return islice(self.data.validation(), self.count)

    def calibration(self) -> list[Tensor]:
        """Unchanged."""
        return self.data.calibration()

    def testing(self) -> Iterable[Batch]:
        """Unchanged."""
        return self.data.testing()

    def samples(self) -> Samples:
        """Unchanged."""
        return self.data.samples()
