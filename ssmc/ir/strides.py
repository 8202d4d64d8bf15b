"""How much longer a sequence must be so that a graph with strides over time still gives several steps at its end."""

from __future__ import annotations

from math import prod

import onnx_ir as ir

from ssmc.ir.build import constant_array, is_op
from ssmc.ir.rates import Group

LONGEST_TAIL = 1 << 12


def stride_of(node: ir.Node) -> int:
    """Steps of its input per step of its output, as far as a convolution, pooling or slice says; else 1."""
    if is_op(node, "Conv", "AveragePool") and "strides" in node.attributes:
        return prod(node.attributes["strides"].as_ints())
    if is_op(node, "Slice") and len(node.inputs) > 4:
        steps = constant_array(node.inputs[4])
        return 1 if steps is None else max(prod(steps.ravel().tolist()), 1)
    return 1


def group_of(node: ir.Node) -> Group:
    """How a node that strides groups its steps; a group of one step for every other node."""
    stride, first = stride_of(node), _reach(node)
    if is_op(node, "AveragePool"):
        ceil = "ceil_mode" in node.attributes and node.attributes["ceil_mode"].as_int() == 1
        return Group(stride, stride - 1, rest=ceil)
    if is_op(node, "Slice") and stride > 1:
        start = constant_array(node.inputs[1])
        first = 0 if start is None else int(start.ravel()[0])
    return Group(stride, first, rest=False)


def enough_steps(graph: ir.Graph, steps: int) -> int:
    """Steps of the input from which, behind strides, slices and convolutions without padding, ``steps`` are left."""
    every = prod(map(stride_of, graph))
    return every * (steps + sum(_reach(node) + _tail(node) for node in graph))


def _tail(node: ir.Node) -> int:
    """Last steps that a slice takes or leaves out: a sequence that is shorter does not show that it is one."""
    ends = [constant_array(value) for value in node.inputs[1:3]] if is_op(node, "Slice") else []
    found = [min(max(-int(end.item()), 0), LONGEST_TAIL) for end in ends if end is not None and end.size == 1]
    return max(found, default=0)


def _kernel(node: ir.Node) -> list[int]:
    """Steps of a convolution's weights, whose shape may be known in front of their quantizers only; else []."""
    if "kernel_shape" in node.attributes:
        return list(node.attributes["kernel_shape"].as_ints())
    weight = node.inputs[1]
    while weight is not None and weight.shape is None and (quantizer := weight.producer()) is not None:
        weight = quantizer.inputs[0]
    return [] if weight is None or weight.shape is None else [d for d in weight.shape.dims[2:] if isinstance(d, int)]


def _reach(node: ir.Node) -> int:
    """Steps by which a convolution shortens its input."""
    if not is_op(node, "Conv"):
        return 0
    kernel = _kernel(node)
    dilations = node.attributes["dilations"].as_ints() if "dilations" in node.attributes else [1] * len(kernel)
    pads = sum(node.attributes["pads"].as_ints()) if "pads" in node.attributes else 0
    return max(sum((k - 1) * d for k, d in zip(kernel, dilations, strict=False)) - pads, 0)
