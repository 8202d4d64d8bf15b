"""Several inputs of a model that takes one step, besides its states, as the columns of one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ssmc.errors import ModelError
from ssmc.importers.inputs import Parts
from ssmc.importers.pairing import Shapes
from ssmc.ir.build import add_constant, is_op


def join_inputs(graph: ir.Graph, xs: Sequence[ir.Value], shapes: Shapes) -> tuple[Shapes, Parts]:
    """One input (batch, features) in the place of ``xs``: in the order of the Concat that joins them, else as they are.

    Returns:
        The shapes with those of the new values, and whose columns are whose.

    Raises:
        ModelError: SSMC-M14 where one of them is not of real numbers, (batch, features).
    """
    for x in xs:
        if x.dtype is not ir.DataType.FLOAT or len(shapes[str(x.name)]) != 2:
            fact = f"of {len(xs)} inputs besides the states it is none of real numbers (batch, features)"
            raise ModelError("SSMC-M14", fact, "name every state with --state IN:OUT, or join the inputs", str(x.name))
    join = _concat(xs)
    ordered = list(xs) if join is None else [value for value in join.inputs if value is not None]
    sizes = [shapes[str(x.name)][1] for x in ordered]
    taken = {str(value.name) for value in graph.inputs} | set(shapes)
    name = next(n for n in ("inputs", *(f"inputs.{i}" for i in range(len(taken) + 1))) if n not in taken)
    batch = ordered[0].shape[0] if ordered[0].shape is not None else None
    joined = ir.val(name, dtype=ir.DataType.FLOAT, shape=ir.Shape([batch, sum(sizes)]))
    new = {name: (*shapes[str(ordered[0].name)][:1], sum(sizes))}
    if join is None:
        new |= _taken_apart(graph, joined, ordered, sizes, new[name][0])
    else:
        join.outputs[0].replace_all_uses_with(joined)
        graph.remove(join, safe=True)
    others = [value for value in graph.inputs if value not in xs]
    graph.inputs.clear()
    graph.inputs.extend([joined, *others])
    return {**shapes, **new}, tuple((str(x.name), size) for x, size in zip(ordered, sizes, strict=True))


def _concat(xs: Sequence[ir.Value]) -> ir.Node | None:
    """The Concat of features that alone reads these values, each once."""
    readers = {use.node for x in xs for use in x.uses()}
    node = readers.pop() if len(readers) == 1 else None
    if node is None or not is_op(node, "Concat") or node.outputs[0].is_graph_output():
        return None
    alone = len(node.inputs) == len(xs) and set(node.inputs) == set(xs)
    return node if alone and node.attributes["axis"].as_int() in (1, -1) else None


def _taken_apart(
    graph: ir.Graph, joined: ir.Value, xs: Sequence[ir.Value], sizes: list[int], batch: int
) -> dict[str, tuple[int, ...]]:
    """What reads the inputs reads parts of the joined one; the parts' shapes."""
    lengths = add_constant(graph, f"{joined.name}.sizes", sizes, np.int64)
    split = ir.node("Split", [joined, lengths], {"axis": 1}, num_outputs=len(xs), name=f"{joined.name}.split")
    graph.insert_before(graph[0], split)
    for x, part in zip(xs, split.outputs, strict=True):
        part.name, part.type, part.shape = f"{x.name}.part", x.type, x.shape
        x.replace_all_uses_with(part)
    return {str(part.name): (batch, size) for part, size in zip(split.outputs, sizes, strict=True)}
