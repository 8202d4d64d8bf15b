"""Stack a kernel's two matrices into one: one crossbar operation per time step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ssmc.ir.build import add_constant, node_name, remove_dead, replace_value, ssmc_node
from ssmc.ir.functions import input_names
from ssmc.ir.kernel_nodes import kernel_nodes
from ssmc.ir.parts import Constants
from ssmc.ir.read_program import constants
from ssmc.ir.rounding import FloatArray, round_half_even
from ssmc.pipeline import Declined, Effect, Level, Pass, PassResult

PER_OUTPUT = ("W", "gain", "step", "offset", "lo", "hi")
PER_STATE = ("keep", "unit", "dac_lo", "dac_hi", "reg_lo", "reg_hi", "r0")


@dataclass(frozen=True)
class FuseKernel(Pass):
    """Rewrite ``KernelPair`` to ``Kernel``: W = [[A, B], [C, D]], [R(r); u] to [state; y] (semantics.md §1).

    Before: two matrices, one for the state rows and one for y.
    After: one matrix (``KernelScales`` for ``KernelPairScales``) where y reads the old state: EXACT. Where y reads the
        new state (``KernelPairAfter``), with ``output_lag = 0`` C' = C A, D' = C B + D on a grid of ``weight_bits``:
        exact in real arithmetic, BOUNDED with the state quantizer between; else the two operations stay and the pass
        says why.
    Preserves: every output code, where it is EXACT.

    Attributes:
        output_lag: 0 to fuse post-update outputs by rewriting them; None to leave them exact and unfused.
        weight_bits: width of the rewritten output rows.
    """

    name = "fuse-kernel"
    effect = Effect.BOUNDED
    bound = 0.5
    requires = Level.FOLDED
    level = Level.FUSED
    remedy = "leave output-lag out: two operations are exact; or raise weight_bits"

    output_lag: int | None = None
    weight_bits: int = 8

    def run(self, model: ir.Model) -> PassResult:
        """Fuse every kernel that can be."""
        applied, declined = [], []
        effect = Effect.EXACT
        for node in kernel_nodes(model.graph):
            parts = constants(node)
            if node.op_type.startswith("KernelPairAfter"):
                if self.output_lag is None:
                    declined.append(Declined(node_name(node), _WHY))
                    continue
                parts, effect = _before_update(parts, self.weight_bits), Effect.BOUNDED
            _replace(model.graph, node, parts)
            applied.append(node_name(node))
        remove_dead(model.graph)
        return PassResult(model, tuple(applied), tuple(declined), effect)


_WHY = "y reads the state after the update: two operations keep it exact; output-lag 0 would fuse it within a bound"


def _replace(graph: ir.Graph, node: ir.Node, parts: Constants) -> None:
    stacked = {key: np.concatenate([parts[key], parts[f"{key}_y"]], 1) for key in PER_OUTPUT}
    name = node_name(node)
    named = zip(input_names(node.op_type), node.inputs, strict=True)
    inputs = {key: value for key, value in named if value is not None and key in ("u", *PER_STATE)}
    inputs |= {key: add_constant(graph, f"{name}.fused.{key}", array) for key, array in stacked.items()}
    old = node.outputs[0]
    kind = "KernelScales" if node.op_type.endswith("Scales") else "Kernel"
    new = ssmc_node(kind, inputs, f"{old.name}.fused", name=name, extra_outputs=[f"{name}.fused.registers"])
    graph.insert_before(node, new)
    kept = str(old.name)
    replace_value(graph, old, new.outputs[0])
    graph.remove(node, safe=True)
    old.name, new.outputs[0].name = f"{kept}.pair", kept


def _before_update(parts: Constants, weight_bits: int) -> Constants:
    """Output rows on the old state: R(r') ~ keep R(r) + q / unit with q ~ gain (W v) / step + offset.

    C'v = sum_i c_i (keep_i R_i + (gain_i W_i v / step_i + offset_i) / unit_i) + d u, c_i = gain_y W_y[i] / 1.
    """
    separate = parts["gain"].ndim == parts["W"].ndim
    state, c = (parts[f"W{suffix}"] * _per_weight(parts[f"gain{suffix}"], separate) for suffix in ("", "_y"))
    n = parts["keep"].shape[1]
    keep = np.zeros_like(parts["W"])
    keep[:, np.arange(n), np.arange(n)] = parts["keep"]
    new_state = keep + state / (parts["step"] * parts["unit"])[..., None]
    rows = c[..., :n] @ new_state
    rows[..., n:] += c[..., n:]
    offset = parts["offset_y"] + (c[..., :n] @ (parts["offset"] / parts["unit"])[..., None])[..., 0] / parts["step_y"]
    top = (1 << (weight_bits - 1)) - 1
    gain = np.abs(rows).max(-1) / top
    gain = np.where(gain > 0, gain, 1.0)
    W: FloatArray = round_half_even(rows / gain[..., None])
    shared = np.broadcast_to(gain[..., None], W.shape) if separate else gain
    return parts | {"W_y": W, "gain_y": shared, "offset_y": offset}


def _per_weight(gain: FloatArray, separate: bool) -> FloatArray:
    return gain if separate else gain[..., None]
