"""A progress bar on a terminal, nothing in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click


@contextmanager
def counting(total: int, label: str) -> Iterator[Callable[[int], None]]:
    """Yields ``advance(n)`` for a bar of ``total`` on stderr."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    with click.progressbar(length=total, label=label, file=sys.stderr) as bar:
        yield bar.update


@contextmanager
def stages(label: str) -> Iterator[Callable[[str], None]]:
    """Yields ``stage(name)``, which shows the current stage on one line of stderr and clears it at the end."""
    if not sys.stderr.isatty():
        yield lambda name: None
        return
    try:
        yield lambda name: click.echo(f"\r\033[K{label}: {name}", nl=False, err=True)
    finally:
        click.echo("\r\033[K", nl=False, err=True)
