"""Every pole of a quantized kernel lies inside the unit circle: refuse what does not, or move it there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir

from ssmc.analysis.blocks import Blocks, components
from ssmc.analysis.stable import into_circle, stable_codes
from ssmc.errors import ModelError
from ssmc.ir.build import node_name
from ssmc.ir.kernel_nodes import KernelConstants, kernel_constants, kernel_nodes, live_states, set_constants
from ssmc.ir.matrix import weight_bits
from ssmc.ir.rounding import FloatArray, IntArray
from ssmc.pipeline import Effect, Level, Pass, PassResult

Poles = Literal["refuse", "move", "keep"]
PAIR = 2
CLOSE = 1e-9
DOUBT = 1e-6  # distance to the unit circle within which every mode is looked at by itself


@dataclass(frozen=True)
class StabilizePoles(Pass):
    """Check |lambda| < 1 for every mode: the states of a group that A couples (semantics.md §1).

    In read-out units A = diag(keep) + diag(gain / (step unit)) W_A, of the states on a path from an input to an
    output; the others ``prune-structure`` removes.

    Before: level *folded*, kernels unfused.
    After: every mode is stable. With ``poles = "move"`` the codes of an unstable one, a single state or a block
        [[a, -b], [b, a]] of one scale, become a stable grid point next to where its pole meets the unit circle.
    Preserves: every code where all modes are stable, without touching the graph; else LOSSY: what an unstable filter
        computes leaves every bound with time.
    Refuses: unstable modes (SSMC-S06), with ``"move"`` those of another shape.

    Attributes:
        poles: ``refuse``, ``move``, or ``keep`` for looking at a model as it is.
    """

    name = "stabilize-poles"
    effect = Effect.LOSSY
    requires = Level.FOLDED

    poles: Poles = "refuse"

    def run(self, model: ir.Model) -> PassResult:
        """Check, and move."""
        applied: list[str] = []
        for node in kernel_nodes(model.graph) if self.poles != "keep" else ():
            k = kernel_constants(node)
            unstable = unstable_modes(k)
            if not unstable:
                continue
            W = k.W.copy()
            for group, states in unstable:
                moved = _moved(k, group, states) if self.poles == "move" else None
                if moved is None:
                    raise _unstable(node, k, group, states, self.poles)
                W[group, states[:, None], states] = moved
                applied.append(f"{node_name(node)}: group {group}, states {_listed(states)}")
            set_constants(node, model.graph, {"W": W})
        return PassResult(model, tuple(applied), effect=Effect.LOSSY if applied else Effect.EXACT)


def unstable_modes(k: KernelConstants) -> list[tuple[int, IntArray]]:
    """(group, states) of the live modes with a pole on or outside the unit circle."""
    live = live_states(k)
    A = np.where(live[:, :, None] & live[:, None, :], _transition(k), 0.0)
    coupled = (k.W[..., : live.shape[1]] != 0) & live[:, :, None] & live[:, None, :]
    blocks = Blocks.of(coupled)
    largest = np.abs(np.linalg.eigvals(blocks.square(A))).max((1, 2), initial=0.0)
    label = components(coupled)
    found = []
    for group in np.flatnonzero(~(largest < 1 - DOUBT)).tolist():
        for mode in np.unique(label[group, live[group]]).tolist():
            chosen = np.flatnonzero(live[group] & (label[group] == mode))
            if not _radius(A[group], chosen) < 1:
                found.append((group, chosen))
    return found


def _transition(k: KernelConstants) -> FloatArray:
    n = k.n_state
    return np.asarray(_scale(k)[..., None] * k.W[..., :n] + k.keep[..., None] * np.eye(n))


def _scale(k: KernelConstants) -> FloatArray:
    return np.asarray(k.state_gain / k.step / k.unit)


def _radius(A: FloatArray, states: IntArray) -> float:
    return float(np.abs(np.linalg.eigvals(A[np.ix_(states, states)])).max())


def _moved(k: KernelConstants, group: int, states: IntArray) -> FloatArray | None:
    """Stable codes of a mode, (states, states); None where it is no single state and no turning block."""
    block, scale, keep = k.W[group][np.ix_(states, states)], _scale(k)[group][states], k.keep[group][states]
    turning = len(states) == PAIR and block[0, 0] == block[1, 1] and block[0, 1] == -block[1, 0]
    if not (len(states) == 1 or turning) or np.ptp(scale) > CLOSE * scale[0] or np.ptp(keep):
        return None
    delta, limit = bool(keep[0]), (1 << (weight_bits(k.W.astype(np.int64)) - 1)) - 1
    start = into_circle(np.array([block[0, 0], block[-1, 0] if turning else 0.0]), float(scale[0]), delta)
    a, b = stable_codes(start, np.asarray(scale[0]), limit, delta)
    return np.array([[a, -b], [b, a]]) if turning else np.array([[a]])


def _unstable(node: ir.Node, k: KernelConstants, group: int, states: IntArray, poles: Poles) -> ModelError:
    radius = _radius(_transition(k)[group], states)
    fact = f"the quantized mode of group {group}, states {_listed(states)}, has a pole of size {radius:.6f} >= 1"
    remedy = "train or quantize with stable rounding"
    if poles != "move":
        remedy += ", or compile with --stabilize to move it to a stable grid point"
    return ModelError("SSMC-S06", fact, remedy, node_name(node))


def _listed(states: IntArray) -> str:
    return ", ".join(map(str, states.tolist()))
