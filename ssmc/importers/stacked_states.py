"""The states of all layers in one tensor, as streaming models of several layers keep them: a state for each layer."""

from __future__ import annotations

from collections.abc import Mapping, MutableSequence

import numpy as np
import onnx_ir as ir

from ssmc.importers.pairing import stem
from ssmc.ir.build import add_constant, constant_array, is_op, remove_dead, required

Reads = list[tuple[ir.Value, int, bool]]  # what is read, which entry, whether it keeps the axis


def unstack_states(graph: ir.Graph, given: Mapping[str, str]) -> dict[str, str]:
    """Put a state for each entry in the place of one whose entries a model reads apart and puts together again.

    Returns:
        Names of states, input to output: those that were given, entry by entry where a state is taken apart.
    """
    pairs = dict(given)
    for value in list(graph.inputs):
        axis = _axis(value)
        if axis is None or value.shape is None:
            continue
        result = _following(graph, value, axis, given)
        reads = _reads(value, axis)
        if result is not None and reads is not None:
            pairs.pop(str(value.name), None)
            pairs |= _take_apart(graph, value, result, axis, reads)
    return pairs


def _axis(value: ir.Value) -> int | None:
    """The axis along which the first reader takes an entry."""
    for use in value.uses():
        if is_op(use.node, "Gather", "Split"):
            return use.node.attributes["axis"].as_int() if "axis" in use.node.attributes else 0
        if is_op(use.node, "Slice") and len(use.node.inputs) > 3:
            axes = constant_array(use.node.inputs[3])
            return int(axes[0]) if axes is not None and axes.size == 1 else None
    return None


def _following(graph: ir.Graph, value: ir.Value, axis: int, given: Mapping[str, str]) -> ir.Value | None:
    """The output that puts the next entries together: named by the user, else by its name, else the only one."""
    found = []
    for output in graph.outputs:
        node = output.producer()
        joins = node is not None and is_op(node, "Concat") and node.attributes["axis"].as_int() == axis
        if joins and node is not None and value.shape is not None and len(node.inputs) == value.shape[axis]:
            found.append(output)
    named = [o for o in found if given.get(str(value.name)) == o.name]
    alike = [o for o in found if stem(o) == stem(value)]
    return next(iter(named or alike), None) if named or alike or len(found) != 1 else found[0]


def _reads(value: ir.Value, axis: int) -> Reads | None:
    """What reads single entries; None where anything else reads the state."""
    found: Reads = []
    for use in value.uses():
        node, places = use.node, constant_array(use.node.inputs[1]) if len(use.node.inputs) > 1 else None
        if is_op(node, "Gather") and node.attributes["axis"].as_int() == axis and places is not None:
            if places.size != 1:
                return None
            found.append((node.outputs[0], int(places.ravel()[0]), places.ndim == 1))
        elif is_op(node, "Split") and value.shape is not None and len(node.outputs) == value.shape[axis]:
            found += [(out, index, True) for index, out in enumerate(node.outputs)]
        elif is_op(node, "Slice") and places is not None and places.size == 1:
            stop = constant_array(required(node, 2))
            if stop is None or int(stop[0]) != int(places[0]) + 1:
                return None
            found.append((node.outputs[0], int(places[0]), True))
        else:
            return None
    return found


def _take_apart(graph: ir.Graph, value: ir.Value, result: ir.Value, axis: int, reads: Reads) -> dict[str, str]:
    node = result.producer()
    assert node is not None
    assert value.shape is not None
    dims = [dim for index, dim in enumerate(value.shape.dims) if index != axis]
    states = [ir.val(f"{value.name}.{i}", dtype=value.dtype, shape=ir.Shape(dims)) for i in range(len(node.inputs))]
    at = add_constant(graph, f"{value.name}.axis", [axis], np.int64)
    for old, index, keeps in reads:
        new = states[index]
        if keeps:
            wide = ir.node("Unsqueeze", [new, at], name=f"{old.name}.entry")
            wide.outputs[0].name = f"{old.name}.entry"
            graph.insert_before(graph[0], wide)
            new = wide.outputs[0]
        old.replace_all_uses_with(new)
    results = []
    for index in range(len(states)):
        narrow = ir.node("Squeeze", [required(node, index), at], name=f"{result.name}.{index}")
        narrow.outputs[0].name, narrow.outputs[0].type = f"{result.name}.{index}", result.type
        graph.append(narrow)
        results.append(narrow.outputs[0])
    _in_place(graph.inputs, value, states)
    _in_place(graph.outputs, result, results)
    remove_dead(graph)
    return {str(state.name): str(out.name) for state, out in zip(states, results, strict=True)}


def _in_place(values: MutableSequence[ir.Value], old: ir.Value, new: list[ir.Value]) -> None:
    kept = list(values)
    at = kept.index(old)
    values.clear()
    values.extend([*kept[:at], *new, *kept[at + 1 :]])
