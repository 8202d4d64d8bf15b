"""Quantizers that a model has already, by onnxruntime's tools or others: kept, and written back in standard ONNX."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ssmc.folding.points import is_quantizer, maker
from ssmc.ir.build import constant_array, is_op, node_name, required
from ssmc.ir.rounding import FloatArray
from ssmc.quantize.nodes import QuantizedNodes


def given_step(value: ir.Value) -> tuple[float, tuple[int, int]] | None:
    """Step and range of the quantizer that made a signal, behind changes of layout; None where channels differ."""
    node = maker(value)
    if node is None or not is_quantizer(node):
        return None
    scale, out, lo, hi = _numbers(node)
    if scale.size != 1 or not np.array_equal(scale.ravel(), out.ravel()):
        return None
    return float(scale.ravel()[0]), (int(lo), int(hi))


def spell_quantizers(graph: ir.Graph) -> None:
    """Every quantizer of the main graph in standard ONNX again."""
    for node in list(graph):
        if is_quantizer(node):
            _replace(graph, node, _quantizer(graph, node))
        elif is_op(node, "Dequant", domain="ssmc"):
            _replace(graph, node, _weight(graph, node))


def _numbers(node: ir.Node) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    arrays = [constant_array(value) for value in node.inputs[1:]]
    scale, out, lo, hi = (np.asarray(array, np.float64) for array in arrays)
    return scale, out, lo, hi


def _quantizer(graph: ir.Graph, node: ir.Node) -> ir.Value:
    nodes, x, name = QuantizedNodes(graph, place=node), required(node, 0), f"{node_name(node)}.given"
    scale, out, lo, hi = _numbers(node)
    limits = int(lo), int(hi)
    if scale.size == out.size == 1:
        return nodes.quantized(x, scale.ravel()[0], out.ravel()[0], limits, name)
    return nodes.clipped(x, scale, out, limits, name)


def _weight(graph: ir.Graph, node: ir.Node) -> ir.Value:
    codes, scale = (np.asarray(constant_array(value)) for value in node.inputs)
    shape = (1,) * (codes.ndim - scale.ndim) + scale.shape
    (axis,) = [a for a, size in enumerate(shape) if size > 1] or [0]
    nodes = QuantizedNodes(graph, place=node)
    return nodes.weight(codes, scale.ravel() if scale.size > 1 else scale.reshape(()), axis, f"{node_name(node)}.given")


def _replace(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    old = node.outputs[0]
    value.shape, value.type = old.shape, old.type
    ends = old.is_graph_output()
    old.replace_all_uses_with(value, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    if ends:
        value.name = old.name
