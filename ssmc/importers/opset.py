"""One opset for every model: 13 to 20 become 21, in which 16-bit DequantizeLinear and the bodies of passes are written.

Of the operators that compile, only two changed their spelling in between: reductions took their axes from an attribute
before opset 18, and Split found the number of its outputs by itself.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ssmc.ir.build import add_constant, graphs, is_op, node_name
from ssmc.ir.functions import OPSET

AXES_BECAME_INPUT = 18
REDUCTIONS = (
    *("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2"),
    *("ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"),
)


def raise_opset(model: ir.Model) -> None:
    """Rewrite a model of an older opset, bodies included, to `OPSET`; a newer one stays as it is."""
    version = model.graph.opset_imports.get("", OPSET)
    if version >= OPSET:
        return
    for graph in graphs(model.graph):
        if version < AXES_BECAME_INPUT:
            for node in graph:
                _respell(node, model.graph)
        if "" in graph.opset_imports:
            graph.opset_imports[""] = OPSET
    model.graph.opset_imports[""] = OPSET


def _respell(node: ir.Node, main: ir.Graph) -> None:
    if is_op(node, *REDUCTIONS) and "axes" in node.attributes:
        axes = add_constant(main, f"{node_name(node)}.axes", node.attributes["axes"].as_ints(), np.int64)
        del node.attributes["axes"]
        node.resize_inputs(2)
        node.replace_input_with(1, axes)
    if is_op(node, "Split") and len(node.inputs) < 2 and "num_outputs" not in node.attributes:
        node.attributes["num_outputs"] = ir.AttrInt64("num_outputs", len(node.outputs))
