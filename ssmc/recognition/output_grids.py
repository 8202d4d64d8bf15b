"""Codes for the outputs of a recurrence whose quantizers stand outside of it, or that are the states themselves."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import onnx_ir as ir

from ssmc.ir.build import constant_array, is_op
from ssmc.ir.rounding import FloatArray, IntArray
from ssmc.recognition.raised_scan import RaisedScan
from ssmc.recognition.recurrence import Recurrence

LAYOUT = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity")
Grid = tuple[FloatArray, FloatArray, FloatArray]


def with_output_grids(node: ir.Node, found: RaisedScan) -> RaisedScan:
    """Steps and ranges for outputs that have none, where each has a grid: of the quantizer that reads it, or a state's.

    A quantizer of codes on its own grid changes nothing, so that the meaning stays. One output alone that a quantizer
    reads is left to it.
    """
    kernel, sizes = found.kernel, [int(np.prod(shape)) for shape in found.output_shapes]
    if not kernel.step.all() or kernel.step_y.any():
        return found
    values = node.outputs[len(node.outputs) - len(sizes) :]
    readers = [_readers(value) for value in values]
    read = [_grid_of(nodes, size) for nodes, size in zip(readers, sizes, strict=True)]
    if len(sizes) == 1 and read[0] is not None and not any(map(_takes_last, readers[0])):
        return found
    ends = np.cumsum([0, *sizes])
    parts = [np.arange(start, stop) for start, stop in pairwise(ends)]
    grids = [grid or _of_states(kernel, rows) for grid, rows in zip(read, parts, strict=True)]
    if any(grid is None for grid in grids):
        return found
    step, lo, hi = (np.concatenate([grid[i] for grid in grids if grid is not None]) for i in range(3))
    return replace(found, kernel=replace(kernel, step_y=step, lo_y=lo, hi_y=hi))


def _readers(value: ir.Value) -> list[ir.Node]:
    """What reads an output, behind changes of layout and the last step; these too."""
    nodes, values = list[ir.Node](), [value]
    for signal in values:
        nodes += [use.node for use in signal.uses()]
        passed = [use.node for use in signal.uses() if is_op(use.node, *LAYOUT) or _takes_last(use.node)]
        values += [node.outputs[0] for node in passed]
    return nodes


def _grid_of(readers: list[ir.Node], size: int) -> Grid | None:
    """The grid of the quantizers that alone read an output; None where they differ, or others read it."""
    found = [_grid(node, size) for node in readers if is_op(node, "Quant", domain="ssmc")]
    others = [node for node in readers if not is_op(node, "Quant", domain="ssmc")]
    passed = all(is_op(node, *LAYOUT, "Shape") or _takes_last(node) for node in others)
    results = any(node.outputs[0].is_graph_output() for node in others)
    if not found or not passed or results or found[0] is None:
        return None
    return found[0] if all(g is not None and all(map(np.array_equal, g, found[0])) for g in found) else None


def _takes_last(node: ir.Node) -> bool:
    index = constant_array(node.inputs[1]) if is_op(node, "Gather") else None
    return index is not None and index.ndim == 0 and int(index) == -1


def _grid(node: ir.Node, size: int) -> Grid | None:
    """Step, lowest and highest code per channel of a quantizer that has one step."""
    step, out, lo, hi = (np.asarray(constant_array(value), np.float64) for value in node.inputs[1:])
    if step.size != 1 or not np.array_equal(step.ravel(), out.ravel()):
        return None
    return tuple(np.full(size, float(x.ravel()[0])) for x in (step, lo, hi))  # type: ignore[return-value]


def _of_states(kernel: Recurrence, rows: IntArray) -> Grid | None:
    """The grid of the states that these rows are, each one state as it is."""
    matrix = kernel.W_y.take(rows)
    if (matrix.counts != 1).any() or kernel.offset_y[rows].any() or (matrix.columns >= len(kernel.step)).any():
        return None
    state = matrix.columns
    if (matrix.values != kernel.sigma[state]).any() or (kernel.unit[state] != 1).any():
        return None
    if not (np.isfinite(kernel.reg_lo[state]).all() and np.isfinite(kernel.reg_hi[state]).all()):
        return None
    return kernel.sigma[state], kernel.reg_lo[state], kernel.reg_hi[state]
