"""A norm of every head by itself becomes norms of channels, one a head.

    norm(reshape(x, heads, d))  =  reshape(join(norm(x_1) .. norm(x_heads)))            x parted into x_1 .. x_heads

Mamba 2 and RetNet norm so, and so does a GroupNorm of steps that stand in the batch.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ssmc.importers.einsum import heads_of
from ssmc.ir.build import add_constant, constant_array, is_op, node_name, replace_node

MOST_HEADS = 64
NORMS = ("LayerNormalization", "RMSNormalization")


def part_norms_of_heads(graph: ir.Graph) -> bool:
    """Rewrite such norms, in place; whether there were any."""
    return any([_of_heads(graph, node) or _of_groups(graph, node) for node in list(graph)])


def _of_heads(graph: ir.Graph, node: ir.Node) -> bool:
    """A norm over the last axis behind a Reshape of (.., heads d) to (.., heads, d)."""
    x = node.inputs[0] if is_op(node, *NORMS) else None
    heads, reshape = heads_of(x), None if x is None else x.producer()
    whole = None if reshape is None else reshape.inputs[0]
    if not 1 < heads <= MOST_HEADS or x is None or reshape is None or whole is None:
        return False
    if whole.shape is None or x.shape is None:
        return False
    rank, size, axis = len(x.shape), x.shape[-1], node.attributes.get("axis")
    last = axis is None or axis.as_int() in (-1, rank - 1)
    if not last or not isinstance(size, int) or not _parts_channels(whole.shape, reshape, [*x.shape[:-2], heads, size]):
        return False
    weights = [constant_array(value) for value in node.inputs[1:] if value is not None]
    if any(array is None or array.shape != (size,) for array in weights):
        return False
    if any(out.uses() or out.is_graph_output() for out in node.outputs[1:]):  # the mean of every head, say
        return False
    given = [value for value in node.inputs[1:] if value is not None]
    name = node_name(node)
    shape = ir.Shape([*x.shape[:-2], heads * size])
    joined = _joined(graph, node, (whole, shape), [(node.op_type, given)] * heads, _options(node))
    to = add_constant(graph, f"{name}.shape", [0] * (rank - 2) + [heads, size], np.int64)
    replace_node(graph, node, ir.node("Reshape", [joined, to], name=name))
    return True


def _of_groups(graph: ir.Graph, node: ir.Node) -> bool:
    """A GroupNorm of (steps, channels): of channels alone."""
    x = node.inputs[0] if is_op(node, "GroupNormalization") else None
    if x is None or x.shape is None or len(x.shape) != 2:
        return False
    groups, size = node.attributes["num_groups"].as_int(), x.shape[1]
    given = [constant_array(value) for value in node.inputs[1:]]
    if not isinstance(size, int) or not 0 < groups <= MOST_HEADS or size % groups or size == groups:
        return False
    if any(array is None or array.size != size for array in given):
        return False
    name = node_name(node)
    parts = []
    for group in range(groups):
        rows = [array.ravel()[group * size // groups :][: size // groups] for array in given if array is not None]
        parts.append(("LayerNormalization", [add_constant(graph, f"{name}.{group}", row, np.float32) for row in rows]))
    joined = _joined(graph, node, (x, x.shape), parts, _options(node))
    replace_node(graph, node, ir.node("Identity", [joined], name=name))
    return True


def _parts_channels(shape: ir.Shape, reshape: ir.Node, parted: list[int | ir.SymbolicDim]) -> bool:
    """Whether a Reshape parts the last axis in heads of several channels, and leaves the others as they are."""
    heads, size = parted[-2:]
    if not isinstance(heads, int) or not isinstance(size, int) or size < 2 or len(shape) != len(parted) - 1:
        return False
    if shape[-1] == heads * size:
        both = zip(shape[:-1], parted[:-2], strict=True)
        return all(a == b for a, b in both if isinstance(a, int) and isinstance(b, int))
    to = constant_array(reshape.inputs[1])  # where sizes in front of it are not inferred
    return to is not None and to.tolist() == [*[0] * (len(parted) - 2), heads, size]


def _options(node: ir.Node) -> dict[str, float | int]:
    epsilon = node.attributes.get("epsilon")
    return {"axis": -1, **({} if epsilon is None else {"epsilon": epsilon.as_float()})}


def _joined(
    graph: ir.Graph,
    node: ir.Node,
    given: tuple[ir.Value, ir.Shape],
    norms: list[tuple[str, list[ir.Value]]],
    options: dict[str, float | int],
) -> ir.Value:
    """The norms of equal parts of a value of a shape, side by side, in front of ``node``."""
    name, (whole, shape) = node_name(node), given
    each = int(shape[-1]) // len(norms)  # type: ignore[arg-type]

    def made(called: str, size: int) -> ir.Value:
        return ir.val(f"{name}.{called}", dtype=ir.DataType.FLOAT, shape=ir.Shape([*shape[:-1], size]))

    parts = [made(f"part{number}", each) for number in range(len(norms))]
    sizes = add_constant(graph, f"{name}.sizes", [each] * len(norms), np.int64)
    nodes = [ir.node("Split", [whole, sizes], {"axis": len(shape) - 1}, outputs=parts, name=f"{name}.parts")]
    for number, (part, (kind, weights)) in enumerate(zip(parts, norms, strict=True)):
        outputs = [made(f"head{number}", each)]
        nodes.append(ir.node(kind, [part, *weights], options, outputs=outputs, name=f"{name}.head{number}"))
    heads = [one.outputs[0] for one in nodes[1:]]
    joined = made("joined", each * len(norms))
    nodes.append(ir.node("Concat", heads, {"axis": len(shape) - 1}, outputs=[joined], name=f"{name}.joined"))
    for one in nodes:
        graph.insert_before(node, one)
    return joined
