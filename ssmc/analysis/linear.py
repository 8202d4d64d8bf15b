"""A quantized kernel as a linear system with an error at every rounding.

In codes, R the read-out, ``rho`` and ``beta`` ratio and bias of the requantizations (`ssmc.ir.operations.StateSpace`):

    R  = 2^-shift r + e_R                               e_R: read-out, in DAC codes
    r' = keep r + rho (W_ss R + W_su u) + beta + e_q    e_q: ADC of the state rows, in register codes
    y  = rho_y (W_ys R + W_yu u) + beta_y + e_y         e_y: ADC of the output rows, in output codes

that is, as long as nothing saturates,

    r' = A r + B u + beta + G e_R + e_q                 A = diag(keep) + G diag(2^-shift),  G = diag(rho) W_ss
    y  = C r + D u + beta_y + F e_R + e_y               C = F diag(2^-shift),               F = diag(rho_y) W_ys

In direct form shift is 0 and R = r has no error; e_q is the error of the state quantizer. Where y reads the new state
(``after``), r and e_R of the second line are those after the update.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssmc.analysis.blocks import Blocks
from ssmc.analysis.modes import Modes, modes_of
from ssmc.analysis.qs4d_metrics import driven_states
from ssmc.ir.matrix import Matrix
from ssmc.ir.operations import StateSpace
from ssmc.ir.requant import Requant
from ssmc.ir.rounding import FloatArray, IntArray


@dataclass(frozen=True)
class Limits:
    """Smallest and largest code of a quantizer, each (H, quantizers)."""

    lo: FloatArray
    hi: FloatArray

    def part(self, groups: slice | IntArray) -> Limits:
        """Those of some of the groups."""
        return Limits(self.lo[groups], self.hi[groups])


@dataclass(frozen=True)
class LinearKernel:
    """The matrices above for H groups of n states, m inputs, p outputs.

    Attributes:
        A, G: (H, n, n). B: (H, n, m). C, F: (H, p, n). D: (H, p, m).
        bias_state, bias_output: beta (H, n) and beta_y (H, p).
        inverse: 2^-shift, (H, n).
        readout_power, state_power, output_power: variance of e_R, e_q (H, n) and e_y (H, p), in squared codes, of a
            signal that visits all residues alike.
        dac, register, adc_state, adc_output: code ranges.
        after: y reads the new state.
    """

    A: FloatArray
    B: FloatArray
    C: FloatArray
    D: FloatArray
    G: FloatArray
    F: FloatArray
    bias_state: FloatArray
    bias_output: FloatArray
    inverse: FloatArray
    readout_power: FloatArray
    state_power: FloatArray
    output_power: FloatArray
    dac: Limits
    register: Limits
    adc_state: Limits
    adc_output: Limits
    after: bool

    @cached_property
    def blocks(self) -> Blocks:
        """States that act on each other, block by block: A and G are block diagonal in them."""
        return Blocks.of((self.A != 0) | (self.G != 0))

    @cached_property
    def modes(self) -> Modes:
        """Eigenvalues and eigenvectors of the blocks of A."""
        return modes_of(self.blocks.square(self.A))

    def part(self, groups: slice | IntArray) -> LinearKernel:
        """Some of the groups."""

        def chosen(value: FloatArray | Limits | bool) -> Any:
            if isinstance(value, Limits):
                return value.part(groups)
            return value if isinstance(value, bool) else value[groups]

        return LinearKernel(**{field.name: chosen(getattr(self, field.name)) for field in fields(self)})


def in_blocks(kernel: LinearKernel, start: FloatArray) -> tuple[LinearKernel, FloatArray]:
    """The kernel with its states, and their first registers ``start`` (H, n), in the order of its blocks.

    What is then computed block by block needs no gathering. Places that no state needs are states at rest.
    """
    blocks = kernel.blocks
    if blocks.plain:
        return kernel, start

    def ordered(x: FloatArray, *axes: int) -> FloatArray:
        for axis in axes:
            gathered = blocks.gather(x, axis)
            x = gathered.reshape(*x.shape[:axis], -1, *x.shape[axis + 1 :])
        return x

    def limits(given: Limits) -> Limits:
        return Limits(ordered(given.lo, 1), ordered(given.hi, 1))

    inverse = ordered(kernel.inverse, 1)
    changes: dict[str, Any] = {
        **{name: ordered(getattr(kernel, name), 1, 2) for name in ("A", "G")},
        **{name: ordered(getattr(kernel, name), 2) for name in ("C", "F")},
        **{name: ordered(getattr(kernel, name), 1) for name in ("B", "bias_state", "readout_power", "state_power")},
        **{name: limits(getattr(kernel, name)) for name in ("dac", "register", "adc_state")},
        "inverse": np.where(inverse > 0, inverse, 1.0),
    }
    return replace(kernel, **changes), ordered(start, 1)


def linear_kernel(op: StateSpace) -> LinearKernel:
    """The linear system of a state-space operation, fused or not."""
    n = op.n_state
    state, output = _rows(op.matrix, op.requant), None
    if op.output_matrix is not None and op.output_requant is not None:
        output = _rows(op.output_matrix, op.output_requant)
    top = state.part(slice(0, n))
    low = state.part(slice(n, None)) if output is None else output
    inverse = np.exp2(-op.shift.astype(np.float64))
    G, F = top.gain[..., :n], low.gain[..., :n]
    A = G * inverse[:, None, :] + op.keep[..., None] * np.eye(n)
    return LinearKernel(
        A=np.where(_resting(op, top.bias)[..., None], 0.0, A),
        B=top.gain[..., n:],
        C=F * inverse[:, None, :],
        D=low.gain[..., n:],
        G=G,
        F=F,
        bias_state=top.bias,
        bias_output=low.bias,
        inverse=inverse,
        readout_power=readout_power(op.shift),
        state_power=top.power,
        output_power=low.power,
        dac=_limits(op.dac_lo, op.dac_hi),
        register=_limits(op.register_lo, op.register_hi),
        adc_state=top.limits,
        adc_output=low.limits,
        after=op.output_after,
    )


def _resting(op: StateSpace, bias: FloatArray) -> NDArray[np.bool_]:
    """States (H, n) that start at 0 and that nothing moves (pruned): registers without a pole."""
    return np.asarray(~driven_states(op) & (op.register0 == 0) & (bias == 0))


def transition(op: StateSpace) -> FloatArray:
    """Linear part A of the state update in register codes, (H, n, n)."""
    return linear_kernel(op).A


def poles(op: StateSpace) -> list[NDArray[np.complex128]]:
    """Eigenvalues of A of the live states, one array per group."""
    live = driven_states(op)
    A = np.where(live[:, :, None] & live[:, None, :], transition(op), 0.0)
    blocks = Blocks.of(A != 0)
    found: NDArray[np.complex128] = np.linalg.eigvals(blocks.square(A)).reshape(len(live), -1).astype(np.complex128)
    order = np.abs(found).argsort(1, kind="stable")  # the poles of the others, 0, come first
    return [row[at[len(at) - count :]] for row, at, count in zip(found, order, live.sum(1).tolist(), strict=True)]


def lattice_power(denominator: int) -> float:
    """Variance of rounding half to even on the grid of multiples of 1 / N, all residues alike.

    N odd: (1 - 1/N^2) / 12. N even: ties at 1/2 give (1 + 2/N^2) / 12. N = 1: nothing is rounded.
    """
    square = float(denominator) ** 2
    return (1 - 1 / square) / 12 if denominator % 2 else (1 + 2 / square) / 12


def readout_power(shift: IntArray) -> FloatArray:
    """Variance of e_R for integers divided by 2^shift."""
    return np.where(shift > 0, (1 + 2 * np.exp2(-2.0 * shift)) / 12, 0.0)


@dataclass(frozen=True)
class _Rows:
    """Rows of a matrix behind their requantization: gain (H, rows, in), the others (H, rows)."""

    gain: FloatArray
    bias: FloatArray
    power: FloatArray
    limits: Limits

    def part(self, rows: slice) -> _Rows:
        limits = Limits(self.limits.lo[:, rows], self.limits.hi[:, rows])
        return _Rows(self.gain[:, rows], self.bias[:, rows], self.power[:, rows], limits)


def _rows(matrix: Matrix, requant: Requant) -> _Rows:
    shape = matrix.groups, matrix.outputs
    step = np.gcd.reduce(np.abs(matrix.wide), axis=-1).ravel()
    ratio, bias, power = _numbers(matrix.converter or requant, step)
    if matrix.converter is not None:  # rounds first; its codes are then requantized
        outer, offset, more = _numbers(requant, np.minimum(step, 1))
        ratio, bias, power = outer * ratio, outer * bias + offset, outer**2 * power + more
    return _Rows(
        ratio.reshape(*shape, 1) * matrix.wide,
        bias.reshape(shape),
        power.reshape(shape),
        _limits(requant.lo.reshape(shape), requant.hi.reshape(shape)),
    )


def _numbers(requant: Requant, step: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Ratio, bias and variance of the rounding of every row, whose sums are multiples of ``step``."""
    rows = zip(requant.ratio, requant.bias, step.tolist(), strict=True)
    power = np.array([_power(ratio, bias, multiple) for ratio, bias, multiple in rows])
    ratio, bias = (np.array([x.numerator / x.denominator for x in exact]) for exact in (requant.ratio, requant.bias))
    return ratio, bias, power


def _power(ratio: Fraction, bias: Fraction, step: int) -> float:
    """Sums are multiples of ``step``; a row of zeros converts a constant and adds no noise."""
    if step == 0:
        return 0.0
    each = ratio.denominator // math.gcd(ratio.denominator, step)  # of ratio * step
    return lattice_power(math.lcm(each, bias.denominator))


def _limits(lo: IntArray, hi: IntArray) -> Limits:
    return Limits(lo.astype(np.float64), hi.astype(np.float64))
