"""Which layer of a model keeps torch from exporting it with any batch and any length, and why."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.symbolic_shapes import free_symbols

from ssmc.export.user_code import blame

AXES = ("batch", "length")
SCAN = "write the recurrence with torch._higher_order_ops.scan, or add an adapter for the layer (docs/models.md)"
REAL = "add an adapter for the layer, or write it in real numbers (docs/models.md)"


@dataclass(frozen=True)
class Obstacle:
    """What stands in the way.

    Attributes:
        layer: its name in the model; "the model" for the model itself.
        fact: begins with the layer's class.
        remedy: what to do about it.
    """

    layer: str
    fact: str
    remedy: str


@dataclass
class _Watch:
    """What a trace of the model shows: the layers that run, and the first that makes an axis a constant."""

    model: nn.Module
    running: list[nn.Module] = field(default_factory=list)
    inputs: tuple[Tensor, ...] = ()
    fixed: tuple[nn.Module, int] | None = None

    def enter(self, layer: nn.Module, args: tuple[Any, ...]) -> None:
        if layer is self.model:
            self.inputs = args
        elif self.running:
            self._look(self.running[-1])
        self.running.append(layer)

    def leave(self, layer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self._look(layer)
        self.running.pop()

    def _look(self, layer: nn.Module) -> None:
        for x in self.inputs if self.fixed is None else ():
            for axis in range(2):
                if not free_symbols(x.shape[axis]):
                    self.fixed = layer, axis


def find_obstacle(model: nn.Module, examples: tuple[Tensor, ...]) -> Obstacle | None:
    """Trace the model once more, watching its layers; None where nothing is found."""
    watch = _Watch(model)
    hooks = [layer.register_forward_pre_hook(watch.enter) for layer in model.modules()]
    hooks += [layer.register_forward_hook(watch.leave) for layer in model.modules()]
    axes = {axis: torch.export.Dim.AUTO for axis in range(2)}
    names = {layer: name or "the model" for name, layer in model.named_modules()}
    try:
        with silence(), torch.no_grad():
            program = torch.export.export(model, examples, dynamic_shapes=tuple(axes for _ in examples), strict=False)
    except Exception as cause:
        return _raised(watch, names, cause)
    finally:
        for hook in hooks:
            hook.remove()
    return _complex(program.graph) or _fixed(watch, names, examples)


def _raised(watch: _Watch, names: dict[nn.Module, str], cause: Exception) -> Obstacle:
    layer = watch.running[-1] if watch.running else watch.model
    kind, text = type(layer).__name__, blame(cause)
    place = text.partition(": ")[0] if ".py:" in text.partition(": ")[0] else ""
    if "DataDependent" in type(cause).__name__:
        fact = f"{kind} decides by the values of a tensor{f' ({place})' if place else ''}"
        return Obstacle(names[layer], fact, "compute both cases and choose with torch.where")
    return Obstacle(names[layer], f"torch cannot trace {kind}: {text}", SCAN)


def _complex(graph: torch.fx.Graph) -> Obstacle | None:
    """The first layer that computes in complex numbers, which ONNX has no operators for."""
    for node in graph.nodes:
        value = node.meta.get("val")
        if node.op == "call_function" and isinstance(value, Tensor) and value.is_complex():
            stack = list(node.meta.get("nn_module_stack", {}).values())
            name, kind = stack[-1] if stack else ("", "the model")
            kind = kind if isinstance(kind, str) else kind.__name__
            operator = str(node.target).removeprefix("aten.").partition(".")[0]
            fact = (
                f"{kind.rpartition('.')[2]} computes in complex numbers ({operator}), which ONNX has no operators for"
            )
            return Obstacle(name or "the model", fact, REAL)
    return None


def _fixed(watch: _Watch, names: dict[nn.Module, str], examples: tuple[Tensor, ...]) -> Obstacle | None:
    if watch.fixed is None:
        return None
    layer, axis = watch.fixed
    how = (
        "a loop over time in Python, or a table or number of that length" if axis else "a table or number of that size"
    )
    fact = f"{type(layer).__name__} fixes the {AXES[axis]} at {examples[0].shape[axis]}: {how}"
    return Obstacle(names[layer], fact, SCAN if axis else "take the size from a tensor's shape where it is needed")


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Without the exporter's remarks on packages it did not find, on its own deprecations and on what it tried."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
