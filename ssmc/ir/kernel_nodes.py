"""Unfused state-space kernels of a code graph: their nodes, their constants by name, and which states matter."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ssmc.ir.build import add_constant, constant_dtype, is_op, node_name
from ssmc.ir.connectivity import on_paths
from ssmc.ir.functions import input_names
from ssmc.ir.parts import Constants
from ssmc.ir.read_program import constants
from ssmc.ir.rounding import FloatArray, round_half_even

Mask = NDArray[np.bool_]
KERNELS = ("KernelPair", "KernelPairAfter", "KernelPairScales", "KernelPairAfterScales")


@dataclass(frozen=True)
class KernelConstants:
    """Constants of a ``KernelPair`` or ``KernelPairAfter`` node; G groups of n states, m inputs, p outputs.

    docs/ops.md has the equations. In the ``Scales`` variants gain and gain_y have the shapes of W and W_y; columns of
    states share one in every row.

    Attributes:
        W: (G, n, n + m), integers.
        gain, step, offset, lo, hi: (G, n), of the state rows.
        W_y: (G, p, n + m), integers.
        gain_y, step_y, offset_y, lo_y, hi_y: (G, p), of the output rows.
        keep, unit, dac_lo, dac_hi, reg_lo, reg_hi, r0: (G, n), of the registers.
    """

    W: FloatArray
    gain: FloatArray
    step: FloatArray
    offset: FloatArray
    lo: FloatArray
    hi: FloatArray
    W_y: FloatArray
    gain_y: FloatArray
    step_y: FloatArray
    offset_y: FloatArray
    lo_y: FloatArray
    hi_y: FloatArray
    keep: FloatArray
    unit: FloatArray
    dac_lo: FloatArray
    dac_hi: FloatArray
    reg_lo: FloatArray
    reg_hi: FloatArray
    r0: FloatArray

    @property
    def state_gain(self) -> FloatArray:
        """Gain of the weights of A, (G, n)."""
        return self.gain if self.gain.ndim == self.keep.ndim else self.gain[..., 0]

    @property
    def n_state(self) -> int:
        """States per group, n."""
        return int(self.keep.shape[1])


def kernel_nodes(graph: ir.Graph) -> list[ir.Node]:
    """The unfused kernels of a graph at level *folded*."""
    return [node for node in graph if is_op(node, *KERNELS, domain="ssmc")]


def kernel_constants(node: ir.Node) -> KernelConstants:
    """The constants of one of `kernel_nodes`."""
    c = constants(node)
    return KernelConstants(**{field.name: c[field.name] for field in fields(KernelConstants)})


def set_constants(node: ir.Node, graph: ir.Graph, new: Constants) -> None:
    """Replace constant inputs of a node, a kernel or another, by their names in its function."""
    for index, key in enumerate(input_names(node.op_type)):
        if key in new:
            dtype = constant_dtype(node.op_type, key)
            node.replace_input_with(index, add_constant(graph, f"{node_name(node)}.pruned.{key}", new[key], dtype))


def live_states(k: KernelConstants) -> Mask:
    """States (G, n) on a path from an input to an output."""
    n = k.n_state
    between = k.W[..., :n] != 0
    driven = (k.W[..., n:] != 0).any(-1) | (k.r0 != 0) | _moves_at_rest(k)
    read = (k.W_y[..., :n] != 0).any(1)
    return on_paths(between, driven, read)


def _moves_at_rest(k: KernelConstants) -> Mask:
    """States that leave 0 by a constant drive, or by a range without 0."""
    increment = np.clip(round_half_even(k.offset), k.lo, k.hi)
    resting = (increment, np.clip(0, k.dac_lo, k.dac_hi), np.clip(0, k.reg_lo, k.reg_hi))
    return np.asarray(np.any([codes != 0 for codes in resting], axis=0), np.bool_)
