"""What installed packages add to ssmc: targets, hardware presets and adapters of torch layers (docs/extending.md).

A package declares each as an entry point; nothing is imported before it is asked for. What ssmc has of its own stands
in literal tables, which packages extend and never replace.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ssmc.errors import UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint, EntryPoints


@dataclass(frozen=True)
class Package:
    """An installed distribution: the name that pip knows, and its version."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"package '{self.name}' {self.version}"


@dataclass(frozen=True)
class Registry:
    """The things of one kind by name.

    Attributes:
        group: entry-point group in which packages declare theirs.
        kind: what one of them is called in a message.
        own: names that ssmc has itself.
    """

    group: str
    kind: str
    own: Collection[str]

    def names(self) -> tuple[str, ...]:
        """The names of ssmc's own in their order, then those of packages, sorted; nothing is imported."""
        return (*self.own, *sorted(self._declared().keys() - set(self.own)))

    def find(self, name: str) -> EntryPoint | None:
        """The entry point of that name; None where no package declares it.

        Raises:
            UsageError: SSMC-U40 where several packages declare it, or one does and ssmc has it itself.
        """
        found = self._declared().get(name, [])
        owners = ["ssmc itself"] * (name in self.own) + [str(package_of(entry)) for entry in found]
        if len(owners) > 1:
            fact = f"{self.kind} '{name}' is provided by {' and by '.join(owners)}"
            raise UsageError("SSMC-U40", fact, "uninstall one of the packages, or rename its entry point")
        return found[0] if found else None

    def load(self, entry: EntryPoint) -> Any:
        """Import what the entry point names.

        Raises:
            UsageError: SSMC-U41 where that fails, for whatever reason.
        """
        try:
            return entry.load()
        except Exception as cause:
            raise self.unusable(entry, f"{type(cause).__name__}: {cause}") from cause

    def unusable(self, entry: EntryPoint, why: str) -> UsageError:
        """The error for an entry point that cannot be used."""
        package = package_of(entry)
        fact = f"{self.kind} '{entry.name}' of {package} cannot be used: {entry.value}: {why}"
        return UsageError("SSMC-U41", fact, f"install what it needs, or uninstall '{package.name}'")

    def _declared(self) -> dict[str, list[EntryPoint]]:
        """Entry points of the group by name."""
        found: dict[str, list[EntryPoint]] = defaultdict(list)
        for entry in _installed(self.group, tuple((folder, _changed(folder)) for folder in sys.path)):
            found[entry.name].append(entry)
        return found


@lru_cache(maxsize=8)
def _installed(group: str, path: tuple[tuple[str, int], ...]) -> EntryPoints:
    """What all packages on ``path`` declare in a group: read again where a folder of it has changed."""
    from importlib.metadata import entry_points

    return entry_points(group=group)


def _changed(folder: str) -> int:
    """When something was put into a folder, or taken from it; 0 where there is none."""
    try:
        return os.stat(folder or ".").st_mtime_ns
    except OSError:
        return 0


def package_of(entry: EntryPoint) -> Package:
    """The distribution that declares an entry point."""
    if entry.dist is None:
        raise ValueError(f"entry point {entry.name} was not read from an installed package")
    return Package(entry.dist.name, entry.dist.version)
