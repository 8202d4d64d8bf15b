"""Read files that others wrote: regular files alone, and no more bytes than a budget allows."""

from __future__ import annotations

from pathlib import Path

from ssmc.budgets import DEFAULT, Budgets
from ssmc.errors import UsageError


def read_regular(path: Path, code: str, budgets: Budgets, budget: str, remedy: str) -> bytes:
    """The bytes of a regular file.

    Args:
        path: of the file; a device, a pipe or a folder is refused before it is opened.
        code: of the error where it cannot be read.
        budgets: limits, ``budget`` the one that applies.
        budget: name of a field of `Budgets`.
        remedy: for the error ``code``.

    Raises:
        UsageError: ``code``, or SSMC-U07 where the file is larger than its budget.
    """
    try:
        if path.exists() and not path.is_file():
            raise UsageError(code, "cannot read: is no regular file", remedy, str(path))
        size = path.stat().st_size
        budgets.require(budget, size, "bytes", str(path))
        return read_range(path, 0, size)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        fact = f"cannot read: {getattr(error, 'strerror', None) or error}"
        raise UsageError(code, fact, remedy, str(path)) from None


def read_text(path: Path, code: str, remedy: str) -> str:
    """The text of a file that people write, such as a hardware file.

    Raises:
        UsageError: ``code``, or SSMC-U07 where it is larger than its budget.
    """
    try:
        return read_regular(path, code, DEFAULT, "text_bytes", remedy).decode("utf-8")
    except UnicodeDecodeError as cause:
        raise UsageError(code, f"cannot read: is no UTF-8 ({cause.reason})", remedy, str(path)) from None


def read_range(path: Path, start: int, length: int) -> bytes:
    """At most ``length`` bytes from ``start`` on; OSError where the file cannot be read."""
    with path.open("rb") as file:
        file.seek(start)
        return file.read(length)
