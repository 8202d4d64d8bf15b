"""Give the increments of a delta kernel the fewest converter bits that reach a signal-to-noise ratio."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ssmc.analysis.kernels import KernelAnalysis, adc_bits, analyse
from ssmc.ir.build import node_name
from ssmc.ir.kernel_nodes import KernelConstants, kernel_constants, kernel_nodes, set_constants
from ssmc.ir.operations import StateSpace
from ssmc.ir.parts import Constants
from ssmc.ir.read_program import read_program
from ssmc.ir.rounding import FloatArray
from ssmc.pipeline import Declined, Effect, Level, Pass, PassResult

MARGIN, COARSEST = 4.0, 0.25
SCALED = ("lo", "hi", "reg_lo", "reg_hi", "r0")


@dataclass(frozen=True)
class AllocateAdcBits(Pass):
    """Coarser increments where the predicted ratio (`ssmc.analysis`, white input) stays at or above ``target_db``.

    k bits fewer: ``step 2^k``, ``unit / 2^k``, and codes, register and their ranges divided by 2^k. The register counts
    coarser increments, R and with it every weight and every pole stay what they are.

    Before: level *folded*, kernels unfused.
    After: in every group the state rows convert with the fewest bits, at most as many less as the read-out's shift is
        wide. Output rows, and the states of the direct form, whose codes are the trained read-out, stay: declined.
    Preserves: the linear part; BOUNDED by what the ratio leaves to the increments' rounding (`bound_of`). Without
        ``target_db`` the graph.

    Attributes:
        target_db: predicted signal to quantization noise that every output is to reach; None: leave all bits.
    """

    name = "allocate-adc-bits"
    effect = Effect.BOUNDED
    requires = Level.FOLDED
    remedy = "raise the SQNR that the increments are to keep, or leave it out"

    target_db: float | None = None

    def run(self, model: ir.Model) -> PassResult:
        """Analyse every kernel and coarsen it."""
        if self.target_db is None:
            return PassResult(model, effect=Effect.EXACT)
        program = read_program(model)
        kernels = {op.name: op for op in program.ops if isinstance(op, StateSpace)}
        applied, declined = [], []
        for node in kernel_nodes(model.graph):
            op, k, name = kernels[node_name(node)], kernel_constants(node), node_name(node)
            less, why = fewer_bits(analyse(program, op, None, self.target_db), k, adc_bits(op))
            declined += [Declined(f"{name} group {group}", reason) for group, reason in why]
            if less.any():
                set_constants(node, model.graph, coarser(k, less))
                applied.append(f"{name}: {less.max():.0f} bits less at most, {less.mean():.2f} on average")
        effect = Effect.BOUNDED if applied else Effect.EXACT
        return PassResult(model, tuple(applied), tuple(declined), effect, bound_of(self.target_db))


def bound_of(target_db: float) -> float:
    """How far the output may move where every kernel keeps ``target_db``: ``MARGIN 10^(-target_db / 20)``.

    The margin is for two noises, that of the wider increments and that of the coarser, and for inputs that are not as
    loud as those of the prediction. Below `COARSEST` lie flips of the output's own codes, at 1 there is no output left.
    """
    return min(max(MARGIN * float(10.0 ** (-target_db / 20)), COARSEST), 1.0)


def fewer_bits(found: KernelAnalysis, k: KernelConstants, bits: int) -> tuple[FloatArray, list[tuple[int, str]]]:
    """Bits to take away per group (G,), and (group, reason) where none can be."""
    less, why = np.zeros(len(k.keep)), []
    for group, facts in enumerate(found.channels):
        room = float(np.log2(k.unit[group]).min(initial=np.inf, where=k.keep[group] == 1))
        if not (k.keep[group] == 1).all():
            why.append((group, "a direct state's code is its trained read-out"))
        elif facts.adc_bits is None:
            why.append((group, facts.why or "no width up to 16 bits reaches the target"))
        else:
            less[group] = max(min(bits - facts.adc_bits, room, bits - 1), 0)
    return less, why


def coarser(k: KernelConstants, less: FloatArray) -> Constants:
    """The constants of kernels with ``less`` (G,) bits fewer; ranges shrink towards 0, so nothing new overflows."""
    factor = np.exp2(less)[:, None]
    new = {key: np.trunc(getattr(k, key) / factor) for key in SCALED}
    return new | {"step": k.step * factor, "unit": k.unit / factor, "offset": k.offset / factor}
