"""Evaluate what does not depend on the input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ssmc.ir.affine import evaluate
from ssmc.ir.build import constant_array, graph_of, graphs, is_op, node_name, remove_dead
from ssmc.ir.functions import DOMAIN
from ssmc.passes.canonicalize_quantizers import fold_constant_quantizer
from ssmc.pipeline import Level, Pass, PassResult

CONTROL = ("Scan", "Loop", "If")


@dataclass(frozen=True)
class FoldConstants(Pass):
    """Replace nodes whose inputs are all constant by initializers, in loop bodies too; drop dead nodes.

    A quantizer of a constant becomes its codes behind ``ssmc::Dequant``, which stays: codes times scale is the grid.

    Before: any canonical graph.
    After: no node but ``ssmc::Dequant`` has only constant inputs.
    Preserves: the meaning; real constants are evaluated in float64 and stored as float32.
    """

    name = "fold-constants"
    requires = Level.CANONICAL

    def run(self, model: ir.Model) -> PassResult:
        """Fold, innermost bodies last, so that captured constants are known."""
        applied = []
        for graph in list(graphs(model.graph)):
            for node in list(graph):
                name = node_name(node)
                if _foldable(node):
                    _fold(node, model.graph)
                    applied.append(name)
                elif is_op(node, "Quant", domain=DOMAIN) and fold_constant_quantizer(node, model.graph):
                    applied.append(name)
        for graph in reversed(list(graphs(model.graph))):
            remove_dead(graph)
        remove_dead(model.graph)
        return PassResult(model, tuple(applied))


def _foldable(node: ir.Node) -> bool:
    if node.domain == DOMAIN or is_op(node, *CONTROL):
        return False
    if any(out.is_graph_output() for out in node.outputs):
        return False
    return all(value is None or constant_array(value) is not None for value in node.inputs)


def _fold(node: ir.Node, main: ir.Graph) -> None:
    results = evaluate(node, [constant_array(value) for value in node.inputs])
    for out, array in zip(node.outputs, results, strict=True):
        data = array.astype(np.float32) if array.dtype == np.float64 else array
        value = ir.val(f"{out.name}.folded", const_value=ir.tensor(data, name=f"{out.name}.folded"))
        main.register_initializer(value)
        out.replace_all_uses_with(value)
    graph_of(node).remove(node, safe=True)
