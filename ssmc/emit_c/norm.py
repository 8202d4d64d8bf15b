"""LayerNorm and RMSNorm in C: the integer algorithm of `ssmc.ir.operations.Norm`, line by line."""

from __future__ import annotations

import math

import numpy as np

from ssmc.emit_c.context import Context, arguments
from ssmc.emit_c.source import Layer, block, literal
from ssmc.errors import ModelError
from ssmc.ir.operations import Norm
from ssmc.ir.operations.norm import NORM_FRACTION

LARGEST = 1 << 22


def emit_norm(ctx: Context, op: Norm) -> Layer:
    """``y_c = clip(round_shift(gain_c h_c + offset_c, shift))``, h the normalized vector with 20 fraction bits."""
    (x,) = op.inputs
    size, top = ctx.size(x), max(map(abs, ctx.ends(x)))
    largest_h = (1 << 20) * (math.isqrt(size) + 2)
    scaled = int(np.abs(op.gain).max()) * largest_h + int(np.abs(op.offset).max()) + (1 << op.shift)
    if size * top >= LARGEST or scaled >= 1 << 62:
        fact = f"{size} channels of codes up to {top} do not fit 62 bits"
        raise ModelError("SSMC-C22", fact, "normalize fewer channels or codes of fewer bits", op.name)
    file, out = ctx.file, ctx.ctype(op.output)
    gain = file.param(f"{op.name}_gain", op.gain, f"{op.name}: gain, {op.shift - 20} fraction bits")
    offset = file.param(f"{op.name}_offset", op.offset, f"{op.name}: offset, {op.shift} fraction bits")
    shift, clamp = file.helper("round_shift64"), file.helper("clamp64")
    lines = [
        "int64_t total = 0, squares = 0;",
        f"for (int c = 0; c < {size}; ++c) {{",
        *(["    total += x[c];"] if op.centred else []),
        "    squares += (int64_t)x[c] * x[c];",
        "}",
        f"const uint64_t spread = (uint64_t)({size} * squares - total * total);",
        f"const uint64_t variance = (spread << {NORM_FRACTION}) + UINT64_C({op.epsilon});",
        "int scale = 0;",
        "while (variance != 0 && (variance << scale) >> 60 == 0) {",
        "    scale += 2;",
        "}",
        f"const uint64_t root = variance == 0 ? 1 : {file.helper('square_root')}(variance << scale);",
        "const int64_t reciprocal = variance == 0 ? 0 : (int64_t)((UINT64_C(1) << 61) / root);",
        f"for (int c = 0; c < {size}; ++c) {{",
        f"    const int64_t normal = {shift}(({size} * (int64_t)x[c] - total) * reciprocal, 33 - scale / 2);",
        f"    const int64_t sum = {gain.at('c')} * normal + {offset.at('c')};",
        f"    y[c] = ({out.name}){clamp}({shift}(sum, {op.shift}), {literal(op.lo)}, {literal(op.hi)});",
        "}",
    ]
    kind = "LayerNorm" if op.centred else "RMSNorm"
    what = f"{op.name}: {kind} over {size} channels"
    name = ctx.define(op, what, arguments(("const ", ctx.ctype(x), "x"), ("", out, "y")), [block(lines)])
    return Layer(op.name, ctx.call(name, op), 3 * size, {"normalizations": 1, "requantizations": 2 * size})
