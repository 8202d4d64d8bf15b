"""One hierarchy of errors; each knows its stable code and the exit status of the command line.

A message is one line, ``error[SSMC-Q03]: layers.2.out: weight has 6 bits, a cell holds 4; use weight-slices = 2``:
code, guilty node, fact, remedy. The codes are listed in docs/errors.md.
"""

from __future__ import annotations

from ssmc.printable import printable


class SsmcError(Exception):
    """A fact the user can act on.

    Args:
        code: stable code such as ``SSMC-Q03``.
        fact: what is wrong, with the values that make it wrong.
        remedy: what to do about it.
        node: name of the guilty node, file or key.
    """

    exit_status = 1

    def __init__(self, code: str, fact: str, remedy: str, node: str = "") -> None:
        self.code = code
        self.fact = fact
        self.remedy = remedy
        self.node = node
        super().__init__(str(self))

    def __str__(self) -> str:
        where = f"{self.node}: " if self.node else ""
        line = f"error[{self.code}]: {where}{self.fact}; {self.remedy}"
        return printable(" ".join(line.split()))


def first_line(cause: BaseException, most: int = 200) -> str:
    """The first line of another library's error; its class where it says nothing."""
    return str(cause).strip().partition("\n")[0][:most] or type(cause).__name__


class SsmcWarning(UserWarning):
    """Something that the user should know and that did not stop the work."""


class ModelError(SsmcError):
    """The model cannot be accepted (exit status 1)."""

    exit_status = 1


class UsageError(SsmcError):
    """The command, a file it names, or an option is wrong (exit status 2)."""

    exit_status = 2


class VerificationError(SsmcError):
    """A pass or a target changed the meaning of the model (exit status 3)."""

    exit_status = 3


class GateError(SsmcError):
    """Accuracy or cost moved out of its tolerance (exit status 4)."""

    exit_status = 4


BUG = "error[SSMC-X70]"


def our_bug(error: BaseException) -> str:
    """One line for an exception that nobody expected."""
    fact = " ".join(f"{type(error).__name__}: {error}".split())
    return f"{BUG}: {fact}; this is our bug, please report it"
