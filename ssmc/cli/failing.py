"""Every way to fail, in one place: one line on stderr and an exit status that means something."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from contextlib import suppress
from typing import Any, NoReturn

import click

from ssmc.errors import SsmcError, SsmcWarning, our_bug
from ssmc.printable import printable

OUR_BUG = 70
INTERRUPTED = 130
READER_GONE = 141  # as if SIGPIPE had ended the process
USAGE = 2


class ReaderGoneError(Exception):
    """Nobody reads the output any more; click would turn a BrokenPipeError into the status of a bad model."""


class FailingGroup(click.Group):
    """A click group that turns exceptions into one line and an exit status (docs/errors.md)."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of work, as they were added."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as cause:
            raise ReaderGoneError from cause

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run, and leave the process with the right status."""
        extra["standalone_mode"] = False
        open_streams()
        warnings.showwarning = show_warning
        try:
            result = super().main(*args, **extra)
            sys.stdout.flush()
        except (Exception, KeyboardInterrupt) as error:
            leave(report_failure(error))
        leave(result if isinstance(result, int) else 0)


def open_streams() -> None:
    """Give a process that was started with stdout or stderr closed something to write to."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (open until the end)


def show_warning(message: Warning | str, category: type[Warning], *where: object, **more: object) -> None:
    """Ours on one line; those of libraries concern their developers."""
    if issubclass(category, SsmcWarning):
        click.echo(f"warning: {printable(str(message))}", err=True)


def leave(status: int) -> NoReturn:
    """End the process; what a stream cannot take any more is dropped, since it was reported."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(status)


def report_failure(error: BaseException) -> int:
    """Say what went wrong on stderr; returns the exit status."""
    if os.environ.get("SSMC_DEBUG") == "1" and not isinstance(error, click.exceptions.ClickException):
        traceback.print_exception(error)
    line, status = describe(error)
    with suppress(OSError):
        click.echo(line, err=True)
    return status


def describe(error: BaseException) -> tuple[str, int]:
    """The one line and the exit status of any exception."""
    match error:
        case SsmcError():
            return str(error), error.exit_status
        case click.exceptions.NoArgsIsHelpError():
            return error.format_message(), USAGE
        case click.UsageError():
            command = error.ctx.command_path if error.ctx else "ssmc"
            return f"error[SSMC-U00]: {_sentence(error.format_message())}; see '{command} --help'", USAGE
        case click.ClickException():
            return f"error[SSMC-U02]: {_sentence(error.format_message())}; check the file and try again", USAGE
        case click.Abort() | KeyboardInterrupt():
            return "interrupted", INTERRUPTED
        case ReaderGoneError() | BrokenPipeError():
            return "the reader of the output has gone", READER_GONE
        case OSError():
            fact = f"{error.strerror or error}"
            where = f"{printable(str(error.filename))}: " if error.filename else ""
            return f"error[SSMC-U05]: {where}{fact}; check the place, its rights and the space left", USAGE
        case MemoryError():
            fact = f"there is not enough memory ({error or 'no size given'})"
            return f"error[SSMC-U06]: {fact}; use a smaller model, fewer sequences or a larger machine", USAGE
    return f"{printable(our_bug(error))} (SSMC_DEBUG=1 shows where)", OUR_BUG


def _sentence(text: str) -> str:
    return printable(" ".join(text.split()).rstrip("."))
