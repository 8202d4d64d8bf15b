"""The targets by name: a literal table of ssmc's own, extended by the entry points of installed packages."""

from __future__ import annotations

from dataclasses import MISSING, fields
from importlib import import_module
from inspect import isabstract
from typing import TYPE_CHECKING, cast

from ssmc.entry_points import Package, Registry, package_of
from ssmc.errors import UsageError

if TYPE_CHECKING:
    from ssmc.targets.base import Target

#: name -> module and class
TARGETS: dict[str, str] = {
    "int": "ssmc.targets.integer.target:IntegerTarget",
    "c": "ssmc.targets.c99.target:CTarget",
    "aimc": "ssmc.targets.aimc.target:AimcTarget",
}
REGISTRY = Registry("ssmc.targets", "target", TARGETS)


def target_class(name: str) -> type[Target]:
    """The class of a target.

    Raises:
        UsageError: SSMC-U10 for an unknown name, SSMC-U40 where two packages provide it, SSMC-U41 where the package
            that provides it is broken.
    """
    entry = REGISTRY.find(name)
    if entry is not None:
        found = REGISTRY.load(entry)
        fault = _fault(found)
        if fault:
            raise REGISTRY.unusable(entry, fault)
        return cast("type[Target]", found)
    if name not in TARGETS:
        known = ", ".join(REGISTRY.names())
        raise UsageError("SSMC-U10", f"no target is named '{name}'", f"choose one of {known}, or install its package")
    module, _, attribute = TARGETS[name].partition(":")
    return cast("type[Target]", getattr(import_module(module), attribute))


def _fault(found: object) -> str:
    """What keeps a loaded object from being a target class; empty where nothing does."""
    from ssmc.targets.base import Target

    if not (isinstance(found, type) and issubclass(found, Target)):
        return "is no subclass of ssmc.targets.base.Target"
    if isabstract(found):
        return f"does not define {', '.join(sorted(found.__abstractmethods__))}"
    bare = [field.name for field in fields(found) if field.default is MISSING and field.default_factory is MISSING]
    return f"has options without a default: {', '.join(bare)}" if bare else ""


def make_target(name: str, **options: object) -> Target:
    """The target with its options; those that are None keep the target's default.

    Raises:
        UsageError: SSMC-U11 for an option that the target does not have; also as `target_class`.
    """
    kind = target_class(name)
    given = {key: value for key, value in options.items() if value is not None}
    for key in given:
        require_option(name, kind, key)
    target = kind(**given)
    entry = REGISTRY.find(name)
    if entry is not None and target.name != name:
        raise REGISTRY.unusable(entry, f"its target calls itself '{target.name}'")
    return target


def require_option(name: str, kind: type[Target], key: str) -> None:
    """Refuse an option that the target ``name`` does not have.

    Raises:
        UsageError: SSMC-U11.
    """
    known = [field.name for field in fields(kind)]
    if key not in known:
        remedy = f"leave it out; its options are {', '.join(known)}" if known else "leave it out"
        raise UsageError("SSMC-U11", f"target '{name}' has no option '{key}'", remedy)


def package_providing(name: str) -> Package | None:
    """The package that provides a target; None for ssmc's own and for one that no package declares."""
    entry = REGISTRY.find(name)
    return None if entry is None else package_of(entry)


def options_of(target: Target) -> dict[str, str]:
    """The target's options as text, for the report."""
    return {field.name: str(getattr(target, field.name)) for field in fields(target)}
