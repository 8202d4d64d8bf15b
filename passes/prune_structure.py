"""Remove structure that cannot change any output: dead states, constant and unread channels."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ssmc.ir.build import node_name, remove_dead
from ssmc.ir.functions import operation_of
from ssmc.ir.kernel_nodes import KernelConstants, Mask, kernel_constants, kernel_nodes, live_states, set_constants
from ssmc.ir.parts import Constants
from ssmc.ir.read_program import constants
from ssmc.ir.rounding import FloatArray, IntArray
from ssmc.pipeline import Level, Pass, PassResult

PER_STATE = ("step", "offset", "lo", "hi", "keep", "unit", "dac_lo", "dac_hi", "reg_lo", "reg_hi", "r0")


@dataclass(frozen=True)
class PruneStructure(Pass):
    """Exact structural pruning (semantics.md §1).

    A state is dead if no path leads to it from an input (its initial state and constant drive being 0) or from it to an
    output. A channel that no weight reaches is a constant and moves into the offsets that follow; a channel that
    nobody reads goes, with its kernel, table and weights.

    Before: level *folded*, kernels unfused.
    After: the same operations on fewer states and channels; where groups keep different numbers of states the
        rest are zero rows and columns, which nothing counts.
    Preserves: every output code.
    """

    name = "prune-structure"
    requires = Level.FOLDED

    def run(self, model: ir.Model) -> PassResult:
        """Prune states, fold constant channels, then drop unread channels."""
        applied = []
        for node in kernel_nodes(model.graph):
            applied += _prune_states(node, model.graph)
        applied += _fold_constant_channels(model.graph)
        applied += _drop_unread(model.graph)
        remove_dead(model.graph)
        return PassResult(model, tuple(applied))


def _prune_states(node: ir.Node, graph: ir.Graph) -> list[str]:
    k = kernel_constants(node)
    live = live_states(k)
    dead = int((~live).sum())
    if not dead:
        return []
    kept = max(int(live.sum(1).max()), 1)
    order = np.argsort(~live, axis=1, kind="stable")[:, :kept]
    on = np.take_along_axis(live, order, 1)
    n, inputs = live.shape[1], k.W.shape[2] - live.shape[1]
    columns = np.concatenate([order, np.broadcast_to(np.arange(n, n + inputs), (len(order), inputs))], 1)
    column_on = np.concatenate([on, np.ones((len(order), inputs), bool)], 1)
    new: Constants = {key: np.take_along_axis(getattr(k, key), order, 1) for key in PER_STATE}
    new |= _gains(k, order, columns)
    new["offset"], new["r0"] = new["offset"] * on, new["r0"] * on
    rows = np.take_along_axis(k.W, order[..., None], 1) * on[..., None]
    new["W"] = np.take_along_axis(rows, columns[:, None, :], 2) * column_on[:, None, :]
    new["W_y"] = np.take_along_axis(k.W_y, columns[:, None, :], 2) * column_on[:, None, :]
    if all(np.array_equal(new[key], getattr(k, key)) for key in new):
        return []
    set_constants(node, graph, new)
    return [f"{node_name(node)}: {dead} of {live.size} states"]


def _gains(k: KernelConstants, order: IntArray, columns: IntArray) -> Constants:
    """Gains of the rows ``order`` (G, kept), and of the columns where every weight has one."""
    if k.gain.ndim < k.W.ndim:
        return {"gain": np.take_along_axis(k.gain, order, 1)}
    rows = np.take_along_axis(k.gain, order[..., None], 1)
    return {
        "gain": np.take_along_axis(rows, columns[:, None, :], 2),
        "gain_y": np.take_along_axis(k.gain_y, columns[:, None, :], 2),
    }


def _fold_constant_channels(graph: ir.Graph) -> list[str]:
    """Move channels with no incoming weight into the offsets of the matrices that read them."""
    known: dict[ir.Value, FloatArray] = {}
    applied = []
    for node in graph:
        kind, c = operation_of(node.op_type), constants(node)
        source = next((known[value] for value in node.inputs if value in known), None)
        new = None if source is None else kind.absorbed(c, source)
        if source is not None and new is not None:
            set_constants(node, graph, new)
            applied.append(f"{node_name(node)}: {int((~np.isnan(source)).sum())} constant inputs")
            c = constants(node)
        codes = kind.constant_codes(c, source)
        if codes is not None:
            known[node.outputs[0]] = codes
    return applied


def _drop_unread(graph: ir.Graph) -> list[str]:
    """Keep only channels that some output depends on."""
    needed = _demand(graph)
    if all(mask.all() for mask in needed.values()):
        return []
    applied = []
    for node in graph:
        mask = needed[node.outputs[0]]
        sources = _sources(node, needed)
        if sources and not (mask.all() and needed[sources[0]].all()):
            new = operation_of(node.op_type).narrowed(constants(node), mask, needed[sources[0]])
            set_constants(node, graph, new)
        if not mask.all():
            applied.append(f"{node_name(node)}: {int((~mask).sum())} of {mask.size} channels")
    return applied


def _demand(graph: ir.Graph) -> dict[ir.Value, Mask]:
    """Channels of every value behind the input that are read, directly or not; at least one each."""
    needed = _unread(graph)
    changed = True
    while changed:
        before = {value: mask.copy() for value, mask in needed.items()}
        for node in reversed(list(graph)):
            _demand_of(node, needed)
        for mask in needed.values():
            mask[0] |= not mask.any()
        changed = any((before[value] != mask).any() for value, mask in needed.items())
    return needed


def _demand_of(node: ir.Node, needed: dict[ir.Value, Mask]) -> None:
    """Mark what one node needs, of its output and of its inputs."""
    out, sources = node.outputs[0], _sources(node, needed)
    mask, masks = operation_of(node.op_type).demand(constants(node), needed[out], [needed[value] for value in sources])
    for value, more in zip((out, *sources), (mask, *masks), strict=True):
        needed[value] |= more


def _unread(graph: ir.Graph) -> dict[ir.Value, Mask]:
    """No channel, of every node's value."""
    features = graph.inputs[0].shape
    assert features is not None
    sizes: dict[ir.Value, int] = {graph.inputs[0]: int(features[2])}  # type: ignore[arg-type]
    for node in graph:
        inputs = [sizes[value] for value in _sources(node, sizes)]
        sizes[node.outputs[0]] = operation_of(node.op_type).channels(constants(node), inputs)
    return {value: np.zeros(size, bool) for value, size in sizes.items() if value is not graph.inputs[0]}


def _sources(node: ir.Node, known: Collection[ir.Value]) -> list[ir.Value]:
    return [value for value in node.inputs if value is not None and value in known]
