"""Builds standard ONNX nodes one after another."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir


class NodeBuilder:
    """Builds nodes in ``graph``, before ``place`` or at its end."""

    def __init__(self, graph: ir.Graph, place: ir.Node | None = None) -> None:
        self.graph, self.place = graph, place

    def op(self, kind: str, inputs: Sequence[ir.Value], name: str, **attributes: int | list[int]) -> ir.Value:
        """One node; its output has its name."""
        node = ir.node(kind, list(inputs), attributes or None, name=name)
        node.outputs[0].name = name
        if self.place is None:
            self.graph.append(node)
        else:
            self.graph.insert_before(self.place, node)
        return node.outputs[0]
