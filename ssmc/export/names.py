"""Names a reader can follow: every node is called after the torch module it comes from."""

from __future__ import annotations

import ast
from collections.abc import Iterable

import onnx_ir as ir

SCOPES = "pkg.torch.onnx.name_scopes"
CLASSES = "pkg.torch.onnx.class_hierarchy"


class Names:
    """Hands out each name once: ``name``, ``name_2``, ``name_3``, ..."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self.taken = set(taken)

    def unique(self, name: str) -> str:
        """``name`` or its next free variant."""
        fresh, count = name, 1
        while fresh in self.taken:
            count += 1
            fresh = f"{name}_{count}"
        self.taken.add(fresh)
        return fresh


def scopes(graph: ir.Graph, outer: str = "") -> dict[ir.Node, str]:
    """Path of the torch module of every node, such as ``blocks.0.ssm``; a loop body belongs to its loop."""
    found: dict[ir.Node, str] = {}
    for node in graph:
        path = ast.literal_eval(node.metadata_props.get(SCOPES, "[]"))[:-1]
        own = [name for name in path if name and not name.startswith("_empty")]
        found[node] = own[-1] if own and not outer else outer
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                found |= scopes(attribute.as_graph(), found[node])
    return found


def quantizer_name(node: ir.Node, scope: str) -> str:
    """The path of the ``Quantizer`` module; ``path/Quant`` for a quantizer inside another module."""
    x = node.inputs[0]
    if x is not None and x.const_value is not None and x.name:
        return x.name.removesuffix("_codes")
    classes = ast.literal_eval(node.metadata_props.get(CLASSES, "[]"))
    module = len(classes) > 1 and classes[-2].endswith(".Quantizer")
    return scope if module else f"{scope}/Quant".lstrip("/")


def name_nodes(nodes: dict[ir.Node, str], names: Names) -> None:
    """Name nodes ``path/Operator`` and their outputs alike, in order."""
    for node, scope in nodes.items():
        if node.graph is None:
            continue
        node.name = names.unique(f"{scope}/{node.op_type}".lstrip("/"))
        for index, value in enumerate(node.outputs):
            value.name = node.name if len(node.outputs) == 1 else names.unique(f"{node.name}:{index}")
        if node.op_type == "Scan":
            _name_body_inputs(node, names)


def _name_body_inputs(node: ir.Node, names: Names) -> None:
    body = node.attributes["body"].as_graph()
    states = len(body.inputs) - node.attributes["num_scan_inputs"].as_int()
    for index, value in enumerate(body.inputs):
        kind = f"state:{index}" if index < states else f"input:{index - states}"
        value.name = names.unique(f"{node.name}.{kind}")
