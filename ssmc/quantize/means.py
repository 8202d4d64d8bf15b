"""Exponentially weighted means in standard ONNX: one ``Scan`` with a state a channel that starts at the first step."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ssmc.ir.build import constant_array, is_op, node_name, replace_value, required
from ssmc.ir.rounding import FloatArray
from ssmc.quantize.nodes import QuantizedNodes


def spell_means(graph: ir.Graph) -> None:
    """Every float mean of the main graph as a Scan again."""
    for node in list(graph):
        if is_op(node, "MovingAverage", domain="ssmc"):
            replace_value(graph, node.outputs[0], mean_scan(graph, node, required(node, 0)))


def mean_scan(
    graph: ir.Graph, node: ir.Node, u: ir.Value, step: FloatArray | None = None, limits: tuple[int, int] = (0, 0)
) -> ir.Value:
    """The mean of u (N, T, C) before ``node``: on the grid of ``step`` and ``limits``, which u is on, or in floats."""
    outer, name = QuantizedNodes(graph, place=node), f"{node_name(node)}.mean"
    unit = float(np.asarray(constant_array(node.inputs[1])))
    codes = outer.quantized(u, step, 1.0, limits, f"{name}.codes") if step is not None else u
    turned = outer.op("Transpose", [codes], f"{name}/Transpose", perm=[1, 0, 2])
    first = outer.op("Gather", [turned, outer.const(f"{name}.first", 0, np.int64)], f"{name}.start", axis=0)
    body = _coded_body(graph, unit, limits, name) if step is not None else _float_body(graph, unit, name)
    start = outer.op("Mul", [first, outer.const(f"{name}.unit", unit)], f"{name}.filled") if step is not None else first
    scan = ir.node("Scan", [start, turned], {"body": body, "num_scan_inputs": 1}, num_outputs=2, name=f"{name}/Scan")
    scan.outputs[0].name, scan.outputs[1].name = f"{name}/Scan:0", f"{name}/Scan:1"
    graph.insert_before(node, scan)
    means = outer.op("Transpose", [scan.outputs[1]], f"{name}/Transpose_2", perm=[1, 0, 2])
    return outer.op("Mul", [means, outer.const(f"{name}.step", step)], name) if step is not None else means


def _body(name: str) -> tuple[ir.Graph, ir.Value, ir.Value]:
    state, u = (ir.val(f"{name}.{key}", dtype=ir.DataType.FLOAT) for key in ("state", "input"))
    return ir.Graph([state, u], [], nodes=[], name=f"{name}.body", opset_imports={"": 21}), state, u


def _float_body(main: ir.Graph, unit: float, name: str) -> ir.Graph:
    """``m' = m + (u - m) / unit``."""
    graph, state, u = _body(name)
    b = QuantizedNodes(main, graph)
    apart = b.op("Sub", [u, state], f"{name}.apart")
    share = b.op("Div", [apart, b.const(f"{name}.unit", unit)], f"{name}.share")
    new = b.op("Add", [state, share], f"{name}.new")
    graph.outputs.extend([new, b.op("Identity", [new], f"{name}.given")])
    return graph


def _coded_body(main: ir.Graph, unit: float, limits: tuple[int, int], name: str) -> ir.Graph:
    """``r' = r + u - round(r / unit)`` and ``round(r' / unit)``; nothing clips: the ends say how wide the codes are."""
    graph, state, u = _body(name)
    b, (lo, hi) = QuantizedNodes(main, graph), limits

    def rounded(register: ir.Value, key: str) -> ir.Value:
        real = b.op("Div", [register, b.const(f"{name}.unit", unit)], f"{name}.{key}/Div")
        return b.quantized(real, 1.0, 1.0, limits, f"{name}.{key}")

    moved = b.op("Sub", [u, rounded(state, "held")], f"{name}.moved/Sub")
    moved = b.clipped(moved, 1.0, 1.0, (lo - hi, hi - lo), f"{name}.moved")
    ends = [b.const(f"{name}.register_{key}", unit * end) for key, end in (("lo", lo), ("hi", hi))]
    new = b.op("Clip", [b.op("Add", [state, moved], f"{name}.sum"), *ends], f"{name}.register")
    graph.outputs.extend([new, rounded(new, "given")])
    return graph
