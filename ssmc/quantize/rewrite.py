"""Kernels, weights and values of a raised float model in codes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import onnx_ir as ir

from ssmc.errors import ModelError
from ssmc.folding.points import Plan
from ssmc.importers.inputs import Parts
from ssmc.ir.build import constant_array, node_name, required
from ssmc.ir.rounding import FloatArray
from ssmc.quantize.bases import Kernel
from ssmc.quantize.config import QuantizeConfig, signed_range
from ssmc.quantize.given import given_step
from ssmc.quantize.kernel import Chosen, quantize_kernel
from ssmc.quantize.means import mean_scan
from ssmc.quantize.nodes import QuantizedNodes, quantized_scan
from ssmc.quantize.steps import best_step, weight_codes

MOST_VALUES = 1 << 16
Grid = tuple[FloatArray, tuple[int, int]]
CARRIERS = ("Add", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


@dataclass(frozen=True)
class KernelChoice:
    """What a kernel became.

    Attributes:
        name: of the kernel's node.
        delta: pairs of states (modes, in modal form) in delta form. modes: all pairs.
        basis: coordinates of the states: modal, Schur, Schur as given, balanced, as given, equal noise.
    """

    name: str
    delta: int
    modes: int
    basis: str


@dataclass(frozen=True)
class Known:
    """What the float model says.

    Attributes:
        parts: inputs that were joined.
        kernels: by name.
        seen: values on the calibration sequences, by name, one array a sequence.
        found: kernels that were quantized already, by all that decides them.
    """

    parts: Parts
    kernels: dict[str, Kernel]
    seen: dict[str, list[FloatArray]]
    found: dict[object, Chosen] = field(default_factory=dict)


def rewrite(model: ir.Model, plan: Plan, known: Known, config: QuantizeConfig) -> tuple[KernelChoice, ...]:
    """Give kernels, weights and values of a raised model their codes, in place."""
    graph, seen = model.graph, known.seen
    grids: dict[ir.Value, Grid] = {}
    for value in plan.points:
        bits = config.at(str(value.name)).of_field(field_of(value, plan, config), plan.output_per_step)
        data = np.concatenate([x.ravel() for x in seen[str(value.name)]])
        limits = _limits(data, bits)
        joined = known.parts if value is graph.inputs[0] else ()
        grids[value] = _point_steps(seen[str(value.name)], joined, limits, config), limits
    means = {node: _grid(required(node, 0), grids, node) for node in plan.means}
    choices = [_kernel(graph, node, known, config.at(node_name(node))) for node in plan.kernels]
    for node, position in plan.matrices:
        _weight(graph, node, position, config.at(node_name(node)))
    following = dict(pairwise(list(graph)))
    for value in plan.points:
        producer = value.producer()
        place = following.get(producer) if producer is not None else next(iter(graph))
        first = _insert(graph, value, place, *grids[value])
        if producer is not None:
            following[producer] = first
    for node, grid in means.items():
        replace_node(graph, node, mean_scan(graph, node, required(node, 0), *grid))
    return tuple(choices)


def _grid(value: ir.Value, grids: dict[ir.Value, Grid], node: ir.Node) -> Grid:
    """Step and range of a value that a mean reads: its quantizer's, or that of what it was taken from."""
    given = given_step(value)
    if value in grids or given is not None:
        return grids[value] if given is None else (np.asarray(given[0]), given[1])
    maker, many = value.producer(), any(step.size > 1 for step, _ in grids.values())
    source = None if maker is None or many else maker.inputs[0]
    if source is None:
        fact = "an exponentially weighted mean of inputs that have scales of their own"
        raise ModelError("SSMC-T02", fact, "take it behind the first layer", node_name(node))
    return _grid(source, grids, node)


def field_of(value: ir.Value, plan: Plan, config: QuantizeConfig) -> str:
    """Which width of a configuration a value between operations has."""
    behind = bool(config.converter_bits) and _behind_matrix(value, {node for node, _ in plan.matrices})
    if value in plan.outputs and not (behind and config.output_bits is None):
        return "output_bits"
    if value in plan.inputs:
        return "input_bits"
    return "converter_bits" if behind else "activation_bits"


def _behind_matrix(value: ir.Value, matrices: set[ir.Node]) -> bool:
    """Whether a matrix delivers the value, with or without a bias and other axes."""
    producer = value.producer()
    if producer is None or producer in matrices:
        return producer is not None
    carried = [x for x in producer.inputs if x is not None and constant_array(x) is None]
    return producer.op_type in CARRIERS and len(carried) == 1 and _behind_matrix(carried[0], matrices)


def _point_steps(data: list[FloatArray], parts: Parts, limits: tuple[int, int], config: QuantizeConfig) -> FloatArray:
    """The step of a value, (); of inputs that were joined one for each column, equal within an input."""
    cuts = np.cumsum([size for _, size in parts])[:-1]
    columns = [
        np.concatenate([part.ravel() for part in split])
        for split in zip(*(np.split(x, cuts, -1) for x in data), strict=True)
    ]
    steps = [best_step(_thinned(x), *limits, 0, config.power_of_two) for x in columns]
    return np.repeat(steps, [size for _, size in parts]) if parts else np.asarray(steps[0])


def _limits(data: FloatArray, bits: int) -> tuple[int, int]:
    """Codes from 0 where no value is negative."""
    return (0, (1 << bits) - 1) if data.size and data.min() >= 0 else signed_range(bits)


def _thinned(data: FloatArray) -> FloatArray:
    return data[:: max(len(data) // MOST_VALUES, 1)]


def _kernel(graph: ir.Graph, node: ir.Node, known: Known, config: QuantizeConfig) -> KernelChoice:
    u, name = required(node, 0), node_name(node)
    matrices = known.kernels[name]
    groups, _, m = matrices.B.shape
    fed = [x[0].reshape(len(x[0]), groups, m) for x in known.seen[str(u.name)]]
    limits, given = signed_range(config.activation_bits), given_step(u)
    steps = _input_steps(fed, limits, config)
    if given is not None:  # codes already: their own step, so that they are not rounded again
        steps, limits = np.full(steps.shape, given[0]), given[1]
        config = replace(config, activation_bits=1 + max(limits[1], -limits[0] - 1).bit_length())
    decides = name, config, steps.tobytes()
    if decides not in known.found:
        known.found[decides] = quantize_kernel(matrices, fed, steps, config)
    chosen = known.found[decides]
    kernel = chosen.kernel
    y = quantized_scan(graph, node, kernel, u, limits)
    replace_node(graph, node, y)
    return KernelChoice(name, int(kernel.keep.sum()) // 2, (kernel.keep.size + 1) // 2, chosen.basis)


def _input_steps(fed: list[FloatArray], limits: tuple[int, int], config: QuantizeConfig) -> FloatArray:
    """Steps (G, m) of a kernel's inputs, one for each channel unless all share one."""
    data = np.concatenate(fed)
    data = data[:: max(data.size // MOST_VALUES, 1)]
    if config.granularity == "tensor":
        return np.broadcast_to(best_step(data, *limits, 0, config.power_of_two), data.shape[1:])
    return best_step(data, *limits, 2, config.power_of_two)


def replace_node(graph: ir.Graph, node: ir.Node, y: ir.Value) -> None:
    """``y`` in the place of what ``node`` makes."""
    node.outputs[0].replace_all_uses_with(y, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _weight(graph: ir.Graph, node: ir.Node, position: int, config: QuantizeConfig) -> None:
    value = node.inputs[position]
    array = constant_array(value)
    if value is None or array is None:
        raise ModelError("SSMC-Q06", "a matrix is no constant", "fold it before quantization", node_name(node))
    weight = np.asarray(array, np.float64)
    transposed = "transB" in node.attributes and bool(node.attributes["transB"].as_int())
    outputs_first = node.op_type == "Conv" or transposed or (node.op_type == "MatMul" and position == 0)
    axis = 0 if outputs_first else weight.ndim - 1
    codes, step = weight_codes(weight, config.weight_bits, axis, config.power_of_two)
    name = f"{node_name(node)}.weight"
    node.replace_input_with(position, QuantizedNodes(graph, place=node).weight(codes, step, axis, name))


def _insert(
    graph: ir.Graph, value: ir.Value, place: ir.Node | None, step: FloatArray, limits: tuple[int, int]
) -> ir.Node:
    """A quantizer behind ``value``, for all its readers, before ``place`` or at the end; its first node."""
    uses = [use for use in value.uses() if use.node.op_type != "Shape"]
    name = f"{value.name}.quantizer"
    coded = QuantizedNodes(graph, place=place).quantized(value, step, step, limits, name)
    first = next(use.node for use in value.uses() if use not in uses and use.node.op_type != "Shape")
    for use in uses:
        use.node.replace_input_with(use.idx, coded)
    for index, output in enumerate(graph.outputs):
        if output is value:
            coded.name, value.name = value.name, f"{value.name}.unquantized"
            coded.shape, coded.type = value.shape, value.type
            graph.outputs[index] = coded
    return first
