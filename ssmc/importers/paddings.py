"""Zeros in front of a convolution, however they are spelled: as a Pad, or as the convolution's own ``pads``.

``auto_pad`` becomes the numbers that it means; a Concat of zeros and a signal becomes a Pad.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ssmc.errors import ModelError
from ssmc.ir.build import add_constant, constant_array, is_op, node_name, remove_dead, required


def spell_paddings(model: ir.Model) -> None:
    """Write paddings out, in place.

    Raises:
        ModelError: SSMC-T01 a convolution whose padding depends on the length of the sequence.
    """
    for node in list(model.graph):
        if is_op(node, "Conv") and "auto_pad" in node.attributes:
            _spell_automatic(node)
        if is_op(node, "Concat") and len(node.inputs) == 2:
            _pad_in_front(model.graph, node)
    remove_dead(model.graph)  # what zeros took their shape from


def _spell_automatic(node: ir.Node) -> None:
    """SAME keeps the number of steps: what is odd goes behind (UPPER) or in front (LOWER)."""
    kind = node.attributes.pop("auto_pad").as_string()
    if kind == "NOTSET":
        return
    weight = required(node, 1).shape
    kernel = [] if weight is None else [int(d) for d in weight.dims[2:] if isinstance(d, int)]
    pads = [0] * (2 * len(kernel))
    if kind != "VALID":
        strides, dilations = (
            list(node.attributes[key].as_ints()) if key in node.attributes else [1] * len(kernel)
            for key in ("strides", "dilations")
        )
        if any(stride != 1 for stride in strides):
            remedy = "give pads as numbers: (K - 1) dilation steps before, none behind"
            raise ModelError(
                "SSMC-T01", "auto_pad with a stride pads by the sequence's length", remedy, node_name(node)
            )
        every = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
        less, more = [total // 2 for total in every], [total - total // 2 for total in every]
        pads = less + more if kind == "SAME_UPPER" else more + less
    node.attributes["pads"] = ir.AttrInt64s("pads", pads)


def _pad_in_front(graph: ir.Graph, node: ir.Node) -> None:
    """Zeros of a fixed length, joined in front of another value, as a Pad."""
    zeros, signal = node.inputs
    axis, shape = node.attributes["axis"].as_int(), None if zeros is None else zeros.shape
    if zeros is None or signal is None or shape is None or not _is_zero(zeros):
        return
    axis %= len(shape)
    length = _length(zeros, axis)
    if length is None:
        return
    pads = np.zeros(2 * len(shape), np.int64)
    pads[axis] = length
    name = node_name(node)
    node.replace_input_with(0, signal)
    made = ir.node("Pad", [signal, add_constant(graph, f"{name}.pads", pads, np.int64)], name=name)
    new, old = made.outputs[0], node.outputs[0]
    new.type, new.shape = old.type, old.shape
    graph.insert_before(node, made)
    text = str(old.name)
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    new.name = text


def _length(value: ir.Value | None, axis: int) -> int | None:
    """The fixed length of an axis: declared, or that of the first steps from whose shape the value is made."""
    if value is None or value.shape is None:
        return None
    length, node = value.shape.dims[axis], value.producer()
    if isinstance(length, int) or node is None:
        return length if isinstance(length, int) else None
    if is_op(node, "ConstantOfShape", "Expand"):
        shape = required(node, len(node.inputs) - 1).producer()
        return _length(shape.inputs[0], axis) if shape is not None and is_op(shape, "Shape") else None
    start, stop, axes, step = ([*map(constant_array, node.inputs[1:]), None, None, None, None])[:4]
    if not is_op(node, "Slice") or axes is None or axes.ravel().tolist() not in ([axis], [axis - len(value.shape)]):
        return None
    first = start is not None and not start.any() and (step is None or (step == 1).all())
    return int(stop.ravel()[0]) if first and stop is not None and stop.ravel()[0] > 0 else None


def _is_zero(value: ir.Value) -> bool:
    """Constant zeros of any batch: a constant, or ConstantOfShape or Expand of zero."""
    array = constant_array(value)
    if array is not None:
        return array.dtype.kind == "f" and not array.any()
    node = value.producer()
    if node is not None and is_op(node, "ConstantOfShape"):
        given = node.attributes.get("value")
        return given is None or not given.as_tensor().numpy().any()
    return node is not None and is_op(node, "Expand") and _is_zero(required(node, 0))
