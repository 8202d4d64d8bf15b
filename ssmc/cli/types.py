"""Option types that click lacks: numbers that are finite, and the budgets."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from ssmc.budgets import Budgets


class NewFile(click.Path):
    """A file to write; a folder or a device under that name is refused before the work."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path as given."""
        from ssmc.bundle.files import file_place

        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        file_place(path)
        return path


class Writing(click.Command):
    """A command with `NewFile` options; none of them may name a file that the command reads."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, or refuse it."""
        from ssmc.bundle.files import require_unread

        new = {param.name for param in self.params if isinstance(param.type, NewFile)}
        given = {name: value for name, value in ctx.params.items() if isinstance(value, Path)}
        read = [path for name, path in given.items() if name not in new]
        for name in new & given.keys():
            require_unread(given[str(name)], read)
        return super().invoke(ctx)


class Finite(click.FloatRange):
    """A number in a range; infinity and NaN are in none."""

    def _describe_range(self) -> str:
        """Nothing where there are no bounds: click would write x<=None."""
        return super()._describe_range() if self.min is not None or self.max is not None else ""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number."""
        found = float(super().convert(value, param, ctx))
        if not math.isfinite(found):
            self.fail(f"{value} is no finite number", param, ctx)
        return found


class Rate(Finite):
    """Steps per second; 0 asks for none."""

    LOWEST = 1e-3

    def __init__(self) -> None:
        super().__init__(min=0, max=1e15)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The rate."""
        found = super().convert(value, param, ctx)
        if 0 < found < self.LOWEST:
            self.fail(f"{value} is below {self.LOWEST:g} steps per second; 0 asks for no rate", param, ctx)
        return found


DECIBEL = Finite(min=0, max=300)
SEED = click.IntRange(0, (1 << 32) - 1)
STEPS = click.IntRange(1, 10**12)
COUNT = click.IntRange(1, 10**9)


settings_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a key of the hardware, such as adc.bits=6 or adc.energy_pj=10:20:30 (low:value:high). Repeatable.",
)


def budget_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option ``--budget NAME=NUMBER``, as a parameter ``budgets``."""
    option = click.option(
        "--budget",
        "budgets",
        multiple=True,
        metavar="NAME=NUMBER",
        callback=_budgets,
        help="Raise a limit on what is read: nodes, elements, seconds, model-bytes or data-bytes. Repeatable.",
    )
    return option(command)


def _budgets(ctx: click.Context, param: click.Parameter, pairs: tuple[str, ...]) -> Budgets:
    from ssmc.budgets import with_budgets

    return with_budgets(pairs)
