"""Look-up tables in C: equal rows once, ends that are constant left out, values of 4 bits two a byte."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssmc.emit_c.context import Context, arguments
from ssmc.emit_c.packing import pack_rows
from ssmc.emit_c.source import Layer, SourceFile, block, literal
from ssmc.emit_c.widths import UINT8, holding
from ssmc.errors import ModelError
from ssmc.ir.operations import Table
from ssmc.ir.rounding import IntArray

#: share of a table that is worth an instruction a look-up, and bytes that are worth five
WORTH, BYTES = 0.125, 128


@dataclass(frozen=True)
class Trimmed:
    """Rows of a table without the ends at which none of them changes.

    Attributes:
        rows: (R, width) values of the codes from ``lo``.
        lo: first code.
        limit: C of the code limited to those of the rows, with {x}; ``{x}`` where it need not be.
    """

    rows: IntArray
    lo: int
    limit: str


def emit_table(ctx: Context, op: Table) -> Layer:
    """``y[c] = table[row of c][x[c] - lo]``."""
    (x,) = op.inputs
    size, levels = ctx.size(op.output), op.table.shape[1]
    lo, hi = ctx.ends(x)
    if lo < op.lo or hi >= op.lo + levels:
        fact = f"codes {lo}..{hi} reach beyond the table of {op.lo}..{op.lo + levels - 1}"
        raise ModelError("SSMC-C23", fact, "report it: the importer made this table", op.name)
    if ctx.size(x) < size:
        return _emit_embedding(ctx, op)
    rows, row_of = np.unique(op.table[:, lo - op.lo : hi + 1 - op.lo], axis=0, return_inverse=True)
    row_of = np.broadcast_to(row_of.ravel(), (size,)).astype(np.int64)
    kept = _trimmed(ctx.file, rows, lo)
    index = kept.limit.format(x="x[c]")
    index += f" - {literal(kept.lo)}" if kept.lo > 0 else f" + {-kept.lo}" if kept.lo else ""
    if len(rows) > 1:
        row = ctx.file.constant(f"{op.name}_row", row_of, f"{op.name}: the table's row by channel")
        index = f"{row.name}[c] * {kept.rows.shape[1]} + {index}"
    in_, out = ctx.ctype(x), ctx.ctype(op.output)
    value = _value(ctx.file, op.name, kept, index, out.name)
    lines = [f"for (int c = 0; c < {size}; ++c) {{", f"    y[c] = {value};", "}"]
    what = f"{op.name}: a function of one code, by table"
    name = ctx.define(op, what, arguments(("const ", in_, "x"), ("", out, "y")), [block(lines)])
    return Layer(op.name, ctx.call(name, op), requants={"look-ups": size})


def _trimmed(file: SourceFile, rows: IntArray, lo: int) -> Trimmed:
    """Leave constant ends out where that saves flash (and flash matters: not for words of 16 bits)."""
    changes = np.flatnonzero((rows[:, 1:] != rows[:, :-1]).any(0))
    width = rows.shape[1]
    first, last = (int(changes[0]), int(changes[-1]) + 1) if changes.size else (0, 0)
    if file.word != 8 or last + 1 - first > (1 - WORTH) * width:
        return Trimmed(rows, lo, "{x}")
    if lo < 0 <= lo + first:
        bits = max((lo + last).bit_length(), 1)
        stop = min((1 << bits) - lo, width)
        if stop + lo <= (1 - WORTH) * width:
            return Trimmed(rows[:, -lo:stop], 0, f"{file.helper('saturate_unsigned')}({{x}}, {bits})")
    if (width - last - 1 + first) * len(rows) < BYTES:
        return Trimmed(rows, lo, "{x}")
    limits = f"{literal(lo + first)}, {literal(lo + last)}"
    return Trimmed(rows[:, first : last + 1], lo + first, f"{file.helper('clamp32')}({{x}}, {limits})")


def _value(file: SourceFile, name: str, kept: Trimmed, index: str, out: str) -> str:
    """C of the value at an index into all rows; two values a byte where they differ by 15 at most."""
    rows, lowest = kept.rows, int(kept.rows.min())
    what = f"{name}: values of codes from {kept.lo}, {len(rows)} rows of {rows.shape[1]}"
    if file.word == 8 and rows.max() - lowest < 16 and rows.size >= 64:
        packed = pack_rows((rows - lowest).reshape(1, -1), 4)
        what += f"; above {lowest}, two a byte, the first lowest"
        table = file.constant(f"{name}_table", packed, what, UINT8)
        plus = "" if lowest == 0 else f" + {literal(lowest)}"
        return f"({out})({file.helper('half_byte')}({table.name}, {index}){plus})"
    table = file.constant(f"{name}_table", rows, what, holding(rows.ravel()))
    return f"{'' if table.ctype.name == out else f'({out})'}{table.name}[{index}]"


def _emit_embedding(ctx: Context, op: Table) -> Layer:
    """``y[c] = table[x - lo][c]``: the row of one code, stored row after row."""
    size, (x,) = ctx.size(op.output), op.inputs
    table = ctx.file.constant(f"{op.name}_table", op.table.T, f"{op.name}: {size} values of every code from {op.lo}")
    in_, out = ctx.ctype(x), ctx.ctype(op.output)
    cast = "" if table.ctype == out else f"({out.name})"
    lines = [
        f"const {table.ctype.name} *row = {table.name} + {size} * ((int32_t)x[0] - {literal(op.lo)});",
        f"for (int c = 0; c < {size}; ++c) {{",
        f"    y[c] = {cast}row[c];",
        "}",
    ]
    what = f"{op.name}: the row of a code (embedding)"
    name = ctx.define(op, what, arguments(("const ", in_, "x"), ("", out, "y")), [block(lines)])
    return Layer(op.name, ctx.call(name, op), requants={"look-ups": size})
