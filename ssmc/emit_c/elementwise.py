"""Channel-wise operations in C: tables, products, sums, values side by side."""

from __future__ import annotations

import numpy as np

from ssmc.emit_c.context import Context, arguments
from ssmc.emit_c.requants import define_requant, saturated
from ssmc.emit_c.source import Layer, block, literal
from ssmc.emit_c.widths import INT64, accumulator
from ssmc.errors import ModelError
from ssmc.ir.operations import Concat, Product, Sum, Table


def emit_table(ctx: Context, op: Table) -> Layer:
    """``y[c] = table[row of c][x[c] - lo]``; equal rows are stored once."""
    (x,) = op.inputs
    size, levels = ctx.size(op.output), op.table.shape[1]
    lo, hi = ctx.ends(x)
    if lo < op.lo or hi >= op.lo + levels:
        fact = f"codes {lo}..{hi} reach beyond the table of {op.lo}..{op.lo + levels - 1}"
        raise ModelError("SSMC-C23", fact, "report it: the importer made this table", op.name)
    if ctx.size(x) < size:
        return _emit_embedding(ctx, op)
    rows, row_of = np.unique(op.table, axis=0, return_inverse=True)
    row_of = np.broadcast_to(row_of.ravel(), (size,)).astype(np.int64)
    table = ctx.file.constant(f"{op.name}_table", rows, f"{op.name}: values of codes from {op.lo}, {len(rows)} rows")
    index = f"x[c] - {op.lo}" if op.lo >= 0 else f"x[c] + {-op.lo}"
    if len(rows) > 1:
        row = ctx.file.constant(f"{op.name}_row", row_of, f"{op.name}: the table's row by channel")
        index = f"{row.name}[c] * {levels} + {index}"
    in_, out = ctx.ctype(x), ctx.ctype(op.output)
    cast = "" if table.ctype == out else f"({out.name})"
    lines = [f"for (int c = 0; c < {size}; ++c) {{", f"    y[c] = {cast}{table.name}[{index}];", "}"]
    what = f"{op.name}: a function of one code, by table"
    name = ctx.define(op, what, arguments(("const ", in_, "x"), ("", out, "y")), [block(lines)])
    return Layer(op.name, ctx.call(name, op), requants={"look-ups": size})


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


def emit_product(ctx: Context, op: Product) -> Layer:
    """``y = requant(a b)``, channel by channel."""
    a, b = op.inputs
    size = ctx.size(op.output)
    top = max(map(abs, ctx.ends(a))) * max(map(abs, ctx.ends(b)))
    acc = accumulator(top)
    requant = define_requant(ctx.file, op.name, op.requant, np.arange(size), np.full(size, top), acc, op.name)
    out = ctx.ctype(op.output)
    product = f"({acc.name})a[c] * b[c]"
    lines = [f"for (int c = 0; c < {size}; ++c) {{", f"    y[c] = ({out.name}){requant}({product}, c);", "}"]
    kinds = arguments(("const ", ctx.ctype(a), "a"), ("const ", ctx.ctype(b), "b"), ("", out, "y"))
    name = ctx.define(op, f"{op.name}: product of two values", kinds, [block(lines)])
    return Layer(op.name, ctx.call(name, op), size, {"requantizations": size})


def emit_sum(ctx: Context, op: Sum) -> Layer:
    """``y = clip(round_shift(sum_i multiplier_i x_i + offset, shift))``, channel by channel."""
    size, file = ctx.size(op.output), ctx.file
    tops = np.array([max(map(abs, ctx.ends(v))) for v in op.inputs], object)
    reach = (np.abs(op.multiplier).astype(object) * tops[:, None]).sum(0) + np.abs(op.offset).astype(object)
    top = max(int(r) + (1 << int(s)) for r, s in zip(reach, np.broadcast_to(op.shift, (size,)), strict=True))
    if top >= 1 << 62:
        raise ModelError("SSMC-C22", "a sum needs more than 62 bits", "use fewer bits", op.name)
    wide = accumulator(top) if int(op.shift.max()) <= 30 else INT64
    cast = "(int64_t)" if wide == INT64 else ""
    xs = [f"x{i}" for i in range(len(op.inputs))]
    terms = []
    for i, x in enumerate(xs):
        multiplier = file.param(f"{op.name}_multiplier", op.multiplier[i], f"{op.name}: multiplier of input {i}")
        terms.append(f"{x}[c]" if multiplier.always(1) else f"{cast}{multiplier.at('c')} * {x}[c]")
    number = {
        key: file.param(f"{op.name}_{key}", np.broadcast_to(getattr(op, key), (size,)), f"{op.name}: {key}")
        for key in ("offset", "shift", "lo", "hi")
    }
    terms += [] if number["offset"].always(0) else [number["offset"].at("c")]
    rounding = f"{file.helper(f'round_shift{wide.bits}')}(sum, {number['shift'].at('c')})"
    code = "sum" if number["shift"].always(0) else rounding
    clamp, ends = file.helper(f"clamp{wide.bits}") if wide == INT64 else "", (number["lo"], number["hi"])
    code = f"{clamp}({code}, {ends[0].at('c')}, {ends[1].at('c')})" if clamp else saturated(file, code, ends, "c")
    out = ctx.ctype(op.output)
    lines = [
        f"for (int c = 0; c < {size}; ++c) {{",
        f"    const {wide.name} sum = {' + '.join(terms)};",
        f"    y[c] = ({out.name}){code};",
        "}",
    ]
    kinds = [("const ", ctx.ctype(v), x) for v, x in zip(op.inputs, xs, strict=True)]
    head = arguments(*kinds, ("", out, "y"))
    name = ctx.define(op, f"{op.name}: sum of values, each with its scale", head, [block(lines)])
    return Layer(op.name, ctx.call(name, op), size * len(xs), {"requantizations": size})


def emit_concat(ctx: Context, op: Concat) -> Layer:
    """``y = [a, b]``: the channels of both, one after the other."""
    a, b = op.inputs
    out = ctx.ctype(op.output)
    lines = []
    for name, value, start in (("a", a, ""), ("b", b, f"{ctx.size(a)} + ")):
        lines += [f"for (int c = 0; c < {ctx.size(value)}; ++c) {{", f"    y[{start}c] = ({out.name}){name}[c];", "}"]
    kinds = arguments(("const ", ctx.ctype(a), "a"), ("const ", ctx.ctype(b), "b"), ("", out, "y"))
    name = ctx.define(op, f"{op.name}: two values side by side", kinds, [block(lines)])
    return Layer(op.name, ctx.call(name, op))
