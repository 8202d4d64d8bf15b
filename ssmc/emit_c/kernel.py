"""A state-space kernel in C: which of its layouts is used, and what both have in common."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssmc.emit_c.blocks import read_rows
from ssmc.emit_c.context import Context, arguments, bound, check_matrix, sum_type
from ssmc.emit_c.requants import define_requant
from ssmc.emit_c.separate import Factors, define_factors, reach_of
from ssmc.emit_c.states import Registers
from ssmc.emit_c.widths import CType
from ssmc.ir.operations import StateSpace
from ssmc.ir.rounding import IntArray

FEW_GROUPS = 4


@dataclass(frozen=True)
class Parts:
    """What the layouts of a kernel share.

    Attributes:
        op: the kernel.
        registers: its state.
        acc, acc_y: accumulators of states and outputs, multipliers included.
        term, term_y: sums over states or over inputs alone, before their multipliers.
        factors, factors_y: the multipliers.
        requant, requant_y: C functions.
    """

    op: StateSpace
    registers: Registers
    acc: CType
    acc_y: CType
    term: CType
    term_y: CType
    factors: Factors
    factors_y: Factors
    requant: str
    requant_y: str

    def read(self, r: str, row: str) -> str:
        """R of a register."""
        return self.registers.read.format(r=r, row=row)

    def write(self, r: str, acc: str, row: str) -> str:
        """The new register, from the accumulator."""
        return self.registers.update.format(r=r, q=f"{self.requant}({acc}, {row})", row=row)

    def describe(self, layout: str) -> str:
        """One line for the comment above the function."""
        op = self.op
        form = {"delta": "registers add up increments", "direct": "codes replace the state"}.get(op.form, "mixed form")
        return f"{op.name}: {op.matrix.groups} channels of {op.n_state} states, {form}; {layout}"


def make_parts(
    ctx: Context, op: StateSpace, registers: Registers, state_rows: IntArray, output_rows: IntArray
) -> Parts:
    """Accumulator widths from the reachable sums, and the requantization functions.

    Args:
        ctx: the program around it.
        op: the kernel.
        registers: its state in C's order.
        state_rows: (.., 2) group and state of every register in C's order.
        output_rows: (.., 2) group and output in the order in which C counts outputs.
    """
    check_matrix(op.matrix, op.name)
    if op.output_matrix is not None:
        check_matrix(op.output_matrix, op.name)
    n = op.n_state
    u = ctx.ends(op.inputs[0])
    edge = np.ones((op.matrix.groups, op.n_input), np.int64)
    lo = np.concatenate([op.dac_lo, u[0] * edge], 1)
    hi = np.concatenate([op.dac_hi, u[1] * edge], 1)
    summed, summed_y = bound(op.matrix.codes[:, :n], lo, hi), bound(read_rows(op), lo, hi)
    requant_y = op.output_requant or op.requant
    reach = reach_of(op.matrix, op.requant, lo, hi)[:, :n]
    reach_y = reach_of(op.output_matrix or op.matrix, requant_y, lo, hi)[:, 0 if op.output_matrix else n :]
    apart = op.output_requant is not None
    stride = n if apart else op.matrix.outputs
    order = state_rows[:, 0] * stride + state_rows[:, 1]
    p = op.n_output
    order_y = output_rows[:, 0] * (p if apart else stride) + output_rows[:, 1] + (0 if apart else n)
    acc, acc_y = sum_type(reach), sum_type(reach_y)
    states = reach[tuple(state_rows.T)]
    function = ""
    if len(order):
        function = define_requant(ctx.file, f"{op.name}_state", op.requant, order, states, acc, op.name)
    outputs = reach_y[tuple(output_rows.T)]
    function_y = define_requant(ctx.file, f"{op.name}_output", requant_y, order_y, outputs, acc_y, op.name)
    return Parts(
        op, registers, acc, acc_y, sum_type(summed), sum_type(summed_y),
        define_factors(ctx.file, f"{op.name}_state", op.matrix.multiplier, state_rows),
        _output_factors(ctx, op, output_rows), function, function_y,
    )  # fmt: skip


def _output_factors(ctx: Context, op: StateSpace, rows: IntArray) -> Factors:
    matrix, first = (op.matrix, op.n_state) if op.output_matrix is None else (op.output_matrix, 0)
    return define_factors(ctx.file, f"{op.name}_output", matrix.multiplier, rows + np.array([0, first]))


def kernel_arguments(ctx: Context, parts: Parts) -> str:
    """Parameters of the kernel's function."""
    op = parts.op
    r = ("", parts.registers.ctype, "r")
    return arguments(
        *([r] if parts.registers.start.size else []),
        ("const ", ctx.ctype(op.inputs[0]), "u"),
        ("", ctx.ctype(op.output), "y"),
    )
