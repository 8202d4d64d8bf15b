"""LayerNorm and RMSNorm that an exporter wrote out as means and roots become one node each.

    d = x - mean(x),   y = d / sqrt(mean(d^2) + eps)       (RMSNorm: d = x)

over the last axis, the root as Sqrt with Div, Sqrt with Reciprocal, or Pow with -0.5; gain and bias stay behind it.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ssmc.ir.build import (
    add_constant,
    constant_array,
    graphs,
    is_op,
    known_shape,
    node_name,
    remove_dead,
    replace_node,
)

RMS_OPSET = 23
QUANTIZERS = ("QuantizeLinear", "DequantizeLinear", "Round", "Quant")


def fuse_norms(model: ir.Model) -> bool:
    """Rewrite every written-out norm of the main graph; whether there was one.

    In a quantized model an RMS norm stays as it is written: it is read between its quantizers.
    """
    quantized = any(node.op_type in QUANTIZERS for graph in graphs(model.graph) for node in graph)
    found = False
    for node in list(model.graph):
        norm = _norm(node)
        if norm is None or (quantized and not norm[2]):
            continue
        x, epsilon, centred = norm
        _replace(model, node, x, epsilon, centred)
        found = True
    if found:
        remove_dead(model.graph)
    return found


def _norm(node: ir.Node) -> tuple[ir.Value, float, bool] | None:
    """What a node divides by its root mean square, epsilon, and whether the mean was taken off."""
    if is_op(node, "Div"):
        d, root = node.inputs
        inner = _behind(root, "Sqrt")
        return None if d is None else _divided(d, inner)
    if is_op(node, "Mul"):
        for d, factor in (node.inputs, reversed(node.inputs)):
            inner = _behind(_behind(factor, "Reciprocal"), "Sqrt") or _power(factor, -0.5)
            if d is not None and (found := _divided(d, inner)) is not None:
                return found
    return None


def _divided(d: ir.Value, inner: ir.Value | None) -> tuple[ir.Value, float, bool] | None:
    """``inner`` as mean(d^2) + epsilon."""
    node = inner.producer() if inner is not None else None
    if node is None or not is_op(node, "Add"):
        return None
    for square, constant in (node.inputs, reversed(node.inputs)):
        epsilon, squared = constant_array(constant), _mean_of(square)
        if epsilon is None or epsilon.size != 1 or squared is None or not _is_square(squared, d):
            continue
        centred = d.producer()
        if centred is not None and is_op(centred, "Sub") and _mean_of(centred.inputs[1]) is centred.inputs[0]:
            x = centred.inputs[0]
            return None if x is None else (x, float(epsilon.ravel()[0]), True)
        return d, float(epsilon.ravel()[0]), False
    return None


def _mean_of(value: ir.Value | None) -> ir.Value | None:
    """What a value is the mean of, over the last axis, which it keeps."""
    node = value.producer() if value is not None else None
    if node is None or not is_op(node, "ReduceMean") or node.inputs[0] is None or node.inputs[0].shape is None:
        return None
    axes = constant_array(node.inputs[1]) if len(node.inputs) > 1 else None
    keeps = "keepdims" not in node.attributes or node.attributes["keepdims"].as_int() == 1
    last = len(node.inputs[0].shape) - 1
    return node.inputs[0] if keeps and axes is not None and axes.ravel().tolist() in ([-1], [last]) else None


def _is_square(value: ir.Value, d: ir.Value) -> bool:
    node = value.producer()
    if node is not None and is_op(node, "Mul"):
        return node.inputs[0] is d and node.inputs[1] is d
    return _power(value, 2.0) is d


def _power(value: ir.Value | None, exponent: float) -> ir.Value | None:
    node = value.producer() if value is not None else None
    given = constant_array(node.inputs[1]) if node is not None and is_op(node, "Pow") else None
    same = given is not None and given.size == 1 and float(given.ravel()[0]) == exponent
    return node.inputs[0] if node is not None and same else None


def _behind(value: ir.Value | None, op_type: str) -> ir.Value | None:
    node = value.producer() if value is not None else None
    return node.inputs[0] if node is not None and is_op(node, op_type) else None


def _replace(model: ir.Model, node: ir.Node, x: ir.Value, epsilon: float, centred: bool) -> None:
    size, name = known_shape(x)[-1], node_name(node)
    gain = add_constant(model.graph, f"{name}.gain", np.ones(size if isinstance(size, int) else 1), np.float32)
    kind = "LayerNormalization" if centred else "RMSNormalization"
    new = ir.node(kind, [x, gain], {"axis": -1, "epsilon": epsilon}, name=name)
    replace_node(model.graph, node, new)
    if not centred:
        for graph in graphs(model.graph):
            graph.opset_imports[""] = max(graph.opset_imports.get("", RMS_OPSET), RMS_OPSET)
