"""Products in one spelling.

An Einsum with a constant matrix, as jax writes a linear layer, is a MatMul; a Gemm of a transposed signal stands behind
a Transpose. A matrix for every head, ``y[.., h, e] = sum_d x[.., h, d] W[h, d, e]``, is one that is block diagonal.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ssmc.ir.build import Array, add_constant, constant_array, graphs, is_op, node_name, replace_node

MOST_WEIGHTS = 1 << 24  # of a block diagonal matrix


def einsum_to_matmul(graph: ir.Graph) -> None:
    """Rewrite every Einsum of the graph that contracts a signal's last axis with a constant matrix, or one a head."""
    for node in list(graph):
        if is_op(node, "Einsum") and len(node.inputs) == 2:
            _rewrite(graph, node)
    for node in list(graph):
        if is_op(node, "MatMul"):
            x, weight = node.inputs[0], constant_array(node.inputs[1])
            heads = _heads(x)
            if weight is not None and weight.ndim == 2 and heads:
                _join_heads(graph, node, x, np.broadcast_to(weight, (heads, *weight.shape)), rows=0)
            else:
                _join_heads(graph, node, x, weight, rows=1)


def turn_first_factors(model: ir.Model) -> None:
    """Put a Transpose in front of every Gemm with transA, in bodies too."""
    for graph in graphs(model.graph):
        for node in list(graph):
            if is_op(node, "Gemm") and "transA" in node.attributes and node.attributes["transA"].as_int():
                turned = ir.node("Transpose", [node.inputs[0]], {"perm": [1, 0]}, name=f"{node_name(node)}.turned")
                turned.outputs[0].name, turned.outputs[0].dtype = f"{node_name(node)}.turned", ir.DataType.FLOAT
                graph.insert_before(node, turned)
                node.replace_input_with(0, turned.outputs[0])
                del node.attributes["transA"]


def _rewrite(graph: ir.Graph, node: ir.Node) -> None:
    left, _, result = node.attributes["equation"].as_string().replace(" ", "").partition("->")
    terms = left.split(",")
    for signal, matrix in ((0, 1), (1, 0)):
        weight = constant_array(node.inputs[matrix])
        x, w = terms[signal], terms[matrix]
        if weight is None or constant_array(node.inputs[signal]) is not None or len(set(w)) != len(w):
            continue
        lead, head, inner = x[:-2], x[-2:-1], x[-1:]
        outer = result.removeprefix(lead + head)
        kept = result == lead + head + outer and outer not in x
        if len(w) == 3 and kept and sorted(w) == sorted(head + inner + outer):
            axes = [w.index(letter) for letter in (head, inner, outer)]
            _join_heads(graph, node, node.inputs[signal], weight.transpose(axes), rows=0)
            return
        if len(w) != 2:
            continue
        inner, outer = x[-1:], w.replace(x[-1:], "")
        if inner not in w or result != x[:-1] + outer or outer in x or len(set(x)) != len(x):
            continue
        value = node.inputs[matrix]
        if w[0] != inner:
            value = add_constant(graph, f"{node_name(node)}.matrix", weight.T, np.float32)
        replace_node(graph, node, ir.node("MatMul", [node.inputs[signal], value], name=node_name(node)))
        return


def _heads(x: ir.Value | None) -> int:
    """Into how many heads a Reshape parts the channels of (batch, time, heads, in), 0 where it does not."""
    maker = None if x is None else x.producer()
    if x is None or x.shape is None or maker is None or not is_op(maker, "Reshape") or len(x.shape) != 4:
        return 0
    return x.shape[2] if isinstance(x.shape[2], int) else 0


def _join_heads(graph: ir.Graph, node: ir.Node, x: ir.Value | None, weight: Array | None, rows: int) -> None:
    """A product of ``x`` (.., heads, in) and one matrix a head; ``rows`` axes of length 1 may stand before the last."""
    shape = None if x is None or x.shape is None else list(x.shape.dims)
    if x is None or shape is None or weight is None or weight.ndim != 3 or weight.size * len(weight) > MOST_WEIGHTS:
        return
    heads, inner, outer = weight.shape
    lead = shape[: len(shape) - 2 - rows]
    if len(lead) not in (1, 2) or shape[len(lead) :] != [heads, *[1] * rows, inner]:
        return
    wide, each = np.zeros((heads, inner, heads, outer)), np.arange(heads)
    wide[each, :, each] = weight
    name = node_name(node)

    def shaped(value: ir.Value, sizes: list[int], called: str) -> ir.Node:
        to = add_constant(graph, f"{called}.shape", np.array([0] * len(lead) + sizes), np.int64)
        return ir.node("Reshape", [value, to], name=called)

    flat = shaped(x, [heads * inner], f"{name}.joined")
    matrix = add_constant(graph, f"{name}.matrix", wide.reshape(heads * inner, heads * outer), np.float32)
    product = ir.node("MatMul", [flat.outputs[0], matrix], name=f"{name}.blocks")
    for made, size in ((flat, heads * inner), (product, heads * outer)):
        made.outputs[0].name, made.outputs[0].dtype = str(made.name), ir.DataType.FLOAT
        made.outputs[0].shape = ir.Shape([*lead, size])
        graph.insert_before(node, made)
    replace_node(graph, node, shaped(product.outputs[0], [heads, *[1] * rows, outer], name))
