"""The targets by name: an explicit table of what to import when one is asked for."""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module
from typing import TYPE_CHECKING, cast

from ssmc.errors import UsageError

if TYPE_CHECKING:
    from ssmc.targets.base import Target

#: name -> (module, class, one line)
TARGETS: dict[str, tuple[str, str, str]] = {
    "int": (
        "ssmc.targets.integer.target",
        "IntegerTarget",
        "integer program for a processor: reference executor, exact",
    ),
    "c": (
        "ssmc.targets.c99.target",
        "CTarget",
        "the integer program as portable C99 for a microcontroller, with a self-test",
    ),
    "aimc": (
        "ssmc.targets.aimc.target",
        "AimcTarget",
        "tile program for analog crossbars: cost, ideal and noisy simulation",
    ),
}


def target_class(name: str) -> type[Target]:
    """The class of a target.

    Raises:
        UsageError: SSMC-U10 for an unknown name.
    """
    if name not in TARGETS:
        raise UsageError("SSMC-U10", f"no target is named '{name}'", f"choose one of {', '.join(TARGETS)}")
    module, attribute, _ = TARGETS[name]
    return cast("type[Target]", getattr(import_module(module), attribute))


def make_target(name: str, **options: object) -> Target:
    """The target with its options; those that are None keep the target's default.

    Raises:
        UsageError: SSMC-U11 for an option that the target does not have.
    """
    kind = target_class(name)
    given = {key: value for key, value in options.items() if value is not None}
    known = [field.name for field in fields(kind)]
    for key in given:
        if key not in known:
            remedy = f"leave it out; its options are {', '.join(known)}" if known else "leave it out"
            raise UsageError("SSMC-U11", f"target '{name}' has no option '{key}'", remedy)
    return kind(**given)


def options_of(target: Target) -> dict[str, str]:
    """The target's options as text, for the report."""
    return {field.name: str(getattr(target, field.name)) for field in fields(target)}
