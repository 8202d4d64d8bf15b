"""Progress on stderr: a bar or a line that is redrawn on a terminal, lines that stay in a log."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

#: seconds between two lines of a log; what ends earlier says nothing
LOGGED_EVERY = 30.0
#: seconds after which a stage is named in a log
LONG = 5.0


@contextmanager
def counting(total: int, label: str) -> Iterator[Callable[[int], None]]:
    """Yields ``advance(n)``: a bar of ``total`` on a terminal, a line every `LOGGED_EVERY` seconds in a log."""
    if not sys.stderr.isatty():
        yield _logged(total, label)
        return
    with click.progressbar(length=total, label=label, file=sys.stderr) as bar:
        yield bar.update


def _logged(total: int, label: str) -> Callable[[int], None]:
    done, said = 0, time.monotonic()

    def advance(more: int) -> None:
        nonlocal done, said
        done += more
        if time.monotonic() - said >= LOGGED_EVERY:
            said = time.monotonic()
            click.echo(f"{label}: {done} of {total}", err=True)

    return advance


@contextmanager
def stages(label: str) -> Iterator[Callable[[str], None]]:
    """Yields ``stage(name)``: the current stage on one line of a terminal, cleared at the end.

    In a log a line for every stage that takes longer than `LONG`.
    """
    if sys.stderr.isatty():
        try:
            yield lambda name: click.echo(f"\r\033[K{label}: {name}", nl=False, err=True)
        finally:
            click.echo("\r\033[K", nl=False, err=True)
        return
    watch = _Watch(label)
    try:
        yield watch.begin
    finally:
        watch.end()


class _Watch:
    """Names a stage in the log once it has taken long."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.timer: threading.Timer | None = None

    def begin(self, name: str) -> None:
        self.end()
        self.timer = threading.Timer(LONG, click.echo, (f"{self.label}: {name}",), {"err": True})
        self.timer.daemon = True
        self.timer.start()

    def end(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
