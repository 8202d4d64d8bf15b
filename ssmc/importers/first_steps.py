"""A Scan over the steps behind the first, ``scan(f, x[0], x[1:])``, whose first step stands in front of its outputs.

Where f(x[0], x[0]) is x[0], as of an exponentially weighted mean, that is one Scan over all steps. onnxruntime tells.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
import onnx_ir as ir

from ssmc.budgets import Budgets
from ssmc.errors import ModelError, VerificationError
from ssmc.importers.rewritten import require_same
from ssmc.ir.build import ENDLESS, carried, constant_array, is_op, remove_dead

LENGTHS = (2, 6)  # onnxruntime runs no Scan over nothing
LAYOUT = ("Transpose", "Identity")


def take_first_steps(model: ir.Model, file: onnx.ModelProto, budgets: Budgets, source: str) -> None:
    """Have such Scans walk all steps, in place; the model stays as it is where the outputs would not be the file's."""
    tried = model.clone()
    if not _widened(tried.graph):
        return
    try:
        require_same(file, tried, budgets, source, LENGTHS)
    except (ModelError, VerificationError):
        return
    _widened(model.graph)


def _widened(graph: ir.Graph) -> bool:
    """Whether there was such a Scan."""
    found = False
    for node in graph:
        if not is_op(node, "Scan"):
            continue
        cuts = [_cut(value) for value in node.inputs[carried(node) :]]
        if not cuts or any(cut is None for cut in cuts):
            continue
        found = True
        for cut in cuts:
            if cut is not None and cut.inputs[0] is not None:
                cut.outputs[0].replace_all_uses_with(cut.inputs[0])
        for out in node.outputs[carried(node) :]:
            out.shape = None
            for join, value in list(_joins(out)):
                value.shape = join.outputs[0].shape
                join.outputs[0].replace_all_uses_with(value, replace_graph_outputs=True)
    if found:
        remove_dead(graph)
    return found


def _cut(value: ir.Value | None) -> ir.Node | None:
    """The Slice that took the first step away from what a Scan reads."""
    node = None if value is None else value.producer()
    while is_op(node, *LAYOUT) and node is not None and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    if node is None or not is_op(node, "Slice"):
        return None
    given = [constant_array(number) for number in node.inputs[1:]]
    start, end, _, step, *_ = (None if g is None else int(g.ravel()[0]) for g in (*given, None, None))
    return node if start == 1 and (end or 0) >= ENDLESS and step in (None, 1) else None


def _joins(value: ir.Value) -> Iterator[tuple[ir.Node, ir.Value]]:
    """Where something of one step stands in front of a Scan's output, and the output there."""
    for use in value.uses():
        if is_op(use.node, *LAYOUT):
            use.node.outputs[0].shape = None
            yield from _joins(use.node.outputs[0])
        elif is_op(use.node, "Concat") and len(use.node.inputs) == 2 and use.idx == 1:
            yield use.node, value
