"""Channel-wise operations in C: products, sums, values side by side."""

from __future__ import annotations

import numpy as np

from ssmc.emit_c.context import Context, arguments
from ssmc.emit_c.requants import define_requant, saturated
from ssmc.emit_c.source import Layer, block
from ssmc.emit_c.widths import INT64, accumulator
from ssmc.errors import ModelError
from ssmc.ir.operations import Concat, Product, Sum


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
