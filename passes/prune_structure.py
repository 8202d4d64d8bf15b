"""Remove structure that cannot change any output: dead states, constant and unread channels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ssmc.ir.build import add_constant, is_op, node_name, remove_dead
from ssmc.ir.functions import input_names
from ssmc.ir.read_program import Constants, constants, real_offsets
from ssmc.ir.rounding import FloatArray, round_half_even
from ssmc.pipeline import Level, Pass, PassResult

Mask = NDArray[np.bool_]
KERNELS = ("KernelPair", "KernelPairAfter")
SAME_SIZE = ("Product", "Sum2", "Mean", "Last", "Norm")
SAME_CHANNELS = ("Table", "Product", "Sum2", "Mean", "Last")
PER_CHANNEL = ("gain", "gain_a", "gain_b", "step", "offset", "lo", "hi")


@dataclass(frozen=True)
class PruneStructure(Pass):
    """Exact structural pruning (DESIGN §2).

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
        for node in list(model.graph):
            if is_op(node, *KERNELS, domain="ssmc"):
                applied += _prune_states(node, model.graph)
        applied += _fold_constant_channels(model.graph)
        applied += _drop_unread(model.graph)
        remove_dead(model.graph)
        return PassResult(model, tuple(applied))


def set_constants(node: ir.Node, graph: ir.Graph, new: Constants) -> None:
    """Replace constant inputs of a node."""
    for index, key in enumerate(input_names(node.op_type)):
        if key in new:
            dtype = np.int64 if node.op_type == "Slice" else np.float64
            node.replace_input_with(index, add_constant(graph, f"{node_name(node)}.pruned.{key}", new[key], dtype))


def _prune_states(node: ir.Node, graph: ir.Graph) -> list[str]:
    c = constants(node)
    live = live_states(c)
    dead = int((~live).sum())
    if not dead:
        return []
    kept = max(int(live.sum(1).max()), 1)
    order = np.argsort(~live, axis=1, kind="stable")[:, :kept]
    on = np.take_along_axis(live, order, 1)
    n, inputs = live.shape[1], c["W"].shape[2] - live.shape[1]
    columns = np.concatenate([order, np.broadcast_to(np.arange(n, n + inputs), (len(order), inputs))], 1)
    column_on = np.concatenate([on, np.ones((len(order), inputs), bool)], 1)
    new: Constants = {}
    for key in ("gain", "step", "offset", "lo", "hi", "keep", "unit", "dac_lo", "dac_hi", "reg_lo", "reg_hi", "r0"):
        new[key] = np.take_along_axis(c[key], order, 1)
    new["offset"], new["r0"] = new["offset"] * on, new["r0"] * on
    rows = np.take_along_axis(c["W"], order[..., None], 1) * on[..., None]
    new["W"] = np.take_along_axis(rows, columns[:, None, :], 2) * column_on[:, None, :]
    new["W_y"] = np.take_along_axis(c["W_y"], columns[:, None, :], 2) * column_on[:, None, :]
    if all(np.array_equal(new[key], c[key]) for key in new):
        return []
    set_constants(node, graph, new)
    return [f"{node_name(node)}: {dead} of {live.size} states"]


def live_states(c: Constants) -> Mask:
    """States (G, n) on a path from an input to an output."""
    n = c["keep"].shape[1]
    between = c["W"][..., :n] != 0
    driven = (c["W"][..., n:] != 0).any(-1) | (c["r0"] != 0) | _moves_at_rest(c)
    read = (c["W_y"][..., :n] != 0).any(1)
    return np.logical_and(_closure(driven, between), _closure(read, between.swapaxes(1, 2)))


def _moves_at_rest(c: Constants) -> Mask:
    """States that leave 0 by a constant drive, or by a range without 0."""
    increment = np.clip(round_half_even(c["offset"]), c["lo"], c["hi"])
    resting = (increment, np.clip(0, c["dac_lo"], c["dac_hi"]), np.clip(0, c["reg_lo"], c["reg_hi"]))
    return np.asarray(np.any([codes != 0 for codes in resting], axis=0), np.bool_)


def _closure(seed: Mask, edges: Mask) -> Mask:
    """States reached from ``seed`` (G, n) along ``edges`` (G, to, from)."""
    reached = seed
    for _ in range(seed.shape[1]):
        grown = reached | (edges & reached[:, None, :]).any(-1)
        if (grown == reached).all():
            break
        reached = grown
    return reached


def _fold_constant_channels(graph: ir.Graph) -> list[str]:
    """Move channels with no incoming weight into the offsets of the matrices that read them."""
    known: dict[ir.Value, FloatArray] = {}
    applied = []
    for node in graph:
        c = constants(node)
        source = node.inputs[0]
        assert source is not None
        if node.op_type == "Linear":
            if source in known and _absorb(node, graph, c, known[source]):
                applied.append(f"{node_name(node)}: {int((~np.isnan(known[source])).sum())} constant inputs")
                c = constants(node)
            codes = np.clip(round_half_even(c["offset"]), c["lo"], c["hi"]) * np.ones(len(c["W"]))
            codes[c["W"].any(1)] = np.nan
            known[node.outputs[0]] = codes
        elif is_op(node, *KERNELS, domain="ssmc"):
            codes = np.clip(round_half_even(c["offset_y"]), c["lo_y"], c["hi_y"]) * np.ones(c["W_y"].shape[:2])
            known[node.outputs[0]] = np.where(c["W_y"].any(-1), np.nan, codes).ravel()
        elif node.op_type == "Table" and source in known:
            known[node.outputs[0]] = _through_table(known[source], c)
        elif node.op_type == "Slice" and source in known:
            known[node.outputs[0]] = known[source][int(c["start"][0]) : int(c["stop"][0])]
    return applied


def _through_table(codes: FloatArray, c: Constants) -> FloatArray:
    fixed = ~np.isnan(codes)
    index = np.where(fixed, codes - c["lo"], 0).astype(np.int64)
    row = np.arange(len(codes)) if len(c["table"]) > 1 else np.zeros(len(codes), np.int64)
    return np.where(fixed, c["table"][row, index], np.nan)


def _absorb(node: ir.Node, graph: ir.Graph, c: Constants, codes: FloatArray) -> bool:
    fixed = ~np.isnan(codes) & c["W"].any(0)
    if not fixed.any():
        return False
    moved = c["W"][:, fixed] @ codes[fixed]
    W = c["W"].copy()
    W[:, fixed] = 0
    set_constants(node, graph, {"W": W, "offset": _added(c, moved)})
    return True


def _added(c: Constants, moved: FloatArray) -> FloatArray:
    """The offset plus accumulators ``moved``, summed before the division, so that a tie stays one."""
    real = real_offsets(c["offset"], c["step"])
    apart = c["offset"] + c["gain"] * moved / c["step"]
    return np.where(np.isnan(real), apart, (real + c["gain"] * moved) / c["step"])


def _drop_unread(graph: ir.Graph) -> list[str]:
    """Keep only channels that some output depends on."""
    needed = _demand(graph)
    if all(mask.all() for mask in needed.values()):
        return []
    applied = []
    for node in graph:
        mask = needed.get(node.outputs[0])
        source = node.inputs[0]
        if mask is None or source is None:
            continue
        _narrow(node, graph, mask, needed.get(source))
        if not mask.all():
            applied.append(f"{node_name(node)}: {int((~mask).sum())} of {mask.size} channels")
    return applied


def _demand(graph: ir.Graph) -> dict[ir.Value, Mask]:
    """Channels of every code value that are read, directly or not; at least one each."""
    sizes = _sizes(graph)
    needed = {value: np.zeros(size, bool) for value, size in sizes.items()}
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
    sources = [value for value in node.inputs if value in needed]
    out = needed.get(node.outputs[0])
    c = constants(node)
    if node.op_type == "Dequantize":
        needed[sources[0]][:] = True
    elif out is None:
        return
    elif node.op_type in ("Quantize", "Ids", "Norm"):  # a norm reads and counts all its channels
        out[:] = True
        for value in sources:
            needed[value][:] = True
    elif node.op_type == "Linear":
        needed[sources[0]] |= c["W"][out].any(0)
    elif node.op_type == "Slice":
        inside = slice(int(c["start"][0]), int(c["stop"][0]))
        out |= needed[sources[0]][inside]
        needed[sources[0]][inside] |= out
    elif node.op_type == "Table" and out.size != needed[sources[0]].size:  # an embedding: many channels of one id
        needed[sources[0]][:] = True
    elif node.op_type in SAME_CHANNELS:
        for value in sources:
            out |= needed[value]
        for value in sources:
            needed[value] |= out
    else:
        groups = len(c["keep"])
        used = out.reshape(groups, -1).any(1) | needed[sources[0]].reshape(groups, -1).any(1)
        out |= np.repeat(used, out.size // groups)
        needed[sources[0]] |= np.repeat(used, needed[sources[0]].size // groups)


def _sizes(graph: ir.Graph) -> dict[ir.Value, int]:
    sizes: dict[ir.Value, int] = {}
    for node in graph:
        c, source = constants(node), node.inputs[0]
        out = node.outputs[0]
        match node.op_type:
            case "Quantize":
                assert source is not None
                assert source.shape is not None
                sizes[out] = int(source.shape[2])  # type: ignore[arg-type]
            case "Linear":
                sizes[out] = len(c["W"])
            case "Slice":
                sizes[out] = int(c["stop"][0] - c["start"][0])
            case "Ids":
                sizes[out] = 1
            case "Table":
                assert source is not None
                sizes[out] = max(sizes[source], len(c["table"]))
            case "Dequantize":
                pass
            case op if op in SAME_SIZE:
                assert source is not None
                sizes[out] = sizes[source]
            case _:
                sizes[out] = c["W_y"].shape[0] * c["W_y"].shape[1]
    return sizes


def _narrow(node: ir.Node, graph: ir.Graph, out: Mask, source: Mask | None) -> None:
    c = constants(node)
    if source is None or (out.all() and source.all()):
        return
    new: Constants = {}
    if node.op_type == "Slice":
        start, stop = int(c["start"][0]), int(c["stop"][0])
        first = int(source[:start].sum())
        new = {"start": np.array([first]), "stop": np.array([first + int(source[start:stop].sum())])}
    elif is_op(node, *KERNELS, domain="ssmc"):
        groups = out.reshape(len(c["keep"]), -1).any(1)
        new = {key: array[groups] for key, array in c.items()}
    else:
        new = {key: c[key][out] for key in PER_CHANNEL if key in c and c[key].shape == out.shape}
        if node.op_type == "Linear":
            new["W"] = c["W"][out][:, source]
        if node.op_type == "Table" and len(c["table"]) > 1:
            new["table"] = c["table"][out]
    set_constants(node, graph, new)
