"""Linear operations behind a float recurrence, which read its states outside of the loop: rows of the kernel.

S5 and LRU layers stack their states and apply C to the whole sequence; without this every state would be an output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from ssmc.errors import ModelError
from ssmc.ir.affine import Affine, Operand, apply, variables
from ssmc.ir.build import constant_array, graph_of, is_op
from ssmc.ir.rounding import FloatArray
from ssmc.ir.sparse import stacked
from ssmc.recognition.axes import Axes
from ssmc.recognition.raised_scan import RaisedScan, Shape, group_channels

LINEAR = ("Add", "Sub", "Mul", "Div", "Neg", "MatMul", "Gemm", "Einsum", "ReduceSum", "Identity", "Concat", "Split",
          "Slice", "Gather", "Transpose", "Reshape", "Squeeze", "Unsqueeze")  # fmt: skip


@dataclass(frozen=True)
class ReadOuts:
    """What a kernel gives.

    Attributes:
        found: the recurrence.
        values, shapes: of the graph that it gives, in order, and their shapes for one step of one sequence.
        behind: matrix and constant that make them of the recurrence's outputs, where these are not the values.
    """

    found: RaisedScan
    values: list[ir.Value]
    shapes: list[Shape]
    behind: tuple[FloatArray, FloatArray] | None = None


def with_read_outs(node: ir.Node, found: RaisedScan, axes: Axes) -> ReadOuts:
    """The outputs of a Scan, or fewer numbers that linear operations behind it make of them.

    These are rows of the kernel where it has as many groups then; else one matrix behind all of several outputs.
    """
    values = list(node.outputs[len(node.outputs) - len(found.output_shapes) :])
    best = ReadOuts(found, values, found.output_shapes)
    if found.kernel.step.any():
        return best
    forms, inside, start = dict[ir.Value, Affine](), {node}, 0
    for value, shape in zip(values, found.output_shapes, strict=True):
        if value.uses() or value.is_graph_output():
            forms[value] = variables(_sample(value, axes), start)
        start += int(np.prod(shape))
    fewest, several = sum(len(form.constant) for form in forms.values()), len(forms) > 1
    for following in graph_of(node):
        if not any(value in forms for value in following.inputs):
            continue
        results = _applied(following, forms, axes)
        if results is None:
            continue
        forms |= results
        inside.add(following)
        given = [value for value in forms if _is_read(value, inside)]
        size = sum(len(forms[value].constant) for value in given)
        if size < fewest:
            shapes, rows = [_step(value, axes) for value in given], [forms[value] for value in given]
            made = _kernel(found, rows, shapes)
            if len(made.groups.states) == len(found.groups.states):
                best, fewest = ReadOuts(made, given, shapes), size
            elif several:
                matrix = stacked([form.matrix for form in rows]).widened(start).to_dense()
                constant = np.concatenate([form.constant for form in rows])
                best, fewest = ReadOuts(found, given, shapes, (matrix, constant)), size
    return best


def _sample(value: ir.Value, axes: Axes) -> Shape:
    """Its shape for one step of one sequence."""
    name = str(value.name)
    return tuple(1 if r in ("N", "T") else d for r, d in zip(axes.roles[name], axes.shapes[name], strict=True))


def _step(value: ir.Value, axes: Axes) -> Shape:
    """The same without the axis of time."""
    shape = zip(axes.roles[str(value.name)], _sample(value, axes), strict=True)
    return tuple(size for role, size in shape if role != "T")


def _is_read(value: ir.Value, inside: set[ir.Node]) -> bool:
    return value.is_graph_output() or any(use.node not in inside for use in value.uses())


def _applied(node: ir.Node, forms: dict[ir.Value, Affine], axes: Axes) -> dict[ir.Value, Affine] | None:
    """Forms of what a node makes, where it is linear at every step by itself."""
    operands: list[Operand | None] = [
        None if v is None else forms[v] if v in forms else constant_array(v) for v in node.inputs
    ]
    missing = any(v is not None and x is None for v, x in zip(node.inputs, operands, strict=True))
    if missing or not is_op(node, *LINEAR) or not all(_keeps_time(out, forms, axes) for out in node.outputs):
        return None
    try:
        results = apply(node, operands)
    except (ModelError, ValueError, IndexError, RuntimeError):  # a product of outputs, or what varies over time
        return None
    pairs = dict(zip(node.outputs, results, strict=True))
    whole = all(isinstance(form, Affine) and form.shape == _sample(out, axes) for out, form in pairs.items())
    return {out: form for out, form in pairs.items() if isinstance(form, Affine)} if whole else None


def _keeps_time(value: ir.Value, forms: dict[ir.Value, Affine], axes: Axes) -> bool:
    """Whether it has the batch and all the steps of what is known, each on an axis of its own."""
    first, name = str(next(iter(forms)).name), str(value.name)
    if name not in axes.roles:
        return False
    sizes = [dict(zip(axes.roles[key], axes.shapes[key], strict=True)) for key in (first, name)]
    alike = all(sizes[0].get(role) == sizes[1].get(role) for role in ("N", "T"))
    return alike and {"N", "T"} <= set(axes.roles[name])


def _kernel(found: RaisedScan, forms: Sequence[Affine], shapes: list[Shape]) -> RaisedScan:
    """The recurrence with these forms of its outputs as outputs."""
    kernel, size = found.kernel, len(found.kernel.offset_y)
    matrix = stacked([form.matrix for form in forms]).widened(size)
    constant = np.concatenate([form.constant for form in forms]) + matrix.apply(kernel.offset_y)
    free = np.full(len(constant), np.inf)
    made = replace(kernel, W_y=matrix.times(kernel.W_y), offset_y=constant, step_y=0 * constant, lo_y=-free, hi_y=free)
    groups = group_channels(made, found.state_shapes, found.input_shapes, shapes)
    return replace(found, kernel=made, groups=groups, output_shapes=shapes)
