"""Einsum with a constant matrix as MatMul: how jax and some exporters write a linear layer."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ssmc.ir.build import add_constant, constant_array, is_op, node_name


def einsum_to_matmul(graph: ir.Graph) -> None:
    """Rewrite every Einsum of the graph that contracts a signal's last axis with a constant matrix."""
    for node in list(graph):
        if is_op(node, "Einsum") and len(node.inputs) == 2:
            _rewrite(graph, node)


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
        new = ir.node("MatMul", [node.inputs[signal], value], name=node_name(node))
        old, out = node.outputs[0], new.outputs[0]
        out.shape, out.type, name = old.shape, old.type, str(old.name)
        graph.insert_before(node, new)
        old.replace_all_uses_with(out, replace_graph_outputs=True)
        old.name, out.name = f"{name}.einsum", name
        graph.remove(node, safe=True)
        return
