"""One ``Scan`` as a kernel: its recurrence, and which states, inputs and outputs belong to which channel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ssmc.errors import ModelError
from ssmc.ir.build import carried, node_name, required
from ssmc.ir.rounding import FloatArray
from ssmc.ir.sparse import Sparse
from ssmc.recognition.axes import Axes, Roles
from ssmc.recognition.loop_body import analyse
from ssmc.recognition.recurrence import Recogniser, Recurrence

Index = NDArray[np.int64]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class RaisedScan:
    """What a Scan computes.

    Attributes:
        kernel: the recurrence over all states, inputs and outputs.
        groups: which of them belong together.
        output_shapes: per-step shape of every scan output, for one sample.
        state_shapes, input_shapes: of states and scanned inputs.
    """

    kernel: Recurrence
    groups: Groups
    output_shapes: list[Shape]
    state_shapes: list[Shape]
    input_shapes: list[Shape]


def recognise_scan(node: ir.Node, axes: Axes) -> RaisedScan:
    """Analyse the body of a Scan of the main graph.

    Raises:
        ModelError: SSMC-S01, S02 or S03, naming the guilty node.
    """
    given = [required(node, index) for index in range(len(node.inputs))]
    states, inputs = given[: carried(node)], given[carried(node) :]
    if not states:
        remedy = "apply the operations to the whole sequence"
        raise ModelError("SSMC-S02", "the loop carries no state", remedy, node_name(node))
    scanned = [_sample_axes(axes, value, node)[1] for value in inputs]
    state_shapes = [_one_sample(axes, value, node) for value in states]
    body = analyse(node.attributes["body"].as_graph(), state_shapes, scanned)
    kernel = Recogniser(body, node_name(node)).recognise()
    outputs = [form.shape for form in body.outputs]
    groups = group_channels(kernel, state_shapes, scanned, outputs)
    return RaisedScan(kernel, groups, outputs, state_shapes, scanned)


def _sample_axes(axes: Axes, value: ir.Value, node: ir.Node) -> tuple[Roles, tuple[int, ...]]:
    """Roles of a scanned value and its per-step shape for one sample."""
    if str(value.name) not in axes.roles:
        fact, remedy = "the loop runs over a constant, not over the sequence", "scan the sequence"
        raise ModelError("SSMC-S03", fact, remedy, node_name(node))
    roles, shape = axes.roles[str(value.name)], axes.shapes[str(value.name)]
    if roles[0] != "T":
        raise ModelError(
            "SSMC-S03", "the loop does not run over the leading time axis", "transpose time first", node_name(node)
        )
    return roles, tuple(1 if role == "N" else size for role, size in zip(roles[1:], shape[1:], strict=True))


def _one_sample(axes: Axes, value: ir.Value, node: ir.Node) -> tuple[int, ...]:
    name = str(value.name)
    if name not in axes.roles:
        raise ModelError(
            "SSMC-S03", "an initial state has a fixed batch size", "expand it to the batch", node_name(node)
        )
    return tuple(1 if r == "N" else d for r, d in zip(axes.roles[name], axes.shapes[name], strict=True))


@dataclass(frozen=True)
class Groups:
    """Index of states (G, n), inputs (G, m) and outputs (G, p) per group."""

    states: Index
    inputs: Index
    outputs: Index


def group_channels(kernel: Recurrence, states: list[Shape], inputs: list[Shape], outputs: list[Shape]) -> Groups:
    """Channels as groups where the tensors have a common axis along which nothing mixes; else what is connected.

    One dense group where everything is, or where parts differ in size.
    """
    sizes = {int(np.prod(shape)) for shape in inputs}
    for count in sorted(sizes & {int(np.prod(shape)) for shape in outputs}, reverse=True):
        if count == 1:
            continue
        for s, u, y in product(*(_labels(shapes, count) for shapes in (states, inputs, outputs))):
            columns = np.concatenate([s, u])
            if not _mixes(kernel.W, s, columns) and not _mixes(kernel.W_y, y, columns):
                return Groups(*(np.stack([np.flatnonzero(label == g) for g in range(count)]) for label in (s, u, y)))
    return _connected(kernel)


def _connected(kernel: Recurrence) -> Groups:
    """States, inputs and outputs between which no coefficient leads, in order of their first output."""
    n, p = kernel.W.shape[0], kernel.W_y.shape[0]
    width = kernel.W.shape[1]
    rows = np.concatenate([kernel.W.rows, width + kernel.W_y.rows])
    columns = np.concatenate([kernel.W.columns, kernel.W_y.columns])
    label = _components(width + p, rows, columns)
    names, order = np.unique(label[width:], return_index=True)
    parts = [
        [np.flatnonzero(part == name) for name in names[np.argsort(order)]]
        for part in (label[:n], label[n:width], label[width:])
    ]
    counts = [{len(index) for index in part} for part in parts]
    if all(len(sizes) == 1 for sizes in counts) and all(min(sizes) for sizes in counts):
        found = Groups(*(np.stack(part) for part in parts))
        if (found.states.size, found.inputs.size) == (n, width - n):
            return found
    return Groups(np.arange(n)[None], np.arange(width - n)[None], np.arange(p)[None])


def _components(size: int, rows: Index, columns: Index) -> Index:
    """The smallest element that each of ``size`` elements is connected to."""
    label = np.arange(size)
    while True:
        before = label.copy()
        low = np.minimum(label[rows], label[columns])
        np.minimum.at(label, rows, low)
        np.minimum.at(label, columns, low)
        label = label[label]
        if np.array_equal(label, before):
            return label


def _mixes(matrix: Sparse, rows: Index, columns: Index) -> bool:
    """Whether a coefficient leads from a column to a row of another label."""
    return bool((rows[matrix.rows] != columns[matrix.columns]).any())


def by_group(matrix: Sparse, rows: Index, columns: Index) -> FloatArray:
    """The blocks (G, r, c) at ``rows`` (G, r) and ``columns`` (G, c) of a matrix that is 0 elsewhere."""
    group, row = _places(rows, matrix.shape[0])[:, matrix.rows]
    _, column = _places(columns, matrix.shape[1])[:, matrix.columns]
    blocks = np.zeros((*rows.shape, columns.shape[1]))
    blocks[group, row, column] = matrix.values
    return blocks


def _places(index: Index, size: int) -> Index:
    """Group and position within it of every element, (2, size)."""
    places = np.zeros((2, size), np.int64)
    places[:, index.ravel()] = np.indices(index.shape).reshape(2, -1)
    return places


def _labels(shapes: list[Shape], count: int) -> Iterator[Index]:
    """Group of every element, from an axis of length ``count`` of each tensor: of every choice that there is.

    Where a state has as many entries as there are channels, only the coefficients tell which axis is which. All
    tensors of one shape are cut along the same axis.
    """
    axes = {shape: [a for a, size in enumerate(shape) if size == count] for shape in shapes}
    for chosen in product(*axes.values()):
        at = dict(zip(axes, chosen, strict=True))
        labels = [np.indices(shape)[at[shape]].ravel() for shape in shapes]
        yield np.concatenate(labels)
