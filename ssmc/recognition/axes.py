"""Which axis is batch, which is time: measured, not guessed.

onnxruntime runs the model at three sizes; an axis whose length follows the batch is ``N``, the time ``T``, their
product ``NT``; every other axis keeps its length and is ``C`` (channels, features) or ``1``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import onnx
import onnx_ir as ir

from ssmc.errors import ModelError
from ssmc.ir.build import is_op, known_shape, required
from ssmc.ir.strides import enough_steps
from ssmc.verify import Session, exposed, serialized

Roles = tuple[str, ...]
BASE = (3, 5)
MORE = (4, 7)


@dataclass(frozen=True)
class Axes:
    """Roles of the axes of every value of the main graph, and concrete shapes: batch 3, time 5, more with strides."""

    roles: dict[str, Roles]
    shapes: dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Exposed:
    """A model with every value of its main graph as an output.

    Attributes:
        model, proto: the graph as it is, and with the outputs.
        names: of the values that nodes make.
    """

    model: ir.Model
    proto: onnx.ModelProto
    names: list[str]

    @staticmethod
    def of(model: ir.Model) -> Exposed:
        """Serialize, and add the outputs."""
        return Exposed(model, *exposed(model))

    @cached_property
    def session(self) -> Session:
        """Loaded on first use."""
        return _loaded(serialized(self.proto))


@lru_cache(maxsize=1)
def _loaded(data: bytes) -> Session:
    """Of the last graph it is kept: the oracle and the pass after it look at the same one."""
    return Session(data)


def name_axes(given: ir.Model | Exposed) -> Axes:
    """Measure the roles of every axis of every value in the main graph.

    Raises:
        ModelError: SSMC-M08 where batch or time is not a dynamic axis of the input.
    """
    seen = given if isinstance(given, Exposed) else Exposed.of(given)
    model = seen.model
    free = _free_axes(model)
    names = [str(model.graph.inputs[0].name), *seen.names]
    probes = [
        (enough_steps(model.graph, a), enough_steps(model.graph, b))  # either axis may be time
        for a, b in (BASE, (MORE[0], BASE[1]), (BASE[0], MORE[1]))
    ]
    base, first, second = (_shapes(model, seen.session, names, free, sizes) for sizes in probes)
    swapped = _first_is_time(model, first, base)
    roles = {}
    for name in names:
        if len(base[name]) == len(first[name]) == len(second[name]):
            moved = zip(base[name], first[name], second[name], strict=True)
            roles[name] = tuple(_role(size, a != size, b != size, swapped) for size, a, b in moved)
    return Axes(roles, base)


def _role(size: int, first: bool, second: bool, swapped: bool) -> str:
    if first and second:
        return "NT"
    if first or second:
        return "T" if second != swapped else "N"
    return "1" if size == 1 else "C"


def _free_axes(model: ir.Model) -> list[int]:
    value = model.graph.inputs[0]
    shape = known_shape(value)
    free = [axis for axis, dim in enumerate(shape) if not isinstance(dim, int)]
    if len(free) != 2:
        raise ModelError(
            "SSMC-M08",
            f"input has shape {shape}: {len(free)} dynamic axes",
            "export with batch and time dynamic (dynamic_shapes) and the features fixed",
            str(value.name),
        )
    return free


def _shapes(
    model: ir.Model, session: Session, names: list[str], free: list[int], sizes: tuple[int, int]
) -> dict[str, tuple[int, ...]]:
    value = model.graph.inputs[0]
    dims = [d if isinstance(d, int) else 0 for d in known_shape(value)]
    for axis, size in zip(free, sizes, strict=True):
        dims[axis] = size
    dtype = (value.dtype or ir.DataType.FLOAT).numpy()
    results = session.run({names[0]: np.zeros(dims, dtype)}, names[1:])
    return {names[0]: tuple(dims)} | {n: out.shape for n, out in zip(names[1:], results, strict=True)}


def _first_is_time(model: ir.Model, first: dict[str, tuple[int, ...]], base: dict[str, tuple[int, ...]]) -> bool:
    """Whether the input's first dynamic axis is the one that a recurrence walks."""
    for node in model.graph:
        if is_op(node, "StateSpace", "StateSpaceAfter", "MovingAverage", domain="ssmc"):
            name = str(required(node, 0).name)
            return first[name][1] != base[name][1]
        if is_op(node, "Scan"):
            count = node.attributes["num_scan_inputs"].as_int()
            axes = node.attributes.get("scan_input_axes")
            for index in range(count):
                axis = axes.as_ints()[index] if axes is not None else 0
                name = str(required(node, index - count).name)
                if name in base:
                    return first[name][axis] != base[name][axis]
    return False
