"""What is known about a quantized state-space kernel without running it: its poles and how far they are from 1.

In units of register codes the step of `ssmc.ir.operations.StateSpace` is linear up to its roundings:

    r' = keep * r + ratio * (W_A (r / 2**shift) + W_B u)    A = diag(keep) + diag(ratio) W_A diag(2**-shift)

which holds for the direct form (keep 0, shift 0) and for the delta form (keep 1). The poles are the eigenvalues
of A of the live states per group; the kernel is stable where every one lies inside the unit circle. A state that
nothing drives (its rows of W_A and W_B are zero: pruned, or padding to the widest group) keeps its first value and
has no pole.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssmc.analysis.linear import poles, transition
from ssmc.analysis.qs4d_metrics import driven_states
from ssmc.ir.operations import StateSpace
from ssmc.ir.program import Program
from ssmc.ir.quant import bits_for

__all__ = ["KernelFacts", "kernel_facts", "poles", "transition"]
DIGITS = 4


@dataclass(frozen=True)
class KernelFacts:
    """One state-space operation.

    Attributes:
        name: of the operation.
        form: ``direct``, ``delta`` or ``mixed``.
        groups, states, inputs, outputs: H, n, m, p.
        live_states: states over all groups that something drives; the others are pruned.
        weight_bits: width of the widest matrix code.
        state_dac_bits: width of the read-out that drives the rows.
        adc_bits: width of the codes that the state columns are converted to.
        register_bits: width of the state register.
        largest_pole: largest |λ| over all groups.
        stability_margin: 1 - largest |λ|; negative means unstable.
        weakest_group: group that holds it.
        unstable_groups: groups with a pole on or outside the unit circle.
        slowest_steps: time constant -1 / ln |λ| of the slowest pole, in steps; None where it does not decay.
        poles: distinct poles (re, im) with im >= 0, to four decimals.
    """

    name: str
    form: str
    groups: int
    states: int
    inputs: int
    outputs: int
    live_states: int
    weight_bits: int
    state_dac_bits: int
    adc_bits: int
    register_bits: int
    largest_pole: float
    stability_margin: float
    weakest_group: int
    unstable_groups: int
    slowest_steps: float | None
    poles: tuple[tuple[float, float], ...]


def kernel_facts(program: Program) -> tuple[KernelFacts, ...]:
    """Facts of every state-space operation, in execution order."""
    return tuple(_facts(op) for op in program.ops if isinstance(op, StateSpace))


def _facts(op: StateSpace) -> KernelFacts:
    values = poles(op)
    radius = np.array([np.abs(group).max(initial=0.0) for group in values])
    largest = float(radius.max(initial=0.0))
    n, rows = op.n_state, op.matrix.outputs
    lo, hi = (bound.reshape(-1, rows)[:, :n] for bound in (op.requant.lo, op.requant.hi))
    return KernelFacts(
        name=op.name,
        form=op.form,
        groups=op.matrix.groups,
        states=n,
        inputs=op.n_input,
        outputs=op.n_output,
        live_states=int(driven_states(op).sum()),
        weight_bits=op.matrix.weight_bits,
        state_dac_bits=op.state_dac_bits,
        adc_bits=bits_for(int(lo.min(initial=0)), int(hi.max(initial=0))),
        register_bits=op.register_bits,
        largest_pole=round(largest, 6),
        stability_margin=round(1 - largest, 6),
        weakest_group=int(radius.argmax()),
        unstable_groups=int((radius >= 1).sum()),
        slowest_steps=round(float(-1 / np.log(largest)), 2) if 0 < largest < 1 else None,
        poles=_upper_half(np.concatenate(values)),
    )


def _upper_half(values: NDArray[np.complex128]) -> tuple[tuple[float, float], ...]:
    pairs = zip(values.real.ravel().tolist(), np.abs(values.imag).ravel().tolist(), strict=True)
    return tuple(sorted({(round(re, DIGITS) + 0.0, round(im, DIGITS) + 0.0) for re, im in pairs}))
