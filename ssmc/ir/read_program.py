"""Read a graph on codes as the streaming `Program` that targets execute."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from ssmc.errors import ModelError
from ssmc.ir.build import constant_array, node_name
from ssmc.ir.functions import input_names, operation_of
from ssmc.ir.operations import AnyOp, Op, Quantize
from ssmc.ir.operations.reading import GraphNode
from ssmc.ir.parts import Constants
from ssmc.ir.program import Program
from ssmc.ir.quant import Codes
from ssmc.ir.rates import Clock


def read_program(model: ir.Model) -> Program:
    """The program of a graph at level *folded* or later: one dataclass per node, requantizations proven."""
    source = model.graph.inputs[0]
    features = int(source.shape[2])  # type: ignore[index, arg-type]
    values: dict[str, Codes] = {}
    ops: list[AnyOp] = []
    for node in model.graph:
        op, codes = operation_of(node.op_type).read(_as_read(node, values, features))
        ops.append(op)  # type: ignore[arg-type]
        if codes is not None:
            values[op.output] = replace(codes, clock=_clock(op, values))
    first, last = ops[0], ops[-1]
    assert isinstance(first, Quantize)
    return Program(
        input_name=str(source.name),
        input_size=features,
        output_name=last.output,
        output_size=values[last.inputs[0]].size,
        ops=tuple(ops),
        values=values,
    )


def _clock(op: Op, values: dict[str, Codes]) -> Clock:
    """The clock of an operation's output.

    Raises:
        ModelError: SSMC-R02 where its inputs have different ones.
    """
    clocks = {values[name].clock for name in op.inputs if name in values}
    if len(clocks) > 1:
        raise different_rates(op.name)
    return op.clock(*clocks or ((),))


def different_rates(node: str) -> ModelError:
    """The error for an operation that combines values of different rates."""
    fact = "it combines values of different rates, and nothing raises a rate again"
    return ModelError("SSMC-R02", fact, "average or stride both branches alike, the skip path included", node)


def _as_read(node: ir.Node, values: dict[str, Codes], features: int) -> GraphNode:
    names = signals(node)
    return GraphNode(
        op_type=node.op_type,
        name=node_name(node),
        inputs=names,
        output=str(node.outputs[0].name),
        types=tuple(values[name] for name in names if name in values),
        constants=constants(node),
        features=features,
    )


def constants(node: ir.Node) -> Constants:
    """The node's constant inputs by their names in the definition, float64."""
    named = zip(input_names(node.op_type), node.inputs, strict=True)
    arrays = {key: constant_array(value) for key, value in named}
    return {key: np.asarray(array, np.float64) for key, array in arrays.items() if array is not None}


def signals(node: ir.Node) -> tuple[str, ...]:
    """Names of the node's inputs that are not constants."""
    return tuple(str(v.name) for v in node.inputs if v is not None and constant_array(v) is None)
