"""An exponentially weighted mean in C: one register a channel."""

from __future__ import annotations

from ssmc.emit_c.buffers import Field
from ssmc.emit_c.context import Context, arguments
from ssmc.emit_c.source import Layer, block, unique
from ssmc.emit_c.widths import accumulator, narrowest
from ssmc.ir.operations import ExponentialMean


def emit_exponential_mean(ctx: Context, op: ExponentialMean, members: set[str]) -> tuple[Layer, list[Field]]:
    """The first step fills the registers; every later one takes out what the mean gave, and comes in."""
    (x,), size, unit = op.inputs, ctx.size(op.output), 1 << op.shift
    out, source, (lo, hi) = ctx.ctype(op.output), ctx.ctype(x), ctx.ends(x)
    low, high = min(unit * lo, 0), max(unit * hi, 0)
    kept = Field(unique(f"mean_{op.name}", members), narrowest(low, high, ctx.file.word), size, f"{op.name}: registers")
    begun = Field(unique(f"begun_{op.name}", members), narrowest(0, 1), 1, f"{op.name}: whether there was a step")
    wide = accumulator(op.largest_sum((max(-lo, hi),)) + unit)
    rounded = ctx.file.helper(f"round_shift{wide.bits}")
    lines = [
        f"for (int c = 0; c < {size}; ++c) {{",
        f"    const {wide.name} old = r[c];",
        f"    const {wide.name} new = begun[0] ? old + x[c] - {rounded}(old, {op.shift}) : ({wide.name})x[c] * {unit};",
        f"    r[c] = ({kept.ctype.name})new;",
        f"    y[c] = ({out.name}){rounded}(new, {op.shift});",
        "}",
        "begun[0] = 1;",
    ]
    state = [("", kept.ctype, "r"), ("", begun.ctype, "begun")]
    head = arguments(*state, ("const ", source, "x"), ("", out, "y"))
    what = f"{op.name}: mean with weights 2^-{op.shift} (1 - 2^-{op.shift})^age"
    name = ctx.define(op, what, head, [block(lines)])
    call = ctx.call(name, op, f"state->{kept.name}", f"state->{begun.name}")
    return Layer(op.name, call, requants={"additions": 2 * size, "read-outs": 2 * size}), [kept, begun]
