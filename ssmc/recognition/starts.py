"""How loops start: from constants, or from what they read at their first step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ssmc.ir.build import carried, constant_array, required
from ssmc.ir.rounding import FloatArray
from ssmc.recognition.axes import Exposed
from ssmc.recognition.exponential_mean import FoundMean
from ssmc.recognition.states import GRID_ERROR
from ssmc.verify import random_feeds

STEPS = 3  # of the inputs that are tried: the first step is not the last


@dataclass(frozen=True)
class Start:
    """The initial state of a loop, flattened and joined.

    Attributes:
        constant: (S,), where it does not depend on the input.
        states: (S,) for each of some inputs. firsts: what the loop reads at its first step, (U,) likewise.
    """

    constant: FloatArray | None
    states: tuple[FloatArray, ...] = ()
    firsts: tuple[FloatArray, ...] = ()

    def follows(self, mean: FoundMean) -> bool:
        """Whether it is what a mean that starts at the first step begins with."""
        for state, first in zip(self.states, self.firsts, strict=True):
            wanted = first * mean.start
            if state.shape != wanted.shape or (np.abs(state - wanted) > GRID_ERROR * np.abs(wanted)).any():
                return False
        return True


def starts_of(exposed: Exposed, loops: list[ir.Node]) -> list[Start]:
    """How every loop starts, of one sample, for two inputs."""
    wanted = [value for node in loops for value in node.inputs if value is not None]
    made = list(dict.fromkeys(str(v.name) for v in wanted if constant_array(v) is None))
    runs = []
    for seed in range(2):
        feeds = random_feeds(exposed.model, seed, batch=1, steps=STEPS)
        runs.append({**feeds, **dict(zip(made, exposed.session.run(feeds, made) if made else (), strict=True))})
    return [_start(node, runs) for node in loops]


def _start(node: ir.Node, runs: list[dict[str, FloatArray]]) -> Start:
    states = [required(node, index) for index in range(carried(node))]
    scanned = [required(node, index) for index in range(carried(node), len(node.inputs))]
    one, other = (_joined([_array(value, run) for value in states]) for run in runs)
    first, another = (_joined([_array(value, run)[0] for value in scanned]) for run in runs)
    silent = np.array_equal(first, another) and any(map(_reads_input, states))  # such inputs tell nothing
    if np.array_equal(one, other) and not silent:
        return Start(one)
    return Start(None, (one, other), (first, another))


def _reads_input(value: ir.Value) -> bool:
    """Whether a value is computed from the model's input, not from its shape alone."""
    waiting, seen = [value], {value}
    for each in waiting:
        node = each.producer()
        if node is None:
            if each.is_graph_input():
                return True
        elif node.op_type not in ("Shape", "Size"):
            new = [v for v in node.inputs if v is not None and v not in seen]
            seen.update(new)
            waiting += new
    return False


def _array(value: ir.Value, run: dict[str, FloatArray]) -> FloatArray:
    constant = constant_array(value)
    return run[str(value.name)] if constant is None else np.asarray(constant, np.float64)


def _joined(arrays: list[FloatArray]) -> FloatArray:
    return np.concatenate([np.zeros(0), *(np.ravel(array).astype(np.float64) for array in arrays)])
