"""The mean of the last steps in C: a ring of codes, and their sum."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from ssmc.emit_c.buffers import Field
from ssmc.emit_c.context import Context, arguments
from ssmc.emit_c.reductions import exact_quotient
from ssmc.emit_c.requants import define_requant
from ssmc.emit_c.source import Layer, block, unique
from ssmc.emit_c.widths import accumulator, narrowest
from ssmc.ir.operations import SlidingMean
from ssmc.ir.requant import make_requant


def emit_sliding_mean(ctx: Context, op: SlidingMean, members: set[str]) -> tuple[Layer, list[Field]]:
    """The newest code in, the oldest out, and a division by how many there are."""
    (x,), size, width = op.inputs, ctx.size(op.output), op.width
    out, source, (lo, hi) = ctx.ctype(op.output), ctx.ctype(x), ctx.ends(x)
    low, high = min(width * lo, 0), max(width * hi, 0)
    reach, word, rows = max(-low, high), ctx.file.word, np.arange(size)
    place = Field(unique(f"place_{op.name}", members), narrowest(0, width), 2, f"{op.name}: place in the ring, steps")
    ring = Field(unique(f"ring_{op.name}", members), source, size * width, f"{op.name}: the last {width} steps")
    kept = Field(unique(f"sum_{op.name}", members), narrowest(low, high, word), size, f"{op.name}: their sum")
    ends = np.full(size, low), np.full(size, high)
    requant = make_requant([r / width for r in op.ratio], [Fraction(0)] * size, op.lo, op.hi, ends, op.name)
    whole = define_requant(ctx.file, op.name, requant, rows, np.full(size, reach), accumulator(reach), op.name)
    fewer = exact_quotient(ctx, op, (reach, width), "sum[c]", "place[1]")
    lines = [
        f"{source.name} *const oldest = ring + place[0] * {size};",
        f"for (int c = 0; c < {size}; ++c) {{",
        f"    sum[c] = ({kept.ctype.name})(sum[c] + x[c] - oldest[c]);",
        "    oldest[c] = x[c];",
        "}",
        f"place[0] = ({place.ctype.name})(place[0] == {width - 1} ? 0 : place[0] + 1);",
        f"place[1] = ({place.ctype.name})(place[1] == {width} ? {width} : place[1] + 1);",
        f"for (int c = 0; c < {size}; ++c) {{",
        f"    y[c] = ({out.name})(place[1] == {width} ? {whole}(sum[c], c) : {fewer});",
        "}",
    ]
    state = [("", place.ctype, "place"), ("", ring.ctype, "ring"), ("", kept.ctype, "sum")]
    head = arguments(*state, ("const ", source, "x"), ("", out, "y"))
    name = ctx.define(op, f"{op.name}: mean of the last {width} steps", head, [block(lines)])
    call = ctx.call(name, op, *(f"state->{field.name}" for field in (place, ring, kept)))
    counts = {"additions": 2 * size, "requantizations": size}
    return Layer(op.name, call, requants=counts), [place, ring, kept]
