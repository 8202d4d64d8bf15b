"""Nothing in an exported file but the model: no stack traces, no paths, stable names, the same bytes every time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass, TopologicalSortPass


def clean(model: ir.Model) -> ir.Model:
    """Drop metadata, doc strings and dead nodes; name the only input ``x`` and the only output ``y``."""
    RemoveUnusedNodesPass()(model)
    TopologicalSortPass()(model)
    _drop_unused_initializers(model.graph)
    for holder in _holders(model):
        holder.metadata_props.clear()
        holder.doc_string = None
    model.producer_name, model.producer_version = "ssmc", None
    model.graph.name = "model"
    _rename(model.graph.inputs, "x")
    _rename(model.graph.outputs, "y")
    return model


def _holders(model: ir.Model) -> Iterator[ir.Model | ir.Graph | ir.Node | ir.Value]:
    yield model
    for graph in (model.graph, *model.graph.subgraphs()):
        yield graph
        yield from graph.inputs
        yield from graph.initializers.values()
        for node in graph:
            yield node
            yield from node.outputs


def _drop_unused_initializers(graph: ir.Graph) -> None:
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]


def _rename(values: Sequence[ir.Value], name: str) -> None:
    if len(values) == 1:
        values[0].name = name
