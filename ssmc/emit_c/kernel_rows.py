"""A kernel of few groups (one dense or block-diagonal MIMO system): rows of [A B] and [C D] over v = [R; u]."""

from __future__ import annotations

import numpy as np

from ssmc.emit_c.blocks import read_rows
from ssmc.emit_c.context import Context
from ssmc.emit_c.kernel import Parts, kernel_arguments, make_parts
from ssmc.emit_c.linear import Rows, row_sums
from ssmc.emit_c.separate import INPUTS, STATES, Factors
from ssmc.emit_c.source import Layer, SourceFile, block
from ssmc.emit_c.states import Registers, define_registers
from ssmc.emit_c.widths import CType, narrowest
from ssmc.ir.operations import StateSpace
from ssmc.ir.rounding import IntArray


def emit_rows(ctx: Context, op: StateSpace, field: str) -> tuple[Layer, Registers]:
    """One matrix row after the other, group by group."""
    groups, n, m, p = op.matrix.groups, op.n_state, op.n_input, op.n_output
    registers = define_registers(ctx.file, field, op, np.arange(groups * n))
    every = [np.array([(g, i) for g in range(groups) for i in range(k)], np.int64).reshape(-1, 2) for k in (n, p)]
    parts = make_parts(ctx, op, registers, every[0], every[1])
    u = ctx.ends(op.inputs[0])
    v = narrowest(min(u[0], registers.read_lo), max(u[1], registers.read_hi))
    lines = [f"{v.name} v[{n + m}];"]
    stored: list[Rows] = []
    for g in range(groups):
        lines += _gather(parts, g, v.name)
        out = ctx.ctype(op.output).name
        row, row_y = (f"{{j}} + {g * k}" if g else "{j}" for k in (n, p))
        write = f"r[{row}] = {parts.write(f'r[{row}]', '{acc}', row)};"
        write_y = f"y[{row_y}] = ({out}){parts.requant_y}({{acc}}, {row_y});"
        named = (f"{op.name}_output_{g}", read_rows(op)[g]), (f"{op.name}_state_{g}", op.matrix.codes[g, :n])
        outputs = _sums(ctx.file, *named[0], v, n, parts.factors_y, (parts.term_y, parts.acc_y), row_y, write_y)
        states = _sums(ctx.file, *named[1], v, n, parts.factors, (parts.term, parts.acc), row, write)
        stored += [states, outputs]
        again = _gather(parts, g, v.name) if op.output_after else []
        lines += [*states.lines, *again, *outputs.lines] if op.output_after else [*outputs.lines, *states.lines]
    what = parts.describe(f"rows of [A B] {stored[0].stored}, of [C D] {stored[1].stored}")
    name = ctx.define(op, what, kernel_arguments(ctx, parts), [block(lines)])
    state = [f"state->{field}"] if n else []
    reads = registers.roundings * (2 if op.output_after else 1)
    work = {"requantizations": groups * (n + p), "read-outs": reads}
    scratch = v.bytes * (n + m) + max(part.scratch for part in stored)
    text = f"rows of [A B] {stored[0].stored}; rows of [C D] {stored[1].stored}"
    layer = Layer(op.name, ctx.call(name, op, *state), sum(part.macs for part in stored), work, scratch, text)
    return layer, registers


def _sums(
    file: SourceFile, name: str, codes: IntArray, v: CType, states: int, factors: Factors, types: tuple[CType, CType],
    row: str, finish: str,
) -> Rows:  # fmt: skip
    """Rows of a matrix; where states and inputs have multipliers of their own, in two sums each.

    ``v`` is the type of the vector, ``types`` are those of a sum over a part and of the whole.
    """
    if factors.each is None:
        return row_sums(file, name, codes, ("v", v), types[1], finish)
    total = f"total[{{j}}] = {factors.times(STATES, '{acc}', row)};"
    whole = finish.replace("{acc}", f"total[{{j}}] + {factors.times(INPUTS, '{acc}', row)}")
    fed = row_sums(file, f"{name}_states", codes[:, :states], ("v", v), types[0], total)
    driven = row_sums(file, f"{name}_inputs", codes[:, states:], (f"(v + {states})", v), types[0], whole)
    inner = [f"{types[1].name} total[{len(codes)}];", *fed.lines, *driven.lines]
    lines = ["{", *(f"    {line}" for line in inner), "}"]
    scratch = types[1].bytes * len(codes) + max(fed.scratch, driven.scratch)
    return Rows(lines, fed.macs + driven.macs, scratch, f"{fed.stored} and {driven.stored}")


def _gather(parts: Parts, g: int, v: str) -> list[str]:
    """The vector v = [R; u] of a group."""
    n, m = parts.op.n_state, parts.op.n_input
    row, at = (f"{index} + {g * k}" if g else index for index, k in (("i", n), ("i", m)))
    lines = [f"for (int i = 0; i < {n}; ++i) {{", f"    v[i] = ({v}){parts.read(f'r[{row}]', row)};", "}"] if n else []
    return [*lines, f"for (int i = 0; i < {m}; ++i) {{", f"    v[{n} + i] = u[{at}];", "}"]
