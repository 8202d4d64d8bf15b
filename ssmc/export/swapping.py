"""Layers that torch cannot export are swapped for a scan that computes the same, before the model is exported.

An adapter is a function. It takes a layer and returns a module that computes the same and that torch can export
(`ssmc.export.diagonal_scan`), or None where it does not know the layer. It recognises a layer by class name and
parameter names, and imports nothing of the layer's package. What it returns is compared with the layer before it is
used. Packages add adapters as entry points in the group ``ssmc.layers``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ssmc.entry_points import Registry
from ssmc.errors import ModelError
from ssmc.export.diagonal_scan import DiagonalScan

Adapter = Callable[[nn.Module], nn.Module | None]
Call = tuple[tuple[Any, ...], dict[str, Any]]

#: name -> module and function
ADAPTERS: dict[str, str] = {"s4d": "ssmc.export.s4d_layer:adapt"}
REGISTRY = Registry("ssmc.layers", "layer adapter", ADAPTERS)
LARGEST_ERROR = 1e-3
STEPS = 64


@dataclass(frozen=True)
class Swap:
    """A layer that was swapped.

    Attributes:
        layer: its name in the model.
        kind: its class.
        adapter: name of the adapter.
        states: real states of its scans.
        error: largest difference of the two outputs on random input, relative to the layer's largest output.
    """

    layer: str
    kind: str
    adapter: str
    states: int
    error: float


@dataclass(frozen=True)
class _Match:
    name: str
    adapter: str
    layer: nn.Module
    scan: nn.Module


def swap_layers(model: nn.Module, examples: tuple[Tensor, ...]) -> tuple[nn.Module, tuple[Swap, ...]]:
    """The model with every layer swapped that an adapter knows and that the model calls.

    Args:
        model: changed in place, unless it is itself such a layer.
        examples: inputs (N, T, ...) of the model; their values do not matter.

    Raises:
        ModelError: SSMC-X04 where a scan does not compute what the layer does, SSMC-X01 where the model fails.
        UsageError: SSMC-U40, SSMC-U41 from adapters of packages.
    """
    matches = list(_matches(model, "", _adapters()))
    calls = _calls(model, examples, matches) if matches else {}
    swaps = []
    for match in matches:
        if match.name in calls:
            swaps.append(_compared(match, calls[match.name]))
            model = _replaced(model, match)
    return model, tuple(swaps)


def _adapters() -> dict[str, Adapter]:
    """Every adapter by name, ssmc's own first."""
    return {name: _adapter(name) for name in REGISTRY.names()}


def _adapter(name: str) -> Adapter:
    entry = REGISTRY.find(name)
    if entry is None:
        module, _, function = ADAPTERS[name].partition(":")
        own: Adapter = getattr(import_module(module), function)
        return own
    found = REGISTRY.load(entry)

    def guarded(layer: nn.Module) -> nn.Module | None:
        try:
            scan = found(layer)
        except Exception as cause:
            why = f"fails on a layer of class {type(layer).__name__}: {type(cause).__name__}: {cause}"
            raise REGISTRY.unusable(entry, why) from cause
        if scan is not None and not isinstance(scan, nn.Module):
            raise REGISTRY.unusable(entry, f"returns a {type(scan).__name__}, not a torch module or None")
        return scan

    return guarded


def _matches(layer: nn.Module, name: str, adapters: Mapping[str, Adapter]) -> Iterator[_Match]:
    """The outermost layers that an adapter knows."""
    for adapter, adapt in adapters.items():
        scan = adapt(layer)
        if scan is not None:
            yield _Match(name, adapter, layer, scan.eval())
            return
    for child, inner in layer.named_children():
        yield from _matches(inner, f"{name}.{child}" if name else child, adapters)


def _calls(model: nn.Module, examples: tuple[Tensor, ...], matches: list[_Match]) -> dict[str, Call]:
    """Arguments of the first call of every matched layer, in a run of the model over at least `STEPS` time steps."""
    calls: dict[str, Call] = {}

    def remember(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.setdefault(names[layer], (args, kwargs))

    names = {match.layer: match.name for match in matches}
    hooks = [layer.register_forward_pre_hook(remember, with_kwargs=True) for layer in names]
    try:
        with torch.no_grad():
            model(*(x.repeat(1, -(-STEPS // x.shape[1]), *[1] * (x.ndim - 2)) for x in examples))
    except Exception as cause:
        fact = f"it fails on the example: {type(cause).__name__}: {cause}"
        raise ModelError("SSMC-X01", fact, "give an example that the model runs on", type(model).__name__) from cause
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def _compared(match: _Match, call: Call) -> Swap:
    """Both on random values in the places of the call's real tensors."""
    random = torch.Generator().manual_seed(0)

    def drawn(value: Any) -> Any:
        real = isinstance(value, Tensor) and value.is_floating_point()
        return torch.randn(value.shape, generator=random).to(value) if real else value

    args, kwargs = pytree.tree_map(drawn, call)
    with torch.no_grad():
        wanted, found = match.layer(*args, **kwargs), match.scan(*args, **kwargs)
    error, kind = _difference(wanted, found), type(match.layer).__name__
    if not error <= LARGEST_ERROR:
        fact = f"{kind} as a scan (adapter '{match.adapter}') is off by {error:.2g}, {LARGEST_ERROR:g} is allowed"
        remedy = "this version of the layer computes something else: write an adapter for it (docs/extending.md)"
        raise ModelError("SSMC-X04", fact, remedy, match.name)
    states = sum(part.states for part in match.scan.modules() if isinstance(part, DiagonalScan))
    return Swap(match.name, kind, match.adapter, states, error)


def _difference(wanted: Any, found: Any) -> float:
    """Relative to the largest wanted value; infinite where the outputs have other shapes."""
    one, other = ([leaf for leaf in pytree.tree_leaves(y) if isinstance(leaf, Tensor)] for y in (wanted, found))
    if [y.shape for y in one] != [y.shape for y in other]:
        return float("inf")
    largest = max((float(y.abs().max()) for y in one), default=0.0)
    apart = max((float((a - b).abs().max()) for a, b in zip(one, other, strict=True)), default=0.0)
    return apart / largest if largest else apart


def _replaced(model: nn.Module, match: _Match) -> nn.Module:
    if model is match.layer:
        return match.scan
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is match.layer:
                setattr(parent, name, match.scan)
    return model
