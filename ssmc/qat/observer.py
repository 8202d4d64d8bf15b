"""What a training tells while it runs: to a terminal, a log file or a rule that ends it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EpochFigures:
    """Figures of one epoch, measured after its last batch.

    Attributes:
        phase: name of the phase.
        epoch: number of the epoch in its phase, from 1.
        epochs: epochs of the phase in total.
        accuracy: share of the held-out sequences that are classified correctly, 0 to 1.
        loss: mean cross entropy on the held-out sequences, in nats.
        seconds: time spent in this phase, runs before a resumed one included.
    """

    phase: str
    epoch: int
    epochs: int
    accuracy: float
    loss: float
    seconds: float


class Observer:
    """Is told about the progress of a training; a subclass overrides the methods that it needs.

    An observer may raise: the checkpoint is written before `on_epoch`, so a resumed training loses nothing.
    """

    def on_batch(self, done: int, total: int) -> None:
        """Called after each optimizer step: ``done`` of the ``total`` batches of this epoch."""

    def on_epoch(self, figures: EpochFigures) -> None:
        """Called after each epoch."""
