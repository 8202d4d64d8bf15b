"""Models that no pass can compile, told by what they hold: the cause and the remedy, at whatever command comes first.

Every command imports its model first, so this is the one check in front of quantize and compile.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir

from ssmc.errors import ModelError
from ssmc.importers.protos import every_graph, subgraphs
from ssmc.ir.build import constant_array, graphs, is_op, node_name

RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
EVALUATE = "export with model.eval()"
FORWARD = "keep the layers that run forward (bidirectional=False): streaming cannot see the future; causal ones compile"


def refuse_early(model: ir.Model) -> None:
    """Refuse operators of training, and sequences that are reversed in time.

    Raises:
        ModelError: SSMC-M09 an operator in training mode, SSMC-T04 a reversed sequence.
    """
    for graph in graphs(model.graph):
        for node in graph:
            _refuse_training(node)
            if _reverses(node):
                fact = f"{node.op_type} reads the sequence backwards, which needs the future"
                raise ModelError("SSMC-T04", fact, FORWARD, node_name(node))


def refuse_float64(proto: onnx.ModelProto) -> None:
    """Refuse a file that computes with signals in float64, before its types are held to be contradictory.

    What only constants make, and what is only cast, is harmless; `check_ends` refuses an input of float64.

    Raises:
        ModelError: SSMC-M13 naming the constant.
    """
    nodes = [node for graph in every_graph(proto) for node in graph.node]
    known = {tensor.name for graph in every_graph(proto) for tensor in graph.initializer}
    stored = [tensor for graph in every_graph(proto) for tensor in graph.initializer]
    wide = {tensor.name for tensor in stored if tensor.data_type == onnx.TensorProto.DOUBLE}
    made = [node for node in nodes if node.op_type == "Constant"]
    wide |= {node.output[0] for node in made if any(a.t.data_type == onnx.TensorProto.DOUBLE for a in node.attribute)}
    for node in nodes:
        if known.issuperset(name for name in node.input if name) and not any(True for _ in subgraphs(node)):
            known.update(node.output)
            wide.update(node.output if node.op_type != "Cast" and wide.intersection(node.input) else ())
    computed = {
        name for node in nodes if node.op_type != "Cast" and not known.issuperset(node.output) for name in node.input
    }
    if wide & computed:
        remedy = "convert it to float32, model.float(), and export again"
        raise ModelError("SSMC-M13", "the model computes in float64 (double)", remedy, min(wide & computed))


def _refuse_training(node: ir.Node) -> None:
    if node.op_type in RANDOM:
        fact = f"{node.op_type} draws random numbers, as dropout does in training"
        raise ModelError("SSMC-M09", fact, EVALUATE, node_name(node))
    mode = node.attributes.get("training_mode") if is_op(node, "BatchNormalization") else None
    if mode is not None and mode.as_int():
        raise ModelError("SSMC-M09", "batch norm is in training mode", EVALUATE, node_name(node))
    if is_op(node, "Dropout") and len(node.inputs) > 2 and node.inputs[2] is not None:
        on = constant_array(node.inputs[2])
        if on is None or on.any():
            raise ModelError("SSMC-M09", "dropout is in training mode", EVALUATE, node_name(node))


def _reverses(node: ir.Node) -> bool:
    if is_op(node, "Scan"):
        names = ("scan_input_directions", "scan_output_directions")
        return any(any(node.attributes[name].as_ints()) for name in names if name in node.attributes)
    if is_op(node, "LSTM", "GRU", "RNN"):
        return "direction" in node.attributes and node.attributes["direction"].as_string() != "forward"
    if is_op(node, "Slice") and len(node.inputs) > 4:
        step = constant_array(node.inputs[4])
        return step is not None and bool((np.asarray(step, np.int64) < 0).any())
    return is_op(node, "ReverseSequence")
