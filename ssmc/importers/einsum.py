"""Products in one spelling.

An Einsum with a constant matrix, as jax writes a linear layer, is a MatMul; a Gemm of a transposed signal stands behind
a Transpose.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ssmc.ir.build import add_constant, constant_array, graphs, is_op, node_name, replace_node


def einsum_to_matmul(graph: ir.Graph) -> None:
    """Rewrite every Einsum of the graph that contracts a signal's last axis with a constant matrix."""
    for node in list(graph):
        if is_op(node, "Einsum") and len(node.inputs) == 2:
            _rewrite(graph, node)


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
        if weight is None or constant_array(node.inputs[signal]) is not None or len(w) != 2 or len(set(w)) != 2:
            continue
        inner, outer = x[-1:], w.replace(x[-1:], "")
        if inner not in w or result != x[:-1] + outer or outer in x or len(set(x)) != len(x):
            continue
        value = node.inputs[matrix]
        if w[0] != inner:
            value = add_constant(graph, f"{node_name(node)}.matrix", weight.T, np.float32)
        replace_node(graph, node, ir.node("MatMul", [node.inputs[signal], value], name=node_name(node)))
        return
