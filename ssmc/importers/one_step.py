"""A model of one step, with its states as inputs and outputs, as Scans over a sequence."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from ssmc.budgets import Budgets
from ssmc.errors import ModelError
from ssmc.importers.inputs import Parts
from ssmc.importers.joined_steps import join_inputs
from ssmc.importers.pairing import pair_states
from ssmc.importers.stacked_states import unstack_states
from ssmc.importers.step_layers import StepNodes, Steps
from ssmc.ir.build import is_op, known_shape, remove_dead
from ssmc.trial import LimitedSession, shape_of
from ssmc.verify import exposed

BATCH = 3
SCAN = "one_step"
REMEDY = "export states as (batch, ...) with a dynamic batch"


def one_step_to_scan(model: ir.Model, states: Mapping[str, str], budgets: Budgets, source: str) -> Parts:
    """Rewrite a model that takes one step. ``states``: names, input to output.

    Returns:
        The inputs whose columns it takes side by side, where it has several besides its states (`input_parts`).

    Raises:
        ModelError: SSMC-M14 where its states cannot be told, or have no batch axis.
        UsageError: SSMC-U07 where one run takes more seconds of CPU than the budget.
    """
    graph = model.graph
    if len(graph.inputs) < 2 or len(graph.outputs) < 2 or any(is_op(node, "Scan", "Loop") for node in graph):
        return ()
    states = unstack_states(graph, states)
    shapes = _measured(model, budgets, source)
    pairs = pair_states(graph, shapes, states)
    xs = [value for value in graph.inputs if value not in pairs]
    joined, parts = join_inputs(graph, xs, shapes) if len(xs) > 1 else (shapes, ())
    _rewrite(graph, dict(joined), pairs)
    return parts


def _measured(model: ir.Model, budgets: Budgets, source: str) -> dict[str, tuple[int, ...]]:
    """Shapes of every value at a batch of 3; a batch of 1 that a model declares is free where it runs at 3."""
    fixed = _free_batch(model.graph)
    proto, names = exposed(model)
    feeds = {}
    for value in model.graph.inputs:
        dims = [BATCH, *(int(dim) if isinstance(dim, int) else 1 for dim in known_shape(value).dims[1:])]
        feeds[str(value.name)] = np.zeros(dims, (value.dtype or ir.DataType.FLOAT).numpy())
    try:
        results = LimitedSession(proto, budgets, source).run(feeds, names)
    except ModelError as error:
        if not fixed:
            raise
        fact = f"its batch is fixed at 1, and another does not run ({error.fact[:160]})"
        raise ModelError("SSMC-M14", fact, REMEDY, source) from None
    return {name: x.shape for name, x in feeds.items()} | {n: shape_of(x) for n, x in zip(names, results, strict=True)}


def _free_batch(graph: ir.Graph) -> bool:
    """Make a batch of 1 dynamic at every end; whether there was one.

    Raises:
        ModelError: SSMC-M14 where an input begins with another fixed size.
    """
    fixed = [value for value in graph.inputs if value.shape is not None and value.shape[0] == 1]
    for value in graph.inputs:
        if value.shape is None or len(value.shape) < 2 or (isinstance(value.shape[0], int) and value not in fixed):
            fact = f"shape {value.shape} does not begin with a dynamic batch"
            raise ModelError("SSMC-M14", fact, REMEDY, str(value.name))
    for value in fixed:
        value.shape = ir.Shape(["batch", *known_shape(value).dims[1:]])
    if fixed:
        for value in (*graph.outputs, *(out for node in graph for out in node.outputs)):
            value.shape = None
    return bool(fixed)


def _rewrite(graph: ir.Graph, shapes: dict[str, tuple[int, ...]], pairs: dict[ir.Value, ir.Value]) -> None:
    """Put a Scan, and reshapes around it, in the place of every layer of the step."""
    (x,), (y,) = ([v for v in side if v not in known] for side, known in (
        (graph.inputs, pairs), (graph.outputs, set(pairs.values()))
    ))  # fmt: skip
    nodes, dims, size = StepNodes(graph), shapes[str(x.name)][1:], shapes[str(y.name)][1:]
    sequence = ir.val(str(x.name), dtype=x.dtype, shape=ir.Shape(["batch", "time", *_without_time(dims)]))
    flat = nodes.reshaped(sequence, [-1, *dims], f"{SCAN}.flat")
    lengths = nodes.op("Shape", [sequence], f"{SCAN}.lengths", start=0, end=2)
    batch = nodes.op("Shape", [sequence], f"{SCAN}.batch", start=0, end=1)
    starts = {
        state: nodes.zeros(batch, shapes[str(state.name)][1:], f"{SCAN}.start{index}")
        for index, state in enumerate(pairs)
    }
    x.replace_all_uses_with(flat)
    shapes[str(flat.name)] = shapes[str(x.name)]
    graph.outputs.clear()
    graph.outputs.append(y)
    graph.sort()
    Steps(graph, shapes, [flat], lengths, pairs, starts).scan_layers(SCAN)
    result, named = graph.outputs[0], str(graph.outputs[0].name)
    shape = nodes.op("Concat", [lengths, nodes.const(_without_time(size), f"{SCAN}.size")], f"{SCAN}.shape", axis=0)
    result.name = f"{named}.step"
    out = nodes.op("Reshape", [result, shape], f"{SCAN}.output")
    out.name, out.type = named, result.type
    out.shape = ir.Shape(["batch", "time", *_without_time(size)])
    graph.inputs.clear()
    graph.inputs.append(sequence)
    graph.outputs[0] = out
    remove_dead(graph)


def _without_time(dims: tuple[int, ...]) -> tuple[int, ...]:
    """Sizes of one step without the axis of time, of length 1, that some models keep."""
    return dims[1:] if len(dims) == 2 and dims[0] == 1 else dims
