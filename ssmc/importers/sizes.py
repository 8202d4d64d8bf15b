"""How large a model becomes once its functions are written out and its values have their shapes, before it is."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import onnx

from ssmc.budgets import TRIED, Budgets
from ssmc.errors import ModelError
from ssmc.importers.protos import every_graph, subgraphs

Key = tuple[str, str]


def check_nodes(proto: onnx.ModelProto, budgets: Budgets, source: str) -> None:
    """Count the nodes of the graph with every call of a function written out.

    Raises:
        UsageError: SSMC-U07 where there are more than the budget.
        ModelError: SSMC-M03 where functions call each other in a circle.
    """
    bodies = {(function.domain, function.name): function.node for function in proto.functions}
    counted: dict[Key, int] = {}
    stack = [(key, False) for key in bodies]
    open_: set[Key] = set()
    while stack:
        key, finished = stack.pop()
        if key in counted:
            continue
        if finished:
            open_.discard(key)
            counted[key] = _count(bodies[key], counted)
            continue
        if key in open_:
            raise ModelError("SSMC-M03", f"function {key[0]}::{key[1]} calls itself", "export the model again", source)
        open_.add(key)
        stack.append((key, True))
        stack += [(called, False) for called in _called(bodies[key]) if called in bodies and called not in counted]
    budgets.require("nodes", _count(proto.graph.node, counted), "nodes with all functions written out", source)


def _with_inner(nodes: Iterable[onnx.NodeProto]) -> Iterable[onnx.NodeProto]:
    for node in nodes:
        yield node
        for graph in subgraphs(node):
            yield from graph.node


def _called(nodes: Iterable[onnx.NodeProto]) -> set[Key]:
    return {(node.domain, node.op_type) for node in _with_inner(nodes)}


def _count(nodes: Iterable[onnx.NodeProto], counted: dict[Key, int]) -> int:
    return sum(counted.get((node.domain, node.op_type), 1) for node in _with_inner(nodes))


def check_elements(proto: onnx.ModelProto, budgets: Budgets) -> None:
    """Refuse values that would not fit into memory at the size at which the model is tried.

    Raises:
        UsageError: SSMC-U07; the message names the value.
    """
    for graph in every_graph(proto):
        for value in (*graph.input, *graph.value_info, *graph.output):
            dims = value.type.tensor_type.shape.dim
            known = [dim.dim_value for dim in dims if dim.HasField("dim_value")]
            tried = TRIED if len(known) < len(dims) else 1
            budgets.require("elements", tried * prod(known), "elements of a value", value.name)
