"""A convolution padded behind, whose tail is cut behind activations: the cut moves to the convolution.

``act(conv(x))[:, :, :T]`` is ``act(conv(x)[:, :, :T])`` where act goes step by step; Mamba2Simple writes the first.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from ssmc.ir.build import add_constant, constant_array, is_op, replace_value, required

MOST_BETWEEN = 32  # operations
STEPWISE = (
    *("Abs", "Add", "Cast", "Clip", "DequantizeLinear", "Div", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish"),
    *("Identity", "LeakyRelu", "Max", "Min", "Mish", "Mul", "Neg", "Pow", "QuantizeLinear", "Relu", "Round", "Sigmoid"),
    *("Softplus", "Sub", "Swish", "Tanh"),
)


@dataclass
class Between:
    """What lies between a convolution and a cut: its nodes, and the axis of time of every value, the convolution's too.

    ``source``: the convolution's output.
    """

    nodes: set[ir.Node] = field(default_factory=set)
    axes: dict[ir.Value, int] = field(default_factory=dict)
    source: ir.Value | None = None

    def reaches(self, value: ir.Value, axis: int) -> bool:
        """Walk back to the one convolution; whether all on the way there goes step by step."""
        if value in self.axes:
            return self.axes[value] == axis
        node = value.producer()
        if node is None or value.shape is None or len(self.nodes) == MOST_BETWEEN:
            return False
        self.axes[value] = axis
        if is_op(node, "Conv"):
            self.source = self.source or value
            return value is self.source and axis == len(value.shape) - 1
        self.nodes.add(node)
        if is_op(node, "Transpose") and "perm" in node.attributes:
            return self.reaches(required(node, 0), node.attributes["perm"].as_ints()[axis])
        given = [x for x in node.inputs if x is not None and constant_array(x) is None]
        alike = all(x.shape is not None and len(x.shape) == len(value.shape) for x in given)
        return is_op(node, *STEPWISE) and alike and all(self.reaches(x, axis) for x in given)

    def leads_only_to(self, cut: ir.Node) -> bool:
        """Whether nothing else reads a value."""
        readers = {use.node for value in self.axes for use in value.uses()}
        return readers <= {*self.nodes, cut} and not any(value.is_graph_output() for value in self.axes)


def cut_at_convolutions(graph: ir.Graph) -> bool:
    """Move such cuts, in place; whether there were any."""
    moved = [_moved(graph, node) for node in list(graph) if is_op(node, "Slice")]
    if any(moved):
        graph.sort()
    return any(moved)


def _moved(graph: ir.Graph, cut: ir.Node) -> bool:
    axis, found, result = _axis(cut), Between(), cut.outputs[0]
    if axis is None or result.shape is None or not found.reaches(required(cut, 0), axis):
        return False
    source = found.source
    if source is None or not found.leads_only_to(cut) or all(is_op(node, "Transpose") for node in found.nodes):
        return False
    steps = result.shape[axis]
    for value, time in found.axes.items():
        if value is not source and value.shape is not None:
            value.shape = ir.Shape([*value.shape[:time], steps, *value.shape[time + 1 :]])
    shape = ir.Shape([*source.shape[:-1], steps]) if source.shape is not None else None
    shorter = ir.val(f"{source.name}.cut", dtype=source.dtype, shape=shape)
    readers = list(source.uses())
    at = add_constant(graph, f"{source.name}.cut.axis", [found.axes[source]], np.int64)
    moved = ir.node("Slice", [source, *cut.inputs[1:3], at, *cut.inputs[4:]], outputs=[shorter], name=f"{cut.name}.cut")
    graph.insert_before(cut, moved)
    for use in readers:
        use.node.replace_input_with(use.idx, shorter)
    replace_value(graph, result, required(cut, 0))
    graph.remove(cut, safe=True)
    return True


def _axis(cut: ir.Node) -> int | None:
    """The one axis of a slice that keeps what comes first."""
    start, axes, step = (
        constant_array(x) for x in (*cut.inputs[1:2], *cut.inputs[3:4], *cut.inputs[4:5], None, None)[:3]
    )
    value = cut.inputs[0]
    if start is None or axes is None or axes.size != 1 or start.any() or value is None or value.shape is None:
        return None
    return int(axes[0]) % len(value.shape) if step is None or (step == 1).all() else None
