"""Adapters: functions that say how a torch layer is a scan.

An adapter takes a layer and returns None where it does not know the layer, else a module that computes the same and
that torch can export (`ssmc.export.linear_scan`), or several `Candidate`, one for each convention in which the layer's
parameters may be meant; the one that computes what the layer computes is used. It recognises a layer by the names of
its parameters, and imports nothing of the layer's package. It raises `Refused` for a layer that is no scan.

`register_adapter` adds one in this process; packages add theirs as entry points in the group ``ssmc.layers``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module

from torch import nn

from ssmc.entry_points import Registry
from ssmc.errors import UsageError


@dataclass(frozen=True)
class Candidate:
    """One reading of a layer's parameters.

    Attributes:
        convention: the reading in words, such as "zoh, exp".
        module: the layer as a scan in this reading.
    """

    convention: str
    module: nn.Module


class Refused(Exception):  # noqa: N818 - it reports about a layer, not about a failure of the adapter
    """The layer is known and cannot be a scan.

    Args:
        reason: why, as the end of a sentence that begins with the layer's class.
        remedy: what to do about it.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


Adapter = Callable[[nn.Module], nn.Module | Iterable[Candidate] | None]

#: name -> module and function
ADAPTERS: dict[str, str] = {
    "s4d": "ssmc.export.s4d_layer:adapt",
    "s4": "ssmc.export.s4_layer:adapt",
    "s4torch": "ssmc.export.s4torch_layer:adapt",
    "s5": "ssmc.export.s5_layer:adapt",
    "lru": "ssmc.export.lru_layer:adapt",
    "lmu": "ssmc.export.lmu_layer:adapt",
    "mamba": "ssmc.export.mamba_layer:adapt",
}
REGISTRY = Registry("ssmc.layers", "layer adapter", ADAPTERS)
_registered: dict[str, Adapter] = {}


def register_adapter(name: str, adapt: Adapter) -> None:
    """Add an adapter in this process; it is asked before all others, and replaces one of the same name."""
    _registered.pop(name, None)
    _registered[name] = adapt


def known_adapters() -> dict[str, Adapter]:
    """Every adapter by name in the order of asking: registered ones (the last first), packages', ssmc's own."""
    found: dict[str, Adapter] = {name: _registered_one(name) for name in reversed(_registered)}
    packaged = [name for name in REGISTRY.names() if name not in ADAPTERS]
    for name in (*packaged, *ADAPTERS):
        found.setdefault(name, _adapter(name))
    return found


def _registered_one(name: str) -> Adapter:
    def unusable(why: str) -> UsageError:
        fact = f"layer adapter '{name}', added by register_adapter, cannot be used: {why}"
        return UsageError("SSMC-U41", fact, "correct it (docs/models.md says what an adapter is)")

    return _guarded(_registered[name], unusable)


def _adapter(name: str) -> Adapter:
    entry = REGISTRY.find(name)
    if entry is None:
        module, _, function = ADAPTERS[name].partition(":")
        own: Adapter = getattr(import_module(module), function)
        return own
    return _guarded(REGISTRY.load(entry), lambda why: REGISTRY.unusable(entry, why))


def _guarded(adapt: Adapter, unusable: Callable[[str], UsageError]) -> Adapter:
    """The adapter; where it fails or returns something else, the error names its owner."""

    def guarded(layer: nn.Module) -> nn.Module | Iterable[Candidate] | None:
        try:
            found = adapt(layer)
        except Refused:
            raise
        except Exception as cause:
            why = f"fails on a layer of class {type(layer).__name__}: {type(cause).__name__}: {cause}"
            raise unusable(why) from cause
        if found is None or isinstance(found, nn.Module):
            return found
        if not isinstance(found, Iterable) or isinstance(found, str):
            raise unusable(f"returns a {type(found).__name__}, not a torch module, candidates or None")
        return found

    return guarded
