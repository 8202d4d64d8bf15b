"""Branches that run at different rates cannot meet again: refused before onnxruntime fails on their shapes."""

from __future__ import annotations

import onnx_ir as ir

from ssmc.ir.build import is_op, node_name
from ssmc.ir.rates import Clock, Group
from ssmc.ir.read_program import different_rates
from ssmc.ir.strides import group_of

MEETS = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Concat", "Where")
#: behind these, time has ended, or a convolution's own padding is not known
UNKNOWN = (
    *("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "Gather", "GlobalAveragePool", "GlobalMaxPool", "Shape"),
    "Pad",
)
SAME = Group(1, 0, rest=False)


def refuse_mixed_rates(model: ir.Model) -> None:
    """Follow strides through the graph.

    Raises:
        ModelError: SSMC-R02 where two values of different rates are combined.
    """
    clocks: dict[ir.Value, Clock] = {model.graph.inputs[0]: ()}
    for node in model.graph:
        seen = {clocks[value] for value in node.inputs if value is not None and value in clocks}
        if len(seen) > 1 and is_op(node, *MEETS):
            raise different_rates(node_name(node))
        if len(seen) == 1 and not is_op(node, *UNKNOWN):
            group = group_of(node)
            clocks |= dict.fromkeys(node.outputs, (*seen.pop(), *([] if group == SAME else [group])))
