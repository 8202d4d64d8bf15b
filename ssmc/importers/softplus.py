"""Softplus as torch writes it, which takes over the value itself where that is large.

    where(v > t, v / b, softplus(v) / b)       is softplus(v) / b, but for less than exp(-t) / b

onnxruntime compares what is rewritten with the file.
"""

from __future__ import annotations

import onnx_ir as ir

from ssmc.ir.build import constant_array, is_op, node_name, replace_node

LEAST = 15.0  # torch's threshold is 20


def plain_softplus(model: ir.Model) -> bool:
    """Rewrite the main graph; whether there was one."""
    found = False
    for node in list(model.graph):
        smooth = _smooth(node) if is_op(node, "Where") else None
        if smooth is not None:
            replace_node(model.graph, node, ir.node("Identity", [smooth], name=node_name(node)))
            found = True
    return found


def _smooth(node: ir.Node) -> ir.Value | None:
    """The branch of a choice that is Softplus, where the other is what it tends to."""
    condition, large, smooth = node.inputs
    compared = condition.producer() if condition is not None else None
    if compared is None or large is None or smooth is None or not is_op(compared, "Greater"):
        return None
    v, threshold = compared.inputs[0], _number(compared.inputs[1])
    if threshold is None or threshold < LEAST:
        return None
    made, given = smooth.producer(), v.producer() if v is not None else None
    if made is not None and is_op(made, "Softplus") and made.inputs[0] is v and large is v:
        return smooth
    if made is None or given is None or not is_op(made, "Div") or not is_op(given, "Mul"):
        return None
    inner, b = made.inputs[0].producer() if made.inputs[0] is not None else None, _number(made.inputs[1])
    factors = [_number(x) for x in given.inputs if x is not large]
    same = inner is not None and is_op(inner, "Softplus") and inner.inputs[0] is v and large in given.inputs
    return smooth if same and b is not None and b > 0 and factors == [b] else None


def _number(value: ir.Value | None) -> float | None:
    array = constant_array(value)
    return float(array.item()) if array is not None and array.size == 1 else None
