"""What a command says of files, whose names may hold anything."""

from __future__ import annotations

import click

from ssmc.printable import printable


def say(text: str) -> None:
    """Print the text; characters that have no visible form, or reorder what is read, are spelled out."""
    click.echo(printable(text, keep="\n"))
