"""One-hot rows as what they look up: ``OneHot(ids) W`` is row ``ids`` of W.

torch's newer exporter writes ``ids[..., None] == arange(n)`` in place of OneHot.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from ssmc.ir.build import WHOLE_TYPES, add_constant, constant_array, is_op, node_name, replace_node, required

FLOAT = ir.DataType.FLOAT.value


class _Rows(NamedTuple):
    """One-hot rows: of which ids, how many columns, the numbers beside and at the id, and their type."""

    ids: ir.Value
    depth: int
    off: float
    on: float
    dtype: type[np.generic]


def one_hot_to_gather(graph: ir.Graph) -> bool:
    """Rewrite every one-hot row of the graph whose depth and values are constants; whether there was one.

    Ids outside of the depth give no one-hot row, and are refused as those of an embedding are.
    """
    found = [(node, rows) for node in list(graph) if (rows := _one_hot(node) or _compared(node)) is not None]
    return any([_rewrite(graph, node, rows) for node, rows in found])


def _one_hot(node: ir.Node) -> _Rows | None:
    """OneHot along the last axis."""
    if not is_op(node, "OneHot"):
        return None
    depth, values, ids = constant_array(node.inputs[1]), constant_array(node.inputs[2]), required(node, 0)
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else -1
    last = axis == -1 or (ids.shape is not None and axis == len(ids.shape))
    if not last or depth is None or depth.size != 1 or values is None or ids.dtype not in WHOLE_TYPES:
        return None
    off, on = values.tolist()
    return _Rows(ids, int(depth.ravel()[0]), off, on, values.dtype.type)


def _compared(node: ir.Node) -> _Rows | None:
    """Ids with a last axis of length 1, compared with 0, 1, 2, ..."""
    for column, numbers in (node.inputs, reversed(node.inputs)) if is_op(node, "Equal") else ():
        maker, counted = None if column is None else column.producer(), constant_array(numbers)
        if maker is None or not is_op(maker, "Unsqueeze") or counted is None or counted.size < 2:
            continue
        ids, axes = required(maker, 0), constant_array(maker.inputs[1])
        last = [-1] if ids.shape is None else [-1, len(ids.shape)]
        same = np.array_equal(counted.ravel(), np.arange(counted.size)) and counted.shape[-1] == counted.size
        narrow = ids.shape is not None and counted.ndim <= len(ids.shape) + 1
        if axes is not None and axes.size == 1 and int(axes.ravel()[0]) in last and same and narrow:
            return _Rows(ids, counted.size, 0, 1, np.bool_) if ids.dtype in WHOLE_TYPES else None
    return None


def _rewrite(graph: ir.Graph, node: ir.Node, found: _Rows) -> bool:
    rows = _as_float(node.outputs[0])
    maker = rows.producer()
    if found.dtype is np.bool_ and rows.dtype != ir.DataType.FLOAT:
        return False
    readers = [use.node for use in rows.uses() if is_op(use.node, "MatMul") and use.idx == 0]
    if (found.off, found.on) == (0, 1) and len(readers) == len(rows.uses()) > 0:
        for reader in readers:
            replace_node(graph, reader, ir.node("Gather", [required(reader, 1), found.ids], name=node_name(reader)))
        return True
    table = np.where(np.eye(found.depth, dtype=bool), found.on, found.off)
    dtype = found.dtype if maker is node else np.float32
    matrix = add_constant(graph, f"{node_name(node)}.rows", table, dtype)
    replace_node(graph, maker or node, ir.node("Gather", [matrix, found.ids], name=node_name(node)))
    return True


def _as_float(rows: ir.Value) -> ir.Value:
    """The rows as float32, where nothing reads them as integers."""
    readers = [use.node for use in rows.uses()]
    node = readers[0] if len(readers) == 1 else None
    if node is None or not is_op(node, "Cast"):
        return rows
    if node.attributes["to"].as_int() == FLOAT:
        return node.outputs[0]
    if node.outputs[0].dtype not in WHOLE_TYPES or rows.dtype not in (ir.DataType.BOOL, *WHOLE_TYPES):
        return rows
    behind = _as_float(node.outputs[0])
    return rows if behind is node.outputs[0] else behind
