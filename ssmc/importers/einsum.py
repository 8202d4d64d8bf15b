"""Products in one spelling.

An Einsum with a constant matrix, as jax writes a linear layer, is a MatMul; a Gemm of a transposed signal stands behind
a Transpose. A matrix for every head, ``y[.., h, e] = sum_d x[.., h, d] W[h, d, e]``, is one that is block diagonal.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ssmc.ir.build import Array, add_constant, constant_array, graphs, is_op, node_name, replace_node

MOST_WEIGHTS = 1 << 24  # of a block diagonal matrix
HEADS_FIRST = (0, 2, 1, 3)  # of (N, T, heads, in)


def einsum_to_matmul(graph: ir.Graph) -> None:
    """Rewrite every Einsum of the graph that contracts a signal's last axis with a constant matrix, or one a head."""
    for node in list(graph):
        if is_op(node, "Einsum") and len(node.inputs) == 2:
            _rewrite(graph, node)
    for node in list(graph):
        if is_op(node, "MatMul"):
            x, weight = node.inputs[0], constant_array(node.inputs[1])
            heads, product = heads_of(x), _heads_last(graph, node, weight)
            if product is not None:
                _join_heads(graph, product, product.inputs[0], weight, rows=0)
            elif weight is not None and weight.ndim == 2 and heads:
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


def _heads_last(graph: ir.Graph, node: ir.Node, weight: Array | None) -> ir.Node | None:
    """Puts one matrix a head for (N, T, heads, in), turned, in the place of a product of (N, heads, T, in) with them.

    The new product is no MatMul yet that onnxruntime runs: `_join_heads` is to make one of it.
    """
    turn = node.inputs[0].producer() if node.inputs[0] is not None else None
    if turn is None or not is_op(turn, "Transpose") or weight is None or weight.ndim != 3:
        return None
    x, perm = turn.inputs[0], turn.attributes["perm"].as_ints() if "perm" in turn.attributes else ()
    if x is None or x.shape is None or tuple(perm) != HEADS_FIRST or heads_of(x) != len(weight):
        return None
    if x.shape[-1] != weight.shape[1] or weight.size * len(weight) > MOST_WEIGHTS:
        return None
    name = node_name(node)
    product = ir.node("MatMul", [x, node.inputs[1]], name=f"{name}.turned")
    made = product.outputs[0]
    made.name, made.dtype = f"{name}.turned", ir.DataType.FLOAT
    made.shape = ir.Shape([*x.shape[:-1], weight.shape[-1]])
    graph.insert_before(node, product)
    replace_node(graph, node, ir.node("Transpose", [made], {"perm": HEADS_FIRST}, name=name))
    return product


def heads_of(x: ir.Value | None) -> int:
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
