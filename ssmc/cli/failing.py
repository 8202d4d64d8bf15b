"""Every way to fail, in one place: one line on stderr and an exit status that means something."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

import click

from ssmc.errors import SsmcError

OUR_BUG = 70
INTERRUPTED = 130
USAGE = 2


class FailingGroup(click.Group):
    """A click group that turns exceptions into one line and an exit status (DESIGN §7)."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of work, as they were added."""
        return list(self.commands)

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run, and leave the process with the right status."""
        extra["standalone_mode"] = False
        try:
            result = super().main(*args, **extra)
        except Exception as error:
            sys.exit(report_failure(error))
        sys.exit(result if isinstance(result, int) else 0)


def report_failure(error: Exception) -> int:
    """Say what went wrong on stderr; returns the exit status."""
    if os.environ.get("SSMC_DEBUG") == "1" and not isinstance(error, click.exceptions.ClickException):
        traceback.print_exception(error)
    line, status = describe(error)
    click.echo(line, err=True)
    return status


def describe(error: Exception) -> tuple[str, int]:
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
        case click.Abort():
            return "interrupted", INTERRUPTED
    fact = " ".join(f"{type(error).__name__}: {error}".split())
    return f"error[SSMC-X70]: {fact}; this is our bug, please report it (SSMC_DEBUG=1 shows where)", OUR_BUG


def _sentence(text: str) -> str:
    return " ".join(text.split()).rstrip(".")
