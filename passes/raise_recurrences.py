"""Recognise recurrences by what they compute and name them ``ssmc::StateSpace``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ssmc.errors import ModelError
from ssmc.ir.build import (
    add_constant,
    carried,
    is_op,
    node_name,
    remove_dead,
    remove_dead_after,
    replace_value,
    required,
    ssmc_node,
)
from ssmc.ir.parts import Constants
from ssmc.ir.rounding import FloatArray, round_half_even
from ssmc.pipeline import Level, Pass, PassResult
from ssmc.recognition.affine_parts import insert, move_bias_in_front
from ssmc.recognition.axes import Axes, Exposed, Roles, name_axes
from ssmc.recognition.exponential_mean import find_mean
from ssmc.recognition.output_grids import with_output_grids
from ssmc.recognition.raised_scan import Groups, RaisedScan, by_group, recognise_scan
from ssmc.recognition.read_outs import ReadOuts, with_read_outs
from ssmc.recognition.recurrence import Recurrence
from ssmc.recognition.starts import Start, starts_of
from ssmc.recognition.states import GRID_ERROR


@dataclass(frozen=True)
class RaiseRecurrences(Pass):
    """Replace every ``Scan`` over time by ``ssmc::StateSpace`` (or ``StateSpaceAfter``: y reads the new state).

    Before: ``Scan`` whose body is affine between its quantizers (semantics.md §1).
    After: one node per loop, matrices per group (channel) where the groups do not mix, else one dense group; the
        state in codes, both forms in one equation (see `ssmc.ir.operations.StateSpace`).
    Preserves: the real-valued meaning, quantizers included; scales of the state move to the matrices.
    Refuses: bodies that are not affine with constant coefficients (SSMC-S01, naming the node), state updates of
        another shape (SSMC-S02), nested loops (SSMC-S03), states or
        initial states that are not quantized (SSMC-Q06).

    Attributes:
        quantized: states must be quantized; off, float recurrences are raised too (`ssmc.quantize`).
    """

    name = "raise-recurrences"
    requires = Level.CANONICAL

    quantized: bool = True

    def run(self, model: ir.Model) -> PassResult:
        """Raise every loop of the main graph."""
        loops = [node for node in model.graph if is_op(node, "Scan", "Loop", "If")]
        if not loops:
            return PassResult(model)
        exposed = Exposed.of(model)
        axes = name_axes(exposed)
        for node in loops:
            if not is_op(node, "Scan"):
                raise ModelError(
                    "SSMC-S03", f"{node.op_type} is not supported", "express the loop as Scan", node_name(node)
                )
        starts, taken = starts_of(exposed, loops), _prefixes(model.graph)
        for node, start in zip(loops, starts, strict=True):
            _raise(model, node, axes, start, taken, self.quantized)
        remove_dead(model.graph)
        return PassResult(model, tuple(node_name(node) for node in loops))


def _raise(model: ir.Model, node: ir.Node, axes: Axes, seen: Start, taken: set[str], quantized: bool) -> None:
    scan = recognise_scan(node, axes)
    start = seen.constant
    if start is None:
        _raise_mean(model.graph, node, scan, axes, seen, _fresh(node_name(node), taken))
        return
    found = with_output_grids(node, scan)
    if quantized and not found.kernel.step.all():
        raise ModelError(
            "SSMC-Q06", "the state is not quantized", "train with QAT or quantize the model", node_name(node)
        )
    codes = _start_codes(found.kernel, start, node) if quantized else start
    _emit(model.graph, node, with_read_outs(node, found, axes), codes, axes, _fresh(node_name(node), taken))


def _fresh(name: str, taken: set[str]) -> str:
    while name in taken:
        name = f"{name}.raised"
    taken |= {name, f"{name}.y"}
    return name


def _raise_mean(graph: ir.Graph, node: ir.Node, found: RaisedScan, axes: Axes, seen: Start, name: str) -> None:
    """A loop that starts at the first step: an exponentially weighted mean, or refused."""
    mean = find_mean(found)
    if mean is None or not seen.follows(mean):
        fact = "the initial state depends on the input"
        remedy = "start from constants; give a mean m + (x - m) / 2^k, m = x[0], a Scan of its own that puts out m"
        raise ModelError("SSMC-S03", fact, remedy, node_name(node))
    source = _collect_inputs(graph, node, axes, found.groups, name)
    order = found.groups.inputs.ravel()
    arrays: Constants = {"unit": np.asarray(mean.unit), "step": mean.step[order]}
    arrays |= {"lo": np.asarray(mean.lo), "hi": np.asarray(mean.hi)}
    inputs = {"u": source, **{key: add_constant(graph, f"{name}.{key}", array) for key, array in arrays.items()}}
    new = ssmc_node("MovingAverage", inputs, f"{name}.y", name=node_name(node), dtype=ir.DataType.FLOAT)
    graph.insert_before(node, new)
    values = list(node.outputs[carried(node) :])
    _distribute(graph, node, new.outputs[0], axes, ReadOuts(found, values, found.output_shapes))
    remove_dead_after(graph, node)


def _start_codes(kernel: Recurrence, start: FloatArray, node: ir.Node) -> FloatArray:
    """The initial states as register codes."""
    codes = start / kernel.sigma
    whole = round_half_even(codes)
    on_grid = np.abs(codes - whole) <= GRID_ERROR * np.maximum(np.abs(whole), 1.0)
    if not (on_grid & (kernel.reg_lo <= whole) & (whole <= kernel.reg_hi)).all():
        raise ModelError(
            "SSMC-Q06", "the initial state is no code of the state's quantizer", "quantize it", node_name(node)
        )
    return whole


def _emit(graph: ir.Graph, node: ir.Node, read: ReadOuts, start: FloatArray, axes: Axes, name: str) -> None:
    """New values are called ``name.something`` and ``name.y.something``."""
    kernel, groups = read.found.kernel, read.found.groups
    source, arrays = _collect_inputs(graph, node, axes, groups, name), _arrays(kernel, groups, start)
    biases = not kernel.step.any()
    if biases and arrays["offset"].any():
        source, arrays = move_bias_in_front(graph, node, source, arrays, name)
    added = arrays["offset_y"] if biases else np.zeros(0)
    if added.any():
        arrays["offset_y"] = np.zeros_like(added)
    new = ssmc_node(
        "StateSpaceAfter" if kernel.after else "StateSpace",
        {"u": source, **{key: add_constant(graph, f"{name}.{key}", array) for key, array in arrays.items()}},
        f"{name}.y",
        name=node_name(node),
        dtype=ir.DataType.FLOAT,
        extra_outputs=[f"{name}.registers"],
    )
    graph.insert_before(node, new)
    y = new.outputs[0]
    if added.any():
        bias = add_constant(graph, f"{name}.y.constant", added.ravel(), np.float32)
        y = insert(graph, node, "Add", [y, bias], f"{name}.y.moved")
    _distribute(graph, node, y, axes, read)
    remove_dead_after(graph, node)


def _prefixes(graph: ir.Graph) -> set[str]:
    """Every beginning, before a dot, of the name of a value."""
    found: set[str] = set()
    for node in graph:
        for out in node.outputs:
            parts = str(out.name).split(".")
            found.update(".".join(parts[:count]) for count in range(1, len(parts)))
    return found


def _arrays(kernel: Recurrence, groups: Groups, start: FloatArray) -> Constants:
    s, u, y = groups.states, groups.inputs, groups.outputs
    columns = np.concatenate([s, len(kernel.step) + u], 1)
    return {
        "W": by_group(kernel.W, s, columns),
        "W_y": by_group(kernel.W_y, y, columns),
        "r0": start[s],
        **{key: getattr(kernel, key)[s] for key in ("step", "offset", "lo", "hi", "keep", "unit")},
        **{key: getattr(kernel, key)[s] for key in ("dac_lo", "dac_hi", "reg_lo", "reg_hi")},
        **{key: getattr(kernel, key)[y] for key in ("step_y", "offset_y", "lo_y", "hi_y")},
    }


def _collect_inputs(graph: ir.Graph, node: ir.Node, axes: Axes, groups: Groups, name: str) -> ir.Value:
    """All scanned inputs as one value (N, T, G * m), group-major."""
    count = node.attributes["num_scan_inputs"].as_int()
    parts = []
    for number in range(count):
        value = required(node, number - count)
        roles = axes.roles[str(value.name)]
        perm = [roles.index("N"), 0, *(a for a, r in enumerate(roles) if r not in ("N", "T"))]
        parts.append(_to_rows(graph, node, value, perm, f"{name}.u{number}"))
    joined = parts[0]
    if len(parts) > 1:
        joined = insert(graph, node, "Concat", parts, f"{name}.u_joined", axis=2)
    order = groups.inputs.ravel()
    if not np.array_equal(order, np.arange(len(order))):
        index = add_constant(graph, f"{name}.u_order", order, np.int64)
        joined = insert(graph, node, "Gather", [joined, index], f"{name}.u_sorted", axis=2)
    return joined


def _to_rows(graph: ir.Graph, node: ir.Node, value: ir.Value, perm: list[int], name: str) -> ir.Value:
    """(N, T, rest flattened)."""
    moved = insert(graph, node, "Transpose", [value], f"{name}.rows", perm=perm)
    if len(perm) == 3:
        return moved
    shape = add_constant(graph, f"{name}.shape", [0, 0, -1], np.int64)
    return insert(graph, node, "Reshape", [moved, shape], f"{name}.flat")


def _distribute(graph: ir.Graph, node: ir.Node, y: ir.Value, axes: Axes, read: ReadOuts) -> None:
    """Give every output its layout back."""
    groups, shapes = read.found.groups, read.shapes
    order = np.argsort(groups.outputs.ravel())
    if read.behind is not None:
        y, order = _read(graph, node, y, groups, *read.behind), np.arange(len(read.behind[1]))
    if not np.array_equal(order, np.arange(len(order))):
        index = add_constant(graph, f"{y.name}.order", order, np.int64)
        y = insert(graph, node, "Gather", [y, index], f"{y.name}.sorted", axis=2)
    start = 0
    for value, shape in zip(read.values, shapes, strict=True):
        size = int(np.prod(shape))
        part = y if size == len(order) else _channels(graph, node, y, start, size)
        start += size
        if value.uses() or value.is_graph_output():
            name = str(value.name)
            back = _restore(graph, node, part, axes.roles[name], axes.shapes[name], name)
            value.name = f"{name}.scan"
            replace_value(graph, value, back)
            back.name = name


def _read(graph: ir.Graph, node: ir.Node, y: ir.Value, groups: Groups, rows: FloatArray, bias: FloatArray) -> ir.Value:
    """A matrix of all outputs, which stand group by group."""
    matrix = add_constant(graph, f"{y.name}.C", rows[:, groups.outputs.ravel()].T, np.float32)
    given = insert(graph, node, "Identity", [y], f"{y.name}.given")
    product = insert(graph, node, "MatMul", [given, matrix], f"{y.name}.read")
    if not bias.any():
        return product
    constant = add_constant(graph, f"{y.name}.bias", bias, np.float32)
    return insert(graph, node, "Add", [product, constant], f"{y.name}.biased")


def _channels(graph: ir.Graph, node: ir.Node, y: ir.Value, start: int, size: int) -> ir.Value:
    ends = [
        add_constant(graph, f"{y.name}.{start}.{key}", [v], np.int64)
        for key, v in (("a", start), ("b", start + size), ("axis", 2))
    ]
    return insert(graph, node, "Slice", [y, *ends], f"{y.name}.{start}")


def _restore(
    graph: ir.Graph, node: ir.Node, part: ir.Value, roles: Roles, shape: tuple[int, ...], name: str
) -> ir.Value:
    rest = [d for d, r in zip(shape, roles, strict=True) if r not in ("N", "T")]
    if len(rest) != 1:
        target = add_constant(graph, f"{name}.shape", [0, 0, *rest], np.int64)
        part = insert(graph, node, "Reshape", [part, target], f"{name}.unflat")
    others = iter(range(2, 2 + len(rest)))
    perm = [0 if r == "N" else 1 if r == "T" else next(others) for r in roles]
    return insert(graph, node, "Transpose", [part], f"{name}.time", perm=perm)
