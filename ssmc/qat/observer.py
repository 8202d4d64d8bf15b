"""What a training tells while it runs: to a terminal, a log file or a rule that ends it."""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class EpochFigures:
    """Figures of one epoch, measured after its last batch.

    Attributes:
        phase: name of the phase.
        epoch: number of the epoch in its phase, from 1.
        epochs: epochs of the phase in total.
        score: the trainer's metric on the held-out data; accuracy, 0 to 1, unless another was given.
        loss: mean loss on the held-out data; of cross entropy in nats.
        seconds: time spent in this phase, runs before a resumed one included.
    """

    phase: str
    epoch: int
    epochs: int
    score: float
    loss: float
    seconds: float


class EndOfPhase(Exception):  # noqa: N818 (nothing went wrong)
    """An observer raises it in `Observer.on_epoch` to end the phase with this epoch."""


class Observer:
    """Is told about the progress of a training; a subclass overrides the methods that it needs.

    An observer may raise: the checkpoint is written before `on_epoch`, so a resumed training loses nothing.
    `EndOfPhase` ends the phase.
    """

    def on_batch(self, done: int, total: int) -> None:
        """Called after each optimizer step: ``done`` of the ``total`` batches of this epoch."""

    def on_epoch(self, figures: EpochFigures) -> None:
        """Called after each epoch."""


class EarlyStop(Observer):
    """Ends a phase when its held-out loss has not fallen for ``patience`` epochs; a resumed training counts anew."""

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.phase, self.least, self.since = "", float("inf"), 0

    def on_epoch(self, figures: EpochFigures) -> None:
        """Count.

        Raises:
            EndOfPhase: the loss has not fallen for long enough.
        """
        if figures.phase != self.phase:
            self.phase, self.least, self.since = figures.phase, float("inf"), 0
        self.since = 0 if figures.loss < self.least else self.since + 1
        self.least = min(self.least, figures.loss)
        if self.since >= self.patience:
            raise EndOfPhase


class CsvLog(Observer):
    """Appends a row of `EpochFigures` to a CSV file for each epoch; writes the head where the file is new."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def on_epoch(self, figures: EpochFigures) -> None:
        """Append the row."""
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(figures)])
            if new:
                writer.writeheader()
            writer.writerow(asdict(figures))


class TensorBoardLog(Observer):
    """Writes score and loss of every epoch for TensorBoard (needs the package tensorboard)."""

    def __init__(self, folder: str | Path) -> None:
        """Raises ImportError where tensorboard is not installed."""
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder))

    def on_epoch(self, figures: EpochFigures) -> None:
        """Write both, by phase."""
        for name in ("score", "loss"):
            value = getattr(figures, name)
            self.writer.add_scalar(f"{figures.phase}/{name}", value, figures.epoch)
        self.writer.flush()
