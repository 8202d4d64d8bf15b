"""LayerNorm and RMSNorm that an exporter wrote out as means and roots become one node each.

    d = x - mean(x),   y = d / sqrt(mean(d^2) + eps)       (RMSNorm: d = x)

over the last axis, the root as Sqrt with Div, Sqrt with Reciprocal, or Pow with -0.5; gain and bias stay behind it,
and a gain in front, ``(g d) / sqrt(..)``, becomes the norm's own. A vector of C numbers over its length is an RMSNorm:

    x / max(|x|, e)  =  C^(-1/2) x / sqrt(mean(x^2) + e^2 / C)          but where |x| is near e, which is tiny
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from ssmc.ir.build import (
    Array,
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
SHORTEST = 1e-6  # a limit of lengths that stands against 0 / 0 and no more
QUANTIZERS = ("QuantizeLinear", "DequantizeLinear", "Round", "Quant")


def fuse_norms(model: ir.Model) -> bool:
    """Rewrite every written-out norm of the main graph; whether there was one.

    In a quantized model an RMS norm stays as it is written: it is read between its quantizers.
    """
    quantized = any(node.op_type in QUANTIZERS for graph in graphs(model.graph) for node in graph)
    found = False
    for node in list(model.graph):
        norm = _norm(node)
        if norm is None or (quantized and not norm.centred):
            continue
        _replace(model, node, norm)
        found = True
    if found:
        remove_dead(model.graph)
    return found


class _Norm(NamedTuple):
    """What is normalized, epsilon, whether the mean is taken off, and the gain in front of the root."""

    x: ir.Value
    epsilon: float
    centred: bool
    gain: Array | None = None


def _norm(node: ir.Node) -> _Norm | None:
    """What a node divides by its root mean square."""
    if is_op(node, "Div"):
        root = _behind(node.inputs[1], "Sqrt")
        return _over_length(*node.inputs) if root is None else _scaled(node.inputs[0], root)
    if is_op(node, "Mul"):
        for d, factor in (node.inputs, reversed(node.inputs)):
            inner = _behind(_behind(factor, "Reciprocal"), "Sqrt") or _power(factor, -0.5)
            if (found := _scaled(d, inner)) is not None:
                return found
    return None


def _over_length(x: ir.Value | None, length: ir.Value | None) -> _Norm | None:
    """``x`` over its own length, with the limit that keeps it from 0; the length may be repeated for every entry."""
    limited = _behind(length, "Expand") or length
    maker = limited.producer() if limited is not None else None
    shortest: Array | None = np.zeros(())
    inner = limited
    if maker is not None and is_op(maker, "Clip", "Max") and maker.inputs[2:] in ((), (None,)):
        shortest, inner = constant_array(maker.inputs[1]), maker.inputs[0]
    if x is None or shortest is None or shortest.size != 1 or not 0 <= (least := shortest.item()) <= SHORTEST:
        return None
    size = x.shape[-1] if x.shape else None
    if _reduced(inner, "ReduceL2") is not x or not isinstance(size, int):
        return None
    return _Norm(x, least**2 / size, False, np.full(size, size**-0.5))


def _scaled(d: ir.Value | None, inner: ir.Value | None) -> _Norm | None:
    """``d`` over the root of ``inner``, or what ``d`` is with a gain for each entry of the last axis."""
    if d is None or inner is None:
        return None
    product = d.producer()
    if (found := _divided(d, inner)) is not None or product is None or not is_op(product, "Mul"):
        return found
    for gain, factor in (product.inputs, reversed(product.inputs)):
        array, size = constant_array(gain), None if d.shape is None else d.shape[-1]
        if array is None or factor is None or array.shape not in ((), (1,), (size,)):
            continue
        if (found := _divided(factor, inner)) is not None:
            return found._replace(gain=array)
    return None


def _divided(d: ir.Value, inner: ir.Value) -> _Norm | None:
    """``inner`` as mean(d^2) + epsilon."""
    node = inner.producer()
    if node is None or not is_op(node, "Add"):
        return None
    for square, constant in (node.inputs, reversed(node.inputs)):
        epsilon, squared = constant_array(constant), _mean_of(square)
        if epsilon is None or epsilon.size != 1 or squared is None or not _is_square(squared, d):
            continue
        centred = d.producer()
        if centred is not None and is_op(centred, "Sub") and _mean_of(centred.inputs[1]) is centred.inputs[0]:
            x = centred.inputs[0]
            return None if x is None else _Norm(x, float(epsilon.ravel()[0]), True)
        return _Norm(d, float(epsilon.ravel()[0]), False)
    return None


def _mean_of(value: ir.Value | None) -> ir.Value | None:
    """What a value is the mean of, over the last axis, which it keeps."""
    return _reduced(value, "ReduceMean")


def _reduced(value: ir.Value | None, op_type: str) -> ir.Value | None:
    """What a value is reduced from, over the last axis, which it keeps."""
    node = value.producer() if value is not None else None
    if node is None or not is_op(node, op_type) or node.inputs[0] is None or node.inputs[0].shape is None:
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


def _replace(model: ir.Model, node: ir.Node, norm: _Norm) -> None:
    size, name = known_shape(norm.x)[-1], node_name(node)
    gains = np.ones(size if isinstance(size, int) else 1)
    gains *= 1.0 if norm.gain is None else norm.gain.astype(np.float64)
    gain = add_constant(model.graph, f"{name}.gain", gains, np.float32)
    kind = "LayerNormalization" if norm.centred else "RMSNormalization"
    new = ir.node(kind, [norm.x, gain], {"axis": -1, "epsilon": norm.epsilon}, name=name)
    replace_node(model.graph, node, new)
    if not norm.centred:
        for graph in graphs(model.graph):
            graph.opset_imports[""] = max(graph.opset_imports.get("", RMS_OPSET), RMS_OPSET)
