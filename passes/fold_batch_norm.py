"""Batch normalization in inference mode is an affine map per channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ssmc.errors import ModelError
from ssmc.ir.build import add_constant, constant_array, is_op, node_name, remove_dead, replace_value
from ssmc.pipeline import Level, Pass, PassResult
from ssmc.recognition.axes import name_axes

CHANNEL_AXIS = 1


@dataclass(frozen=True)
class FoldBatchNorm(Pass):
    """Rewrite ``BatchNormalization`` to one product and one sum per channel.

    ``y = gamma (x - mean) / sqrt(var + eps) + beta = a x + b``. The quantization fold then moves ``a`` into the
    requantization of the matrix before it and ``b`` into its offset, so no integer weight changes.

    Before: ``BatchNormalization`` with constant parameters, channels on axis 1.
    After: ``Mul`` and ``Add`` with constants.
    Preserves: the real map.
    Refuses: training mode or parameters that are not constant (SSMC-M09).
    """

    name = "fold-batch-norm"
    requires = Level.CANONICAL

    def run(self, model: ir.Model) -> PassResult:
        """Rewrite every node of the main graph."""
        applied = []
        for node in list(model.graph):
            if is_op(node, "BatchNormalization"):
                _rewrite(node, model)
                applied.append(node_name(node))
        remove_dead(model.graph)
        return PassResult(model, tuple(applied))


def _rewrite(node: ir.Node, model: ir.Model) -> None:
    graph = model.graph
    arrays = [constant_array(value) for value in node.inputs[1:5]]
    training = "training_mode" in node.attributes and node.attributes["training_mode"].as_int()
    x = node.inputs[0]
    if training or any(array is None for array in arrays) or x is None:
        raise ModelError("SSMC-M09", "batch norm is not in inference mode", "export with model.eval()", node_name(node))
    gamma, beta, mean, var = (np.asarray(array, np.float64) for array in arrays)
    eps = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5
    a = gamma / np.sqrt(var + eps)
    b = beta - mean * a
    shape = (-1,) + (1,) * (_rank(x, model) - CHANNEL_AXIS - 1)
    name = str(node.outputs[0].name)
    product = ir.node(
        "Mul", [x, add_constant(graph, f"{name}.a", a.reshape(shape), np.float32)], name=f"{node_name(node)}.mul"
    )
    shift = add_constant(graph, f"{name}.b", b.reshape(shape), np.float32)
    total = ir.node("Add", [product.outputs[0], shift], name=f"{node_name(node)}.add")
    product.outputs[0].name, total.outputs[0].name = f"{name}.scaled", f"{name}.normalized"
    product.outputs[0].shape = total.outputs[0].shape = node.outputs[0].shape
    product.outputs[0].dtype = total.outputs[0].dtype = ir.DataType.FLOAT
    graph.insert_before(node, [product, total])
    replace_value(graph, node.outputs[0], total.outputs[0])
    graph.remove(node, safe=True)


def _rank(x: ir.Value, model: ir.Model) -> int:
    """Rank of a value, measured where the file does not say it."""
    return len(x.shape) if x.shape is not None else len(name_axes(model).roles[str(x.name)])
