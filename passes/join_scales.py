"""Weights of a kernel on one grid per column, for hardware that converts a column once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from ssmc.errors import ModelError
from ssmc.ir.build import add_constant, node_name, remove_dead, replace_value, ssmc_node
from ssmc.ir.functions import input_names
from ssmc.ir.grid import MOST_WEIGHT_BITS
from ssmc.ir.kernel_nodes import KernelConstants, kernel_constants, kernel_nodes
from ssmc.ir.matrix import weight_bits
from ssmc.ir.parts import Constants
from ssmc.ir.rounding import FloatArray, round_half_even
from ssmc.passes.stabilize_poles import unstable_modes
from ssmc.pipeline import Effect, Level, Pass, PassResult

SCALES = "Scales"


@dataclass(frozen=True)
class JoinScales(Pass):
    """Rewrite ``KernelPairScales`` to ``KernelPair``: the weights of a column are quantized again, with one scale.

    A crossbar's column is one sum of currents, converted once: A and B, or C and D, must lie on one grid there.

    Before: level *folded*, kernels unfused, parts of the columns with scales of their own.
    After: one gain per column, ``gain' = max |gain W| / (2^(bits - 1) - 1)`` and ``W' = round(gain W / gain')``, with
        the fewest bits, no fewer than the weights had, at which every mode is stable.
    Preserves: the real weights up to half a step of the common grid: BOUNDED; without such kernels the graph.
    Refuses: kernels that are stable with no width up to 16 bits (SSMC-S10).
    """

    name = "join-scales"
    effect = Effect.BOUNDED
    bound = 0.5
    requires = Level.FOLDED
    remedy = "compile for target int or c, which keep the scales apart; or train with one scale per column"

    def run(self, model: ir.Model) -> PassResult:
        """Join every kernel's scales."""
        applied = []
        for node in kernel_nodes(model.graph):
            if node.op_type.endswith(SCALES):
                bits, constants = _joined(kernel_constants(node), node_name(node))
                _replace(model.graph, node, constants)
                applied.append(f"{node_name(node)}: one scale per column, {bits} bits")
        remove_dead(model.graph)
        return PassResult(model, tuple(applied), effect=Effect.BOUNDED if applied else Effect.EXACT)


def _joined(k: KernelConstants, node: str) -> tuple[int, Constants]:
    """Width and constants of the fewest bits that are stable."""
    least = max(weight_bits(k.W.astype(np.int64)), weight_bits(k.W_y.astype(np.int64)))
    for bits in range(max(least, 2), MOST_WEIGHT_BITS + 1):
        W, gain = _on_one_grid(k.W * k.gain, bits)
        if not unstable_modes(replace(k, W=W, gain=gain)):
            W_y, gain_y = _on_one_grid(k.W_y * k.gain_y, bits)
            return bits, {"W": W, "gain": gain, "W_y": W_y, "gain_y": gain_y}
    fact = f"with one scale per column a mode has a pole of size >= 1 at every width up to {MOST_WEIGHT_BITS} bits"
    raise ModelError("SSMC-S10", fact, "compile for target int or c, which keep the scales apart", node)


def _on_one_grid(rows: FloatArray, bits: int) -> tuple[FloatArray, FloatArray]:
    """Codes (G, out, in) and gains (G, out) of real rows; a row of zeros has gain 1."""
    top = np.abs(rows).max(-1)
    gain = np.where(top > 0, top / ((1 << (bits - 1)) - 1), 1.0)
    return round_half_even(rows / gain[..., None]), gain


def _replace(graph: ir.Graph, node: ir.Node, new: Constants) -> None:
    name, old = node_name(node), node.outputs[0]
    named = zip(input_names(node.op_type), node.inputs, strict=True)
    inputs = {key: value for key, value in named if value is not None}
    inputs |= {key: add_constant(graph, f"{name}.joined.{key}", array) for key, array in new.items()}
    kind = node.op_type.removesuffix(SCALES)
    made = ssmc_node(kind, inputs, f"{old.name}.joined", name=name, extra_outputs=[f"{name}.joined.registers"])
    graph.insert_before(node, made)
    kept = str(old.name)
    replace_value(graph, old, made.outputs[0])
    graph.remove(node, safe=True)
    old.name, made.outputs[0].name = f"{kept}.apart", kept
