"""Zeros from which a loop starts, made for any batch: a file of fixed sizes keeps them as a constant of its batch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

WALKS = ("Scan", "Loop")


def expand_zero_starts(graph: onnx.GraphProto, axes: Mapping[int, int]) -> None:
    """Constant zeros of a loop's state whose first axis is as long as an input's axis follow that axis.

    Args:
        graph: edited in place.
        axes: of the first input, with the lengths that are no longer fixed.
    """
    constants = _zeros(graph)
    made: dict[str, str] = {}
    for node in graph.node:
        for index in _states(node):
            shape = constants.get(node.input[index], ())
            axis = next((axis for axis, size in axes.items() if shape and shape[0] == size), None)
            if axis is not None:
                if node.input[index] not in made:
                    made[node.input[index]] = _add(graph, node.input[index], shape, axis)
                node.input[index] = made[node.input[index]]
    count = 4 * len(made)
    moved = [*graph.node[len(graph.node) - count :], *graph.node[: len(graph.node) - count]]
    del graph.node[:]
    graph.node.extend(moved)


def _states(node: onnx.NodeProto) -> range:
    """Positions of the first values of the states."""
    if node.op_type == "Loop":
        return range(2, len(node.input))
    scanned = next((a.i for a in node.attribute if a.name == "num_scan_inputs"), 0)
    return range(len(node.input) - scanned) if node.op_type == "Scan" else range(0)


def _zeros(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    """Shapes of the graph's constants that are 0 throughout."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        value = next((a.t for a in node.attribute if a.name == "value"), None)
        if node.op_type == "Constant" and value is not None:
            tensors[node.output[0]] = value
    used = {node.input[index] for node in graph.node for index in _states(node)}
    arrays = {name: numpy_helper.to_array(tensor) for name, tensor in tensors.items() if name in used}
    return {name: array.shape for name, array in arrays.items() if array.ndim > 1 and not array.any()}


def _add(graph: onnx.GraphProto, name: str, shape: tuple[int, ...], axis: int) -> str:
    """Zeros of the batch of the first input, by four nodes at the end of the graph."""
    arrays = {"axis": np.array([axis]), "sizes": np.array(shape[1:])}
    graph.initializer.extend(numpy_helper.from_array(array, f"{name}.{key}") for key, array in arrays.items())
    make, start = helper.make_node, f"{name}.every_batch"
    graph.node.extend(
        [
            make("Shape", [graph.input[0].name], [f"{name}.lengths"], name=f"{name}.lengths"),
            make("Gather", [f"{name}.lengths", f"{name}.axis"], [f"{name}.batch"], name=f"{name}.batch", axis=0),
            make("Concat", [f"{name}.batch", f"{name}.sizes"], [f"{name}.shape"], name=f"{name}.shape", axis=0),
            make("ConstantOfShape", [f"{name}.shape"], [start], name=start),
        ]
    )
    return start
