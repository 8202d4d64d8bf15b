"""Recognise recurrences by what they compute and name them ``ssmc::StateSpace``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from ssmc.errors import ModelError
from ssmc.importers.axes import Axes, Roles, name_axes
from ssmc.importers.loop_body import analyse
from ssmc.importers.recurrence import Recogniser, Recurrence
from ssmc.ir.build import add_constant, is_op, node_name, remove_dead, replace_value, ssmc_node
from ssmc.ir.rounding import FloatArray
from ssmc.pipeline import Pass, PassResult
from ssmc.verify import run_onnx

Index = NDArray[np.int64]


@dataclass(frozen=True)
class RaiseRecurrences(Pass):
    """Replace every ``Scan`` over time by ``ssmc::StateSpace`` (or ``StateSpaceAfter``: y reads the new state).

    Before: ``Scan`` whose body is affine between its quantizers (DESIGN §2).
    After: one node per loop, matrices per group (channel) where the groups do not mix, else one dense group; the
        state in codes, both forms in one equation (see `ssmc.ir.program.StateSpace`).
    Preserves: the real-valued meaning, quantizers included; scales of the state move to the matrices.
    Refuses: bodies that are not affine with constant coefficients (SSMC-S01, naming the node), state updates of
        another shape (SSMC-S02), reversed or nested loops and final states that are used (SSMC-S03).
    """

    @property
    def name(self) -> str:
        """Name in the pipeline."""
        return "raise-recurrences"

    def run(self, model: ir.Model) -> PassResult:
        """Raise every loop of the main graph."""
        loops = [node for node in model.graph if is_op(node, "Scan", "Loop", "If")]
        if not loops:
            return PassResult(model)
        axes = name_axes(model)
        for node in loops:
            if not is_op(node, "Scan"):
                raise ModelError("SSMC-S03", f"{node.op_type} is not supported", "express the loop as Scan", node_name(node))
        starts = [_initial(model, node) for node in loops]
        for node, start in zip(loops, starts, strict=True):
            _raise(model, node, axes, start)
        remove_dead(model.graph)
        return PassResult(model, tuple(node_name(node) for node in loops))


def _raise(model: ir.Model, node: ir.Node, axes: Axes, start: FloatArray) -> None:
    count = node.attributes["num_scan_inputs"].as_int()
    states, inputs = list(node.inputs[: len(node.inputs) - count]), list(node.inputs[len(node.inputs) - count :])
    _refuse(node, len(states))
    body = node.attributes["body"].as_graph()
    scanned = [_sample_axes(axes, value, node) for value in inputs]
    state_shapes = [_one_sample(axes, value, node) for value in states]
    analysed = analyse(body, state_shapes, [shape for _, shape in scanned])
    kernel = Recogniser(analysed, node_name(node)).recognise()
    groups = _group(kernel, [*state_shapes], [shape for _, shape in scanned], [f.shape for f in analysed.outputs])
    _emit(model.graph, node, kernel, groups, start / kernel.sigma, axes, [f.shape for f in analysed.outputs])


def _refuse(node: ir.Node, states: int) -> None:
    for name in ("scan_input_directions", "scan_output_directions"):
        if name in node.attributes and any(node.attributes[name].as_ints()):
            raise ModelError("SSMC-S03", "the scan runs backwards", "reverse the sequence outside the loop", node_name(node))
    for out in node.outputs[:states]:
        if out.uses() or out.is_graph_output():
            raise ModelError("SSMC-S03", "the final state is used outside the loop", "use the outputs instead", node_name(node))


def _sample_axes(axes: Axes, value: ir.Value | None, node: ir.Node) -> tuple[Roles, tuple[int, ...]]:
    """Roles of a scanned value and its per-step shape for one sample."""
    assert value is not None
    roles, shape = axes.roles[str(value.name)], axes.shapes[str(value.name)]
    if roles[0] != "T":
        raise ModelError("SSMC-S03", "the loop does not run over the leading time axis", "transpose time first", node_name(node))
    return roles, tuple(1 if role == "N" else size for role, size in zip(roles[1:], shape[1:], strict=True))


def _one_sample(axes: Axes, value: ir.Value | None, node: ir.Node) -> tuple[int, ...]:
    assert value is not None
    name = str(value.name)
    if name not in axes.roles:
        raise ModelError("SSMC-S03", "an initial state has a fixed batch size", "expand it to the batch", node_name(node))
    return tuple(1 if r == "N" else d for r, d in zip(axes.roles[name], axes.shapes[name], strict=True))


def _initial(model: ir.Model, node: ir.Node) -> FloatArray:
    """The initial states of one sample, flattened and joined; they must not depend on the input."""
    count = len(node.inputs) - node.attributes["num_scan_inputs"].as_int()
    names = [str(value.name) for value in node.inputs[:count] if value is not None]
    proto = ir.to_proto(model)
    known = {out.name for out in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(names) if name not in known)
    x = model.graph.inputs[0]
    assert x.shape is not None
    rng = np.random.default_rng(0)
    feeds = [{str(x.name): rng.standard_normal(_ones(x.shape)).astype(np.float32)} for _ in range(2)]
    first, second = (np.concatenate([np.ravel(out) for out in run_onnx(proto, feed, names)]) for feed in feeds)
    if not np.array_equal(first, second):
        raise ModelError("SSMC-S03", "the initial state depends on the input", "start from constants", node_name(node))
    return first.astype(np.float64)


def _ones(shape: ir.Shape) -> list[int]:
    return [int(d) if isinstance(d, int) else 1 for d in shape]


@dataclass(frozen=True)
class _Groups:
    """Index of states (G, n), inputs (G, m) and outputs (G, p) per group."""

    states: Index
    inputs: Index
    outputs: Index


def _group(
    kernel: Recurrence, states: list[tuple[int, ...]], inputs: list[tuple[int, ...]], outputs: list[tuple[int, ...]]
) -> _Groups:
    """Channels as groups where the tensors have a common axis along which nothing mixes; else one dense group."""
    sizes = {int(np.prod(shape)) for shape in inputs}
    for count in sorted(sizes & {int(np.prod(shape)) for shape in outputs}, reverse=True):
        labels = [_labels(shapes, count) for shapes in (states, inputs, outputs)]
        if count > 1 and all(label is not None for label in labels):
            s, u, y = (np.asarray(label) for label in labels)
            columns = np.concatenate([s, u])
            apart = not kernel.W[s[:, None] != columns].any() and not kernel.W_y[y[:, None] != columns].any()
            if apart:
                return _Groups(*(np.stack([np.flatnonzero(label == g) for g in range(count)]) for label in (s, u, y)))
    return _Groups(
        np.arange(kernel.W.shape[0])[None],
        np.arange(kernel.W.shape[1] - kernel.W.shape[0])[None],
        np.arange(kernel.W_y.shape[0])[None],
    )


def _labels(shapes: list[tuple[int, ...]], count: int) -> Index | None:
    """Group of every element, from each tensor's first axis of length ``count``."""
    labels = []
    for shape in shapes:
        if count not in shape:
            return None
        axis = shape.index(count)
        broadcast = np.arange(count).reshape([-1 if a == axis else 1 for a in range(len(shape))])
        labels.append(np.broadcast_to(broadcast, shape).ravel())
    return np.concatenate(labels)


def _emit(
    graph: ir.Graph,
    node: ir.Node,
    kernel: Recurrence,
    groups: _Groups,
    start: FloatArray,
    axes: Axes,
    output_shapes: list[tuple[int, ...]],
) -> None:
    name = node_name(node)
    source = _collect_inputs(graph, node, axes, groups, name)
    new = ssmc_node(
        "StateSpaceAfter" if kernel.after else "StateSpace",
        {"u": source, **_constants(graph, name, kernel, groups, start)},
        f"{name}.y",
        name=name,
        dtype=ir.DataType.FLOAT,
        extra_outputs=[f"{name}.registers"],
    )
    graph.insert_before(node, new)
    _distribute(graph, node, new.outputs[0], axes, groups, output_shapes)
    graph.remove(node, safe=True)


def _constants(
    graph: ir.Graph, name: str, kernel: Recurrence, groups: _Groups, start: FloatArray
) -> dict[str, ir.Value]:
    s, u, y = groups.states, groups.inputs, groups.outputs
    columns = np.concatenate([s, len(kernel.step) + u], 1)
    arrays = {
        "W": kernel.W[s[:, :, None], columns[:, None, :]],
        "W_y": kernel.W_y[y[:, :, None], columns[:, None, :]],
        "r0": start[s],
        **{key: getattr(kernel, key)[s] for key in ("step", "offset", "lo", "hi", "keep", "unit")},
        **{key: getattr(kernel, key)[s] for key in ("dac_lo", "dac_hi", "reg_lo", "reg_hi")},
        **{key: getattr(kernel, key)[y] for key in ("step_y", "offset_y", "lo_y", "hi_y")},
    }
    return {key: add_constant(graph, f"{name}.{key}", array) for key, array in arrays.items()}


def _collect_inputs(graph: ir.Graph, node: ir.Node, axes: Axes, groups: _Groups, name: str) -> ir.Value:
    """All scanned inputs as one value (N, T, G * m), group-major."""
    count = node.attributes["num_scan_inputs"].as_int()
    parts = []
    for index, value in enumerate(node.inputs[len(node.inputs) - count :]):
        assert value is not None
        roles = axes.roles[str(value.name)]
        perm = [roles.index("N"), 0, *(a for a, r in enumerate(roles) if r not in ("N", "T"))]
        parts.append(_to_rows(graph, node, value, perm, f"{name}.u{index}"))
    joined = parts[0]
    if len(parts) > 1:
        joined = _insert(graph, node, "Concat", parts, f"{name}.u", axis=2)
    order = groups.inputs.ravel()
    if not np.array_equal(order, np.arange(len(order))):
        index = add_constant(graph, f"{name}.u_order", order, np.int64)
        joined = _insert(graph, node, "Gather", [joined, index], f"{name}.u_sorted", axis=2)
    return joined


def _to_rows(graph: ir.Graph, node: ir.Node, value: ir.Value, perm: list[int], name: str) -> ir.Value:
    """(N, T, rest flattened)."""
    moved = _insert(graph, node, "Transpose", [value], f"{name}.rows", perm=perm)
    if len(perm) == 3:
        return moved
    shape = add_constant(graph, f"{name}.shape", [0, 0, -1], np.int64)
    return _insert(graph, node, "Reshape", [moved, shape], f"{name}.flat")


def _insert(
    graph: ir.Graph, before: ir.Node, op_type: str, inputs: list[ir.Value], name: str, **attributes: int | list[int]
) -> ir.Value:
    node = ir.node(op_type, inputs, attributes, name=name)
    node.outputs[0].name = name
    graph.insert_before(before, node)
    return node.outputs[0]


def _distribute(
    graph: ir.Graph, node: ir.Node, y: ir.Value, axes: Axes, groups: _Groups, shapes: list[tuple[int, ...]]
) -> None:
    """Give every scan output its layout back."""
    order = np.argsort(groups.outputs.ravel())
    if not np.array_equal(order, np.arange(len(order))):
        index = add_constant(graph, f"{y.name}.order", order, np.int64)
        y = _insert(graph, node, "Gather", [y, index], f"{y.name}.sorted", axis=2)
    start = 0
    for value, shape in zip(node.outputs[len(node.outputs) - len(shapes) :], shapes, strict=True):
        size = int(np.prod(shape))
        part = y if size == len(order) else _channels(graph, node, y, start, size)
        start += size
        if value.uses() or value.is_graph_output():
            name = str(value.name)
            back = _restore(graph, node, part, axes.roles[name], axes.shapes[name], name)
            value.name = f"{name}.scan"
            replace_value(graph, value, back)
            back.name = name


def _channels(graph: ir.Graph, node: ir.Node, y: ir.Value, start: int, size: int) -> ir.Value:
    ends = [add_constant(graph, f"{y.name}.{start}.{key}", [v], np.int64) for key, v in (("a", start), ("b", start + size), ("axis", 2))]
    return _insert(graph, node, "Slice", [y, *ends], f"{y.name}.{start}")


def _restore(
    graph: ir.Graph, node: ir.Node, part: ir.Value, roles: Roles, shape: tuple[int, ...], name: str
) -> ir.Value:
    rest = [d for d, r in zip(shape, roles, strict=True) if r not in ("N", "T")]
    if len(rest) != 1:
        target = add_constant(graph, f"{name}.shape", [0, 0, *rest], np.int64)
        part = _insert(graph, node, "Reshape", [part, target], f"{name}.unflat")
    others = iter(range(2, 2 + len(rest)))
    perm = [0 if r == "N" else 1 if r == "T" else next(others) for r in roles]
    return _insert(graph, node, "Transpose", [part], f"{name}.time", perm=perm)
