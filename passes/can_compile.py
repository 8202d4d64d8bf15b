"""Can this compile? One answer for export, quantize and compile, before any data are seen.

Recurrences are raised and every value is followed as `FoldQuantization` does, with quantizers of step 1 wherever the
model has none yet. What then has no integer form has none with better steps either, and is refused by node.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ssmc.errors import ModelError
from ssmc.folding.points import Plan, is_quantizer, maker, plan_quantizers
from ssmc.ir.build import add_constant, graphs, is_op, node_name, replace_value, required, ssmc_node
from ssmc.ir.functions import attach_functions, input_names
from ssmc.ir.parts import Constants
from ssmc.ir.read_program import constants
from ssmc.passes.canonicalize_quantizers import CanonicalizeQuantizers
from ssmc.passes.fold_batch_norm import FoldBatchNorm
from ssmc.passes.fold_constants import FoldConstants
from ssmc.passes.fold_quantization import FoldQuantization
from ssmc.passes.raise_recurrences import RaiseRecurrences
from ssmc.recognition.axes import name_axes

SHOWN = 4
LO, HI = -128, 127


@dataclass(frozen=True)
class Readiness:
    """What a model that can compile still lacks.

    Attributes:
        missing: names of values, matrices and recurrences without a quantizer, in order of the graph.
        quantizers: how many it has.
    """

    missing: tuple[str, ...]
    quantizers: int

    @property
    def way_out(self) -> str:
        """What is missing, and the command that adds it; empty where nothing is."""
        if not self.missing:
            return ""
        others = f" and {len(self.missing) - SHOWN} more" if len(self.missing) > SHOWN else ""
        keep = " --keep-scales" if self.quantizers else ""
        command = f"'ssmc quantize MODEL --data FILE.npz{keep}' adds them"
        return f"without a quantizer are {', '.join(self.missing[:SHOWN])}{others}: {command}"


def can_compile(model: ir.Model) -> Readiness:
    """What an imported model lacks; it stays as it is.

    Raises:
        ModelError: it cannot be compiled, however it is quantized.
    """
    model = model.clone()
    for step in (CanonicalizeQuantizers(), FoldConstants(), FoldBatchNorm(), RaiseRecurrences(quantized=False)):
        model = step.run(model).model
        attach_functions(model)
    quantizers = sum(is_quantizer(node) for graph in graphs(model.graph) for node in graph)
    plan = plan_quantizers(model, name_axes(model))
    floats, means = (
        [node for node in nodes if not constants(node)["step"].all()] for nodes in (plan.kernels, plan.means)
    )
    matrices = [node_name(node) for node, _ in plan.matrices]
    missing = (*(str(value.name) for value in plan.points), *map(node_name, [*floats, *means]), *matrices)
    if missing:
        for node in means:  # quantized, it is on the grid of its input
            replace_value(model.graph, node.outputs[0], required(node, 0))
            model.graph.remove(node, safe=True)
        _quantize(model, plan, floats)
        attach_functions(model)
    FoldQuantization(trial=bool(missing)).run(model)
    return Readiness(missing, quantizers)


def _quantize(model: ir.Model, plan: Plan, floats: list[ir.Node]) -> None:
    """Steps of 1 and weights of 1 wherever there are no codes."""
    graph = model.graph
    for node, position in plan.matrices:
        value = node.inputs[position]
        if value is None or value.const_value is None:
            raise ModelError("SSMC-Q06", "a matrix is no constant", "fold it before quantization", node_name(node))
        ones = add_constant(graph, f"{node_name(node)}.ones", np.ones(value.const_value.shape.numpy()), np.int8)
        scale = add_constant(graph, f"{node_name(node)}.one", 1.0, np.float32)
        codes = ssmc_node(
            "Dequant", {"codes": ones, "scale": scale}, f"{node_name(node)}.codes", dtype=ir.DataType.FLOAT
        )
        graph.insert_before(node, codes)
        node.replace_input_with(position, codes.outputs[0])
    for node in floats:
        new = _in_codes(constants(node))
        for index, key in enumerate(input_names(node.op_type)):
            if key in new:
                value = add_constant(graph, f"{node_name(node)}.{key}.ones", new[key])
                node.replace_input_with(index, value)
        if not is_quantizer(maker(node.inputs[0])) and node.inputs[0] not in plan.points:
            _insert(graph, required(node, 0), node)
    for value in plan.points:
        _insert(graph, value, None)


def _in_codes(c: Constants) -> Constants:
    """Constants of a kernel in codes of step 1."""
    keys = ("step", "step_y", "unit", "dac_hi", "reg_hi", "hi", "hi_y", "W", "W_y")
    one: Constants = {key: np.ones_like(c[key]) for key in keys}
    return one | {key: -np.ones_like(c[key]) for key in ("dac_lo", "reg_lo", "lo", "lo_y")}


def _insert(graph: ir.Graph, value: ir.Value, reader: ir.Node | None) -> None:
    """A quantizer behind ``value``, for one reader or for all."""
    name = f"{value.name}.{reader.name if reader is not None else 'all'}.quantizer"
    numbers = {"scale": 1.0, "out_scale": 1.0, "lo": LO, "hi": HI}
    inputs = {"x": value, **{key: add_constant(graph, f"{name}.{key}", n, np.float32) for key, n in numbers.items()}}
    uses = [use for use in value.uses() if not is_op(use.node, "Shape") and reader in (None, use.node)]
    node = ssmc_node("Quant", inputs, name, dtype=ir.DataType.FLOAT)
    producer = value.producer()
    if producer is not None:
        graph.insert_after(producer, node)
    elif len(graph):
        graph.insert_before(graph[0], node)
    else:
        graph.append(node)
    for use in uses:
        use.node.replace_input_with(use.idx, node.outputs[0])
    if reader is None and value.is_graph_output():
        node.outputs[0].shape, node.outputs[0].type = value.shape, value.type
        graph.outputs[list(graph.outputs).index(value)] = node.outputs[0]
