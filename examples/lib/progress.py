"""Progress of a training on the console."""

from __future__ import annotations

import sys

import click

from ssmc.qat.observer import EpochFigures, Observer

WIDTH = 40  # characters of the bar


class ConsoleProgress(Observer):
    """Prints one line for each epoch; where stderr is a terminal, also a bar of the batches of the current epoch."""

    def on_batch(self, done: int, total: int) -> None:
        """Redraw the bar; erase it after the last batch."""
        if sys.stderr.isatty():
            text = f"[{'#' * (WIDTH * done // total):{WIDTH}}] {done}/{total}" if done < total else ""
            click.echo(f"\r\033[K{text}", nl=False, err=True)

    def on_epoch(self, figures: EpochFigures) -> None:
        """Print the line."""
        measured = f"val {figures.score:.4f} loss {figures.loss:.4f} ({figures.seconds:.0f} s)"
        click.echo(f"{figures.phase} epoch {figures.epoch}/{figures.epochs}: {measured}")
