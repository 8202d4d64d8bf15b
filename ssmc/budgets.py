"""What one input may cost: limits that are checked before the work, so that a small file cannot ask for a huge one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

from ssmc.errors import UsageError


@dataclass(frozen=True)
class Budgets:
    """Limits on what is read and built; ``--budget NAME=NUMBER`` raises one.

    Attributes:
        nodes: of the graph and its subgraphs, once every call of a function is written out.
        elements: of one tensor, at the batch and length at which the model is tried (`TRIED`).
        seconds: of CPU, for the first run of the model in onnxruntime, on two steps.
        model_bytes: of the ONNX file together with its external data.
        text_bytes: of a hardware file or a baseline.
        data_bytes: of the arrays of a data file once they are unpacked, and of a bundle's.
    """

    nodes: int = 50_000
    elements: int = 1 << 26
    seconds: int = 8
    model_bytes: int = 1 << 30
    text_bytes: int = 1 << 24
    data_bytes: int = 1 << 30

    def require(self, name: str, needed: int, what: str, where: str = "") -> None:
        """Refuse what needs more than the budget ``name``; ``what`` names the unit in the message.

        Raises:
            UsageError: SSMC-U07.
        """
        limit = getattr(self, name)
        if needed > limit:
            remedy = f"raise it for a file that you trust: --budget {name.replace('_', '-')}={needed}"
            raise UsageError("SSMC-U07", f"{needed} {what}, the budget is {limit}", remedy, where)


TRIED = 8 * 12 * 4  # sequences times steps of the largest input that onnxruntime is given, and room for copies
DEFAULT = Budgets()
NAMES = tuple(field.name.replace("_", "-") for field in fields(Budgets))


def with_budgets(pairs: Iterable[str]) -> Budgets:
    """The default budgets with those that ``NAME=NUMBER`` changes.

    Raises:
        UsageError: SSMC-U16 for a pair that names no budget, or no whole number above 0.
    """
    found = DEFAULT
    for pair in pairs:
        name, _, number = pair.partition("=")
        if name not in NAMES or not (number.isascii() and number.isdecimal() and 0 < len(number) < 19 and int(number)):
            fact = f"--budget {pair} sets no budget"
            raise UsageError("SSMC-U16", fact, f"write NAME=NUMBER, where NAME is one of {', '.join(NAMES)}")
        found = replace(found, **{name.replace("-", "_"): int(number)})
    return found
