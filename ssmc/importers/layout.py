"""Which axis of the input is batch, which time: whatever the model's layout, ours is (batch, time, features).

Axes that a model does not declare dynamic may still be free: onnxruntime tells, by running it at another size. Of the
two free axes the one that a recurrence walks is time; without a recurrence the batch comes first.
"""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import onnx
import onnx.shape_inference
import onnx_ir as ir

from ssmc.budgets import Budgets
from ssmc.errors import ModelError
from ssmc.importers.protos import every_graph
from ssmc.importers.zero_starts import expand_zero_starts
from ssmc.ir.build import add_constant, is_op, known_shape, required
from ssmc.trial import LimitedSession, require_any_length, shape_of
from ssmc.verify import show

NAMES = ("batch", "time")
SIZES = (3, 5)
MORE = ((4, 5), (3, 7))
FREE = 4  # of an axis that is dynamic already; no other size may look like it
IDS = (onnx.TensorProto.INT32, onnx.TensorProto.INT64)  # (batch, time) or (batch, time, 1)
Shapes = dict[str, tuple[int, ...]]


def relaxed(proto: onnx.ModelProto, budgets: Budgets, source: str) -> onnx.ModelProto:
    """The model with two dynamic axes, where it declares fewer but onnxruntime runs it at other sizes.

    Raises:
        ModelError: SSMC-M08 where a size is built in, SSMC-T05 where it takes some numbers of steps only.
        UsageError: SSMC-U07 where a run takes more seconds of CPU than the budget.
    """
    sizes = _declared(proto)
    fixed = [axis for axis, size in enumerate(sizes) if size]
    missing = 2 - (len(sizes) - len(fixed))
    kind = proto.graph.input[0].type.tensor_type.elem_type
    laid_out = (
        len(sizes) == 3 if kind == onnx.TensorProto.FLOAT else kind in IDS and len(sizes) == 2 + (sizes[2:] == [1])
    )
    if len(proto.graph.input) != 1 or missing < 1 or not laid_out:
        return proto
    reasons = {}
    for axes in combinations(fixed, missing):
        model = _freed(proto, axes)
        reasons[axes] = _refusal(model, sizes, axes, budgets, source)
        if not reasons[axes]:
            return model
    axes, reason = next(iter(reasons.items()))
    require_any_length(ir.from_proto(_freed(proto, axes)), budgets, source)
    fact = f"axis {axes[-1]} of the input is fixed at {sizes[axes[-1]]}, and another size does not run ({reason[:160]})"
    remedy = "export with batch and time dynamic (dynamic_shapes), and a loop over time as Scan"
    raise ModelError("SSMC-M08", fact, remedy, proto.graph.input[0].name)


def _declared(proto: onnx.ModelProto) -> list[int]:
    """Sizes of the first input's axes, 0 where they are dynamic."""
    return [dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim]


def _freed(proto: onnx.ModelProto, axes: tuple[int, ...]) -> onnx.ModelProto:
    """The model with these axes of its input dynamic, and other shapes inferred anew."""
    model = onnx.ModelProto()
    model.CopyFrom(proto)
    dims = model.graph.input[0].type.tensor_type.shape.dim
    expand_zero_starts(model.graph, {axis: dims[axis].dim_value for axis in axes})
    for axis in axes:
        dims[axis].dim_param = next(n for n in (*NAMES, "free") if all(d.dim_param != n for d in dims))
    del model.graph.value_info[:]
    for output in model.graph.output:
        for dim in output.type.tensor_type.shape.dim:
            dim.Clear()
    for body in [graph for graph in every_graph(model) if graph is not model.graph]:
        del body.value_info[:]
        for value in (*body.input, *body.output):
            for dim in value.type.tensor_type.shape.dim:
                dim.Clear()
    return onnx.shape_inference.infer_shapes(model)


def _refusal(model: onnx.ModelProto, sizes: list[int], axes: tuple[int, ...], budgets: Budgets, source: str) -> str:
    """Why the model does not run at other sizes of these axes; empty where it does, and nothing else changes."""
    given, session = model.graph.input[0], None
    dtype = onnx.helper.tensor_dtype_to_np_dtype(given.type.tensor_type.elem_type)
    shapes, taken = [], []
    for change in (0, 3, -1):
        shape = [max((size or FREE) + change * (axis in axes), 1) for axis, size in enumerate(sizes)]
        try:
            session = session or LimitedSession(model, budgets, source)
            shapes.append(shape_of(session.run({given.name: np.zeros(shape, dtype)})[0]))
        except ModelError as error:
            return error.fact.removeprefix("onnxruntime cannot run the model: ")
        taken.append(shape)
    follows = {tuple(shape[axis] for shape in taken) for axis in axes}
    moved = [lengths for lengths in zip(*shapes, strict=True) if len(set(lengths)) > 1]
    return "" if all(lengths in follows for lengths in moved) else f"its output becomes {moved}"


def to_batch_time_features(model: ir.Model, budgets: Budgets, source: str) -> None:
    """Have the model read (batch, time, features) and write (batch, time, size), by a Transpose at each end.

    Raises:
        UsageError: SSMC-U07 where a run takes more seconds of CPU than the budget.
    """
    given, output = model.graph.inputs[0], model.graph.outputs[0]
    if given.dtype is not ir.DataType.FLOAT or given.shape is None or len(given.shape) != 3:
        return
    free = [axis for axis, dim in enumerate(given.shape) if not isinstance(dim, int)]
    walked = _walked(model)
    if len(free) != 2 or (not walked and free == [0, 1]):
        return
    limits = budgets, source
    base, first, second = _measured(model, free, [str(output.name), *(name for name, _ in walked)], limits)
    time_first = any(first[name][axis] != base[name][axis] for name, axis in walked)
    batch, time = free[::-1] if time_first else free
    changed = (second, first) if time_first else (first, second)
    name = str(output.name)
    roles = ["".join("NT"[i] for i, c in enumerate(changed) if c[name][axis] != size) or "C"
             for axis, size in enumerate(base[name])]  # fmt: skip
    if (order := [batch, time, 3 - batch - time]) != [0, 1, 2]:
        _transpose_input(model, order)
    if sorted(roles) == ["C", "N", "T"] and roles != ["N", "T", "C"]:
        _transpose_output(model, [roles.index(role) for role in "NTC"])


def to_one_axis_of_features(model: ir.Model) -> None:
    """A result of several axes of features, which come last, has them side by side in one."""
    graph, old = model.graph, model.graph.outputs[0]
    dims = () if old.shape is None else old.shape.dims
    sizes = [dim for dim in dims if isinstance(dim, int)]
    free = len(dims) - len(sizes)
    if free not in (1, 2) or len(sizes) < 2 or list(dims[free:]) != sizes:
        return
    shape = add_constant(graph, f"{old.name}.shape", [*(0 for _ in range(free)), -1], np.int64)
    node = ir.node("Reshape", [old, shape], name=f"{old.name}.flat")
    _new_output(graph, node, ir.Shape([*dims[:free], math.prod(sizes)]))


def _walked(model: ir.Model) -> list[tuple[str, int]]:
    """Names of what recurrences scan, and the axis that they walk."""
    found = []
    for node in model.graph:
        if is_op(node, "Scan"):
            count, axes = node.attributes["num_scan_inputs"].as_int(), node.attributes.get("scan_input_axes")
            for index in range(count):
                found.append((str(required(node, index - count).name), axes.as_ints()[index] if axes else 0))
    return found


def _measured(model: ir.Model, free: list[int], names: list[str], limits: tuple[Budgets, str]) -> list[Shapes]:
    """Shapes of named values at base size, with the first free axis longer, and with the second."""
    proto = ir.to_proto(model)
    given = str(model.graph.inputs[0].name)
    wanted = [name for name in dict.fromkeys(names) if name != given]
    show(proto, wanted)
    session, dims = LimitedSession(proto, *limits), list(known_shape(model.graph.inputs[0]))
    measured = []
    for sizes in (SIZES, *MORE):
        shape = [sizes[free.index(axis)] if axis in free else int(dims[axis]) for axis in range(3)]  # type: ignore[arg-type]
        results = session.run({given: np.zeros(shape, np.float32)}, wanted)
        measured.append({given: tuple(shape)} | {n: shape_of(out) for n, out in zip(wanted, results, strict=True)})
    return measured


def _transpose_input(model: ir.Model, order: list[int]) -> None:
    """A new input, whose axes are the old one's in ``order``."""
    graph, old = model.graph, model.graph.inputs[0]
    name, dims = str(old.name), known_shape(old).dims
    new = ir.val(name, dtype=old.dtype, shape=ir.Shape([dims[axis] for axis in order]))
    turned = ir.val(f"{name}.turned", dtype=old.dtype, shape=old.shape)
    node = ir.node("Transpose", [new], {"perm": [order.index(axis) for axis in range(3)]}, outputs=[turned])
    old.replace_all_uses_with(turned)
    old.name = f"{name}.old"
    graph.inputs[0] = new
    graph.insert_before(graph[0], node)


def _transpose_output(model: ir.Model, order: list[int]) -> None:
    """The output with its axes in ``order``, under its name."""
    graph, old = model.graph, model.graph.outputs[0]
    node = ir.node("Transpose", [old], {"perm": order}, name=f"{old.name}.turned")
    same = old.shape is not None and len(old.shape) == len(order)  # a file may say another rank than the output has
    _new_output(graph, node, ir.Shape([known_shape(old).dims[axis] for axis in order]) if same else None)


def _new_output(graph: ir.Graph, node: ir.Node, shape: ir.Shape | None) -> None:
    """What a new node makes of the output in its place, under its name."""
    old, new = graph.outputs[0], node.outputs[0]
    new.type, new.shape = old.type, shape
    graph.append(node)
    name = str(old.name)
    old.name = f"{name}.turned_from"
    graph.outputs[0] = new
    new.name = name
