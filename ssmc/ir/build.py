"""Small builders for `onnx_ir` graphs, shared by the passes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import ArrayLike, NDArray

from ssmc.errors import ModelError
from ssmc.ir.functions import DOMAIN, input_names, operation_of

Array = NDArray[np.generic]
REAL_TYPES = (ir.DataType.FLOAT, ir.DataType.DOUBLE)
WHOLE_TYPES = (ir.DataType.INT64, ir.DataType.INT32)
ENDLESS = (1 << 31) - 1  # what exporters write for a slice to the end or a loop without limit, or a larger number


def required(node: ir.Node, index: int) -> ir.Value:
    """Input ``index`` of a node whose operator has no meaning without it; negative indices count from the end.

    Raises:
        ModelError: SSMC-M10 where the node leaves the input out.
    """
    value = node.inputs[index] if -len(node.inputs) <= index < len(node.inputs) else None
    if value is None:
        position = index if index >= 0 else len(node.inputs) + index
        fact = f"{node.op_type} has no input {position}, and its operator requires one"
        raise ModelError("SSMC-M10", fact, "connect the input and export the model again", node_name(node))
    return value


def known_shape(value: ir.Value) -> ir.Shape:
    """The shape of a value, symbolic axes included.

    Raises:
        ModelError: SSMC-M11 where the model does not say it.
    """
    if value.shape is None:
        raise ModelError("SSMC-M11", "its shape is not known", "export the model with shapes", str(value.name))
    return value.shape


def graph_of(node: ir.Node) -> ir.Graph:
    """The graph in which a node stands.

    Raises:
        ValueError: the node was removed from its graph, or its graph is a function's body: a bug of ours.
    """
    if not isinstance(node.graph, ir.Graph):
        raise ValueError(f"{node_name(node)} stands in no graph")
    return node.graph


def constant_array(value: ir.Value | None) -> Array | None:
    """The array of an initializer or of a Constant node; None where the value is not constant."""
    if value is None or value.const_value is None:
        return None
    return np.asarray(value.const_value.numpy())


def add_constant(graph: ir.Graph, name: str, array: ArrayLike, dtype: type[np.generic] = np.float64) -> ir.Value:
    """Register an initializer under a fresh name that starts with ``name``."""
    data = np.array(array, dtype=dtype, order="C")
    unique, count = name, 1
    while unique in graph.initializers:
        unique, count = f"{name}.{count}", count + 1
    value = ir.val(unique, const_value=ir.Tensor(data, name=unique))
    graph.register_initializer(value)
    return value


def constant_dtype(op_type: str, key: str) -> type[np.generic]:
    """What a constant input of an operation on codes is stored as."""
    return np.int64 if key in operation_of(op_type).integer_constants else np.float64


def ssmc_node(
    op_type: str,
    inputs: dict[str, ir.Value],
    output: str,
    *,
    name: str = "",
    dtype: ir.DataType = ir.DataType.DOUBLE,
    extra_outputs: Sequence[str] = (),
) -> ir.Node:
    """A node of the ``ssmc`` domain; inputs by the names that its definition gives them."""
    ordered = [inputs[key] for key in input_names(op_type)]
    outputs = [
        ir.val(text, dtype=kind) for text, kind in [(output, dtype), *((e, ir.DataType.DOUBLE) for e in extra_outputs)]
    ]
    return ir.node(op_type, ordered, domain=DOMAIN, outputs=outputs, name=name or output)


def carried(scan: ir.Node) -> int:
    """How many states a Scan has."""
    return len(scan.inputs) - scan.attributes["num_scan_inputs"].as_int()


def is_op(node: ir.Node | None, *op_types: str, domain: str = "") -> bool:
    """Whether a node is one of the op types of a domain."""
    return node is not None and node.op_type in op_types and node.domain in {domain, "ai.onnx"} | {domain}


def replace_value(graph: ir.Graph, old: ir.Value, new: ir.Value) -> None:
    """Redirect every use of ``old``, graph outputs included, keeping an output's name."""
    for index, output in enumerate(graph.outputs):
        if output is old:
            new.name, old.name = old.name, f"{old.name}.replaced"
            graph.outputs[index] = new
    old.replace_all_uses_with(new)


def replace_node(graph: ir.Graph, node: ir.Node, new: ir.Node) -> None:
    """Put a node of one output in the place of another: name and shape stay, the type where it has none."""
    old, out, name = node.outputs[0], new.outputs[0], str(node.outputs[0].name)
    out.shape, out.type = old.shape, out.type or old.type
    graph.insert_before(node, new)
    replace_value(graph, old, out)
    graph.remove(node, safe=True)
    old.name, out.name = f"{name}.replaced", name


def remove_dead(graph: ir.Graph) -> None:
    """Drop nodes nobody reads and initializers nobody uses (in this graph and its subgraphs)."""
    changed = True
    while changed:
        changed = False
        for node in reversed(list(graph)):
            if all(not out.uses() and not out.is_graph_output() for out in node.outputs):
                graph.remove(node, safe=True)
                changed = True
    for name in [
        name for name, value in graph.initializers.items() if not value.uses() and not value.is_graph_output()
    ]:
        del graph.initializers[name]


def remove_dead_after(graph: ir.Graph, node: ir.Node) -> None:
    """Drop a node and what follows it where nobody reads them, then what nobody else reads in front of them."""
    after = {node: None}
    for found in (queue := [node]):
        readers = {use.node for out in found.outputs for use in out.uses() if use.node.graph is graph} - after.keys()
        after |= dict.fromkeys(readers)
        queue += readers
    waiting = list(after)
    while waiting:
        last = waiting.pop()
        if last.graph is graph and all(not out.uses() and not out.is_graph_output() for out in last.outputs):
            before = [value.producer() for value in last.inputs if value is not None]
            graph.remove(last, safe=True)
            waiting += [producer for producer in before if producer is not None]


def graphs(graph: ir.Graph) -> Iterable[ir.Graph]:
    """The graph and, depth first, every subgraph of its nodes."""
    yield graph
    for node in graph:
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                yield from graphs(attribute.as_graph())


def node_name(node: ir.Node) -> str:
    """The name an error shows: the node's own, else that of its first output."""
    return node.name or node.outputs[0].name or node.op_type
