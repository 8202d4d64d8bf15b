"""Layers that torch cannot export are swapped for scans that compute the same, before the model is exported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ssmc.errors import ModelError
from ssmc.export.adapters import Adapter, Candidate, Refused, known_adapters
from ssmc.export.linear_scan import LinearScan
from ssmc.export.user_code import blame

Call = tuple[tuple[Any, ...], dict[str, Any]]

LARGEST_ERROR = 1e-3
AGREES = 1e-5  # no other convention is tried
STEPS = 64  # of an example with fewer than ENOUGH_STEPS, which would not tell layers apart
ENOUGH_STEPS = 16
MOST_STEPS = 256


@dataclass(frozen=True)
class Swap:
    """A layer that was swapped.

    Attributes:
        layer: its name in the model.
        kind: its class.
        adapter: name of the adapter.
        states: real states of its scans.
        error: largest difference of the two outputs on random input, relative to the layer's largest output.
        convention: how its parameters are meant; empty where the adapter knows only one way.
    """

    layer: str
    kind: str
    adapter: str
    states: int
    error: float
    convention: str = ""


@dataclass(frozen=True)
class _Match:
    name: str
    adapter: str
    layer: nn.Module
    candidates: Iterable[Candidate]

    def error(self, fact: str, remedy: str) -> ModelError:
        return ModelError("SSMC-X04", f"{type(self.layer).__name__} {fact}", remedy, self.name)


@dataclass(frozen=True)
class _Fit:
    candidate: Candidate
    error: float
    why: str = ""


def swap_layers(model: nn.Module, examples: tuple[Tensor, ...]) -> tuple[nn.Module, tuple[Swap, ...]]:
    """The model with every layer swapped that an adapter knows and that the model calls.

    Args:
        model: changed in place, unless it is itself such a layer.
        examples: inputs (N, T, ...) of the model; their values do not matter.

    Raises:
        ModelError: SSMC-X04 where no scan computes what the layer does, SSMC-X05 for a layer that is known and no
            scan, SSMC-X01 where the model fails.
        UsageError: SSMC-U40, SSMC-U41 from adapters of packages and users.
    """
    matches = list(_matches(model, "", known_adapters()))
    calls = _calls(model, examples, matches) if matches else {}
    swaps = []
    for match in matches:
        if match.name in calls:
            swap, scan = _fitted(match, calls[match.name])
            swaps.append(swap)
            model = _replaced(model, match.layer, scan)
    return model, tuple(swaps)


def _matches(layer: nn.Module, name: str, adapters: Mapping[str, Adapter]) -> Iterator[_Match]:
    """The outermost layers that an adapter knows."""
    for adapter, adapt in adapters.items():
        try:
            found = adapt(layer)
        except Refused as refused:
            fact = f"{type(layer).__name__} {refused.reason}"
            raise ModelError("SSMC-X05", fact, refused.remedy, name or "the model") from refused
        if found is not None:
            candidates = [Candidate("", found)] if isinstance(found, nn.Module) else found
            yield _Match(name, adapter, layer, candidates)
            return
    for child, inner in layer.named_children():
        yield from _matches(inner, f"{name}.{child}" if name else child, adapters)


def _calls(model: nn.Module, examples: tuple[Tensor, ...], matches: list[_Match]) -> dict[str, Call]:
    """Arguments of the last call of every matched layer, in a run of the model of `STEPS` to `MOST_STEPS` steps.

    A model that runs at the example's length only is run at that length.
    """
    calls: dict[str, Call] = {}

    def remember(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls[names[layer]] = args, kwargs

    names = {match.layer: match.name for match in matches}
    hooks = [layer.register_forward_pre_hook(remember, with_kwargs=True) for layer in names]
    try:
        _run(model, examples)
    except Exception as cause:
        fact = f"it fails on the example: {blame(cause)}"
        raise ModelError("SSMC-X01", fact, "give an example that the model runs on", type(model).__name__) from cause
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def _run(model: nn.Module, examples: tuple[Tensor, ...]) -> None:
    with torch.no_grad():
        try:
            model(*map(_of_good_length, examples))
        except Exception:
            model(*examples)


def _of_good_length(x: Tensor) -> Tensor:
    steps = x.shape[1]
    if steps < ENOUGH_STEPS:
        return x.repeat(1, -(-STEPS // steps), *[1] * (x.ndim - 2))
    return x[:, :MOST_STEPS]


def _fitted(match: _Match, call: Call) -> tuple[Swap, nn.Module]:
    """The candidate that computes what the layer does, both on random values in the places of the call's tensors."""
    args, kwargs = _random_values(call)
    with torch.no_grad():
        wanted = match.layer(*args, **kwargs)
    best: _Fit | None = None
    for candidate in match.candidates:
        fit = _fit(match.layer, candidate, wanted, args, kwargs)
        best = fit if best is None or fit.error < best.error else best
        if best.error <= AGREES:
            break
    if best is None:
        raise match.error(f"has no reading (adapter '{match.adapter}')", "write an adapter for it (docs/models.md)")
    if not best.error <= LARGEST_ERROR:
        fact = f"as a scan (adapter '{match.adapter}') {best.why or f'is off by {best.error:.2g}, 0.001 is allowed'}"
        remedy = "this version of the layer computes something else: write an adapter for it (docs/models.md)"
        raise match.error(fact, remedy)
    found = best.candidate
    states = sum(part.states for part in found.module.modules() if isinstance(part, LinearScan))
    swap = Swap(match.name, type(match.layer).__name__, match.adapter, states, best.error, found.convention)
    return swap, found.module


def _random_values(call: Call) -> Call:
    random = torch.Generator().manual_seed(0)

    def drawn(value: Any) -> Any:
        real = isinstance(value, Tensor) and value.is_floating_point()
        return torch.randn(value.shape, generator=random).to(value) if real else value

    drawn_call: Call = pytree.tree_map(drawn, call)
    return drawn_call


def _fit(layer: nn.Module, candidate: Candidate, wanted: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Fit:
    """The candidate in the place of the layer, and its error."""
    scan = candidate.module.eval()
    try:
        with torch.no_grad():
            found = scan(*args, **kwargs)
    except Exception as cause:
        return _Fit(candidate, float("inf"), f"fails: {blame(cause)}")
    places = len(wanted) - 1 if isinstance(found, Tensor) and isinstance(wanted, tuple) else 0
    found = (found, *[None] * places) if places else found
    one, other = (_tensors(value) for value in (wanted, found))
    if type(wanted) is not type(found) or [y.shape for y in one] != [y.shape for y in other]:
        shapes = [f"[{', '.join(str(tuple(y.shape)) for y in ys)}]" for ys in (other, one)]
        return _Fit(candidate, float("inf"), f"returns {shapes[0]}, the layer returns {shapes[1]}")
    return _Fit(Candidate(candidate.convention, _InPlaceOf(layer, scan, places)), _difference(one, other))


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]


class _InPlaceOf(nn.Module):
    """A scan in the place of a layer, whose attributes the model may still read.

    Args:
        layer: what it stands for; not registered, so that its parameters are not exported.
        scan: what computes.
        places: how many further values the layer returns, all None: places for states that nobody asked for.
    """

    def __init__(self, layer: nn.Module, scan: nn.Module, places: int) -> None:
        super().__init__()
        self.scan = scan
        self.rest = (None,) * places
        self.__dict__["swapped"] = layer

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["swapped"], name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the layer returns."""
        y = self.scan(*args, **kwargs)
        return (y, *self.rest) if self.rest else y


def _difference(wanted: list[Tensor], found: list[Tensor]) -> float:
    """Relative to the largest wanted value."""
    largest = max((float(y.abs().max()) for y in wanted), default=0.0)
    apart = max((float((a - b).abs().max()) for a, b in zip(wanted, found, strict=True)), default=0.0)
    return apart / largest if largest else apart


def _replaced(model: nn.Module, layer: nn.Module, scan: nn.Module) -> nn.Module:
    if model is layer:
        return scan
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is layer:
                setattr(parent, name, scan)
    return model
