"""What a command says of files, whose names may hold anything."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from ssmc.printable import printable


def say(text: str, *, err: bool = False) -> None:
    """Print the text; characters that have no visible form, or reorder what is read, are spelled out."""
    click.echo(printable(text, keep="\n"), err=err)


def typed(path: Path) -> str:
    """A path as a shell and an option parser take it: quoted where it must be, and no option."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)
