"""One-hot rows as what they look up: ``OneHot(ids) W`` is row ``ids`` of W."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ssmc.ir.build import add_constant, constant_array, is_op, node_name, replace_node, required

FLOAT = ir.DataType.FLOAT.value


def one_hot_to_gather(graph: ir.Graph) -> bool:
    """Rewrite every OneHot of the graph whose depth and values are constants; whether there was one.

    Ids outside of the depth give no one-hot row, and are refused as those of an embedding are.
    """
    nodes = [node for node in graph if is_op(node, "OneHot") and _is_last(node)]
    return any([_rewrite(graph, node) for node in nodes])


def _is_last(node: ir.Node) -> bool:
    """Whether the rows lie along the last axis."""
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else -1
    ids = required(node, 0)
    return axis == -1 or (ids.shape is not None and axis == len(ids.shape))


def _rewrite(graph: ir.Graph, node: ir.Node) -> bool:
    depth, values = constant_array(node.inputs[1]), constant_array(node.inputs[2])
    ids = required(node, 0)
    if depth is None or depth.size != 1 or values is None or ids.dtype not in (ir.DataType.INT32, ir.DataType.INT64):
        return False
    off, on = values.tolist()
    rows = _as_float(node.outputs[0])
    readers = [use.node for use in rows.uses() if is_op(use.node, "MatMul") and use.idx == 0]
    if (off, on) == (0, 1) and len(readers) == len(rows.uses()) > 0:
        for reader in readers:
            replace_node(graph, reader, ir.node("Gather", [required(reader, 1), ids], name=node_name(reader)))
        return True
    table = np.where(np.eye(int(depth.ravel()[0]), dtype=bool), on, off)
    maker = rows.producer()
    dtype = values.dtype.type if maker is node else np.float32
    matrix = add_constant(graph, f"{node_name(node)}.rows", table, dtype)
    replace_node(graph, maker or node, ir.node("Gather", [matrix, ids], name=node_name(node)))
    return True


def _as_float(rows: ir.Value) -> ir.Value:
    """The rows as float32, where nothing reads them as integers."""
    readers = [use.node for use in rows.uses()]
    cast = len(readers) == 1 and is_op(readers[0], "Cast") and readers[0].attributes["to"].as_int() == FLOAT
    return readers[0].outputs[0] if cast else rows
