"""Constants that a recurrence in real numbers adds: in front of it, so that what remains is linear."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ssmc.ir.build import add_constant
from ssmc.ir.parts import Constants


def move_bias_in_front(
    graph: ir.Graph, node: ir.Node, u: ir.Value, arrays: Constants, name: str
) -> tuple[ir.Value, Constants]:
    """``s' = A s + B u + b`` as ``v = B u + b`` of all steps at once, and ``s' = A s + v``.

    Where y reads u too, it is handed on beside v. Returns the new input (N, T, G m') and the kernel's arrays.
    """
    W, W_y, offset = arrays["W"], arrays["W_y"], arrays["offset"]
    G, n, columns = W.shape
    m, p = columns - n, W_y.shape[1]
    kept = m if W_y[..., n:].any() else 0
    front = np.zeros((G * m, G, n + kept))
    for g in range(G):
        front[g * m : (g + 1) * m, g, :n] = W[g, :, n:].T
        front[g * m : (g + 1) * m, g, n:] = np.eye(m, kept)
    bias = np.concatenate([offset, np.zeros((G, kept))], 1)
    matrix = add_constant(graph, f"{name}.B", front.reshape(G * m, -1), np.float32)
    product = insert(graph, node, "MatMul", [u, matrix], f"{name}.driven")
    constant = add_constant(graph, f"{name}.bias", bias.ravel(), np.float32)
    v = insert(graph, node, "Add", [product, constant], f"{name}.biased")
    driven = np.concatenate([W[..., :n], np.tile(np.eye(n, n + kept), (G, 1, 1))], 2)
    read = np.concatenate([W_y[..., :n], np.zeros((G, p, n)), W_y[..., n : n + kept]], 2)
    return v, {**arrays, "W": driven, "W_y": read, "offset": np.zeros_like(offset)}


def insert(
    graph: ir.Graph, before: ir.Node, op_type: str, inputs: Sequence[ir.Value], name: str, **attributes: int | list[int]
) -> ir.Value:
    """A node with one output of its name, in front of another."""
    node = ir.node(op_type, inputs, attributes, name=name)
    node.outputs[0].name = name
    graph.insert_before(before, node)
    return node.outputs[0]
