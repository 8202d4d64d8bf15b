"""How loops start: from constants, or from what they read at their first step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ssmc.ir.build import carried, constant_array, is_op, required
from ssmc.ir.rounding import FloatArray
from ssmc.recognition.axes import Exposed
from ssmc.recognition.exponential_mean import FoundMean
from ssmc.recognition.states import GRID_ERROR
from ssmc.verify import random_feeds

STEPS = 3  # of the inputs that are tried: the first step is not the last
MANY, LOUD = 16, 16.0  # inputs where states are computed from them, every second one as much louder
#: what only moves or picks numbers
MOVES = ("Gather", "Slice", "Split", "Squeeze", "Unsqueeze", "Reshape", "Transpose", "Identity", "Flatten", "ReduceSum")


@dataclass(frozen=True)
class Start:
    """The initial state of a loop, flattened and joined.

    Attributes:
        constant: (S,), where it does not depend on the input.
        states: (S,) for each of some inputs. firsts: what the loop reads at its first step, (U,) likewise.
        taken: it is taken from what the loop walks: some inputs would not tell a limit or another function.
    """

    constant: FloatArray | None
    states: tuple[FloatArray, ...] = ()
    firsts: tuple[FloatArray, ...] = ()
    taken: bool = False

    def follows(self, mean: FoundMean) -> bool:
        """Whether it is what a mean that starts at the first step begins with."""
        for state, first in zip(self.states, self.firsts, strict=True):
            wanted = first * mean.start
            if state.shape != wanted.shape or (np.abs(state - wanted) > GRID_ERROR * np.abs(wanted)).any():
                return False
        return self.taken


def starts_of(exposed: Exposed, loops: list[ir.Node]) -> list[Start]:
    """How every loop starts, of one sample, for some inputs: for more where states are computed from them."""
    depends = any(_reads_input(value) for node in loops for value in node.inputs[: carried(node)] if value is not None)
    wanted = [value for node in loops for value in node.inputs if value is not None]
    made = list(dict.fromkeys(str(v.name) for v in wanted if constant_array(v) is None))
    runs = []
    for seed in range(MANY if depends else 2):
        feeds = random_feeds(exposed.model, seed, batch=1, steps=STEPS)
        loud = np.float32(LOUD if seed % 2 else 1)
        feeds = {name: x * loud if x.dtype == np.float32 else x for name, x in feeds.items()}
        runs.append({**feeds, **dict(zip(made, exposed.session.run(feeds, made), strict=True))})
    return [_start(node, runs) for node in loops]


def _start(node: ir.Node, runs: list[dict[str, FloatArray]]) -> Start:
    states = [required(node, index) for index in range(carried(node))]
    scanned = [required(node, index) for index in range(carried(node), len(node.inputs))]
    seen = tuple(_joined([_array(value, run) for value in states]) for run in runs)
    firsts = tuple(_joined([_array(value, run)[0] for value in scanned]) for run in runs)
    silent = _same(firsts) and any(map(_reads_input, states))  # such inputs tell nothing
    if _same(seen) and not silent:
        return Start(seen[0])
    walked = set[ir.Value]().union(*map(_origins, scanned))
    taken = all(not walked.isdisjoint(_origins(value)) for value in states)
    return Start(None, seen, firsts, taken)


def _same(arrays: tuple[FloatArray, ...]) -> bool:
    return all(np.array_equal(array, arrays[0]) for array in arrays)


def _origins(value: ir.Value) -> list[ir.Value]:
    """What a value is taken from, step by step: its numbers moved, picked or multiplied by a constant."""
    found = [value]
    for each in found:
        node = each.producer()
        given = [v for v in node.inputs if v is not None and constant_array(v) is None] if node is not None else []
        if node is not None and (is_op(node, *MOVES) or (is_op(node, "Mul", "Div") and len(given) == 1)):
            found += given[:1]
    return found


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
