"""Which output of a one-step model is the next value of which input."""

from __future__ import annotations

import re
from collections.abc import Mapping

import onnx_ir as ir

from ssmc.errors import ModelError, UsageError

SAME = frozenset(
    ("", "next", "new", "out", "output", "in", "input", "prev", "previous", "past", "present", "old", "init")
)
Shapes = Mapping[str, tuple[int, ...]]


def pair_states(graph: ir.Graph, shapes: Shapes, given: Mapping[str, str]) -> dict[ir.Value, ir.Value]:
    """State inputs with the outputs that are their next values: as given, else by name, else by a unique shape.

    Where every input has an output of its shape, the first input and the first output are sequence and result. Several
    inputs may be left over, with one result: sequences that are joined.

    Raises:
        UsageError: SSMC-U15 where a given name does not exist.
        ModelError: SSMC-M14 where one result and a sequence are not left over; both sides are listed.
    """
    pairs = _given(graph, given)
    for key in (_numbered, stem, lambda value: str(shapes[str(value.name)])):
        inputs = [v for v in graph.inputs if v not in pairs]
        outputs = [v for v in graph.outputs if v not in pairs.values()]
        if len(outputs) == 1:
            break
        for value in inputs:
            alike = [v for v in outputs if key(v) == key(value) and shapes[str(v.name)] == shapes[str(value.name)]]
            rivals = [v for v in inputs if key(v) == key(value)]
            if len(alike) == len(rivals) == 1 and key(value):
                pairs[value] = alike[0]
    if len(pairs) == len(graph.inputs) and pairs.get(graph.inputs[0]) is graph.outputs[0] and not given:
        del pairs[graph.inputs[0]]
    if len(graph.inputs) == len(pairs) or len(graph.outputs) - len(pairs) != 1:
        have, make = (
            ", ".join(f"{value.name} {shapes[str(value.name)][1:]}" for value in values)
            for values in (graph.inputs, graph.outputs)
        )
        fact = f"its states cannot be told: inputs {have}; outputs {make}"
        raise ModelError("SSMC-M14", fact, "name every state with --state IN:OUT", str(graph.name))
    return pairs


def _given(graph: ir.Graph, names: Mapping[str, str]) -> dict[ir.Value, ir.Value]:
    known = {str(v.name): v for v in (*graph.inputs, *graph.outputs)}
    for name in (*names, *names.values()):
        if name not in known:
            remedy = f"use the names of inputs and outputs: {', '.join(known)}"
            raise UsageError("SSMC-U15", f"the model has no input or output '{name}'", remedy, "--state")
    return {known[start]: known[end] for start, end in names.items()}


def _numbered(value: ir.Value) -> str:
    """The name without the words that tell old from new, with its numbers: ``s1`` of ``s1_next``."""
    words = re.split(r"[^a-z0-9]+", str(value.name).lower())
    return " ".join(word for word in words if word not in SAME)


def stem(value: ir.Value) -> str:
    """The name without numbers and without the words that tell old from new: ``state`` of ``state_out.3``."""
    words = re.split(r"[^a-z]+", str(value.name).lower())
    return " ".join(word for word in words if word not in SAME)
