"""Reductions over time in C: sum and mean (a running sum, divided once), the last and the largest value."""

from __future__ import annotations

import numpy as np

from ssmc.emit_c.context import Context
from ssmc.emit_c.source import Layer, block, comment_text, literal
from ssmc.errors import ModelError
from ssmc.ir.operations import Downsample, Last, Mean, SlidingMean

LARGEST_STEPS = (1 << 32) - 1


def emit_sum_step(ctx: Context, op: Mean, field: str, count: str) -> Layer:
    """Add one step to the running sum; ``count`` is the member that counts the steps of a lower rate."""
    (x,) = op.inputs
    size, out = ctx.size(x), ctx.ctype(x)
    lines = [f"for (int c = 0; c < {size}; ++c) {{", "    sum[c] += x[c];", "}"]
    head = f"int64_t *restrict sum, const {out.name} *restrict x"
    name = ctx.define(op, f"{op.name}: running sum of {size} channels", head, [block(lines)])
    counted = f" state->{count}[0] += 1;" if count else ""
    return Layer(op.name, f"{name}(state->{field}, {ctx.where[x]});{counted}", requants={"additions": size})


def emit_mean(ctx: Context, op: Mean, field: str, count: str) -> Layer:
    """``y = clip(round_half_even(ratio sum / T))``, T 1 for a sum, exact for every length; 0 for no step.

    Raises:
        ModelError: SSMC-C22 where a ratio does not fit.
    """
    size, file, out = ctx.size(op.output), ctx.file, ctx.ctype(op.output)
    lo, hi = ctx.ends(op.inputs[0])
    longest = LARGEST_STEPS if op.how == "mean" else 1
    code = exact_quotient(ctx, op, (max(abs(lo), abs(hi)) * LARGEST_STEPS, longest), "sum[c]", "steps")
    empty = max(op.lo, min(op.hi, 0))
    lines = [
        f"for (int c = 0; c < {size}; ++c) {{",
        f"    y[c] = ({out.name})(steps == 0 ? {literal(empty)} : {code});",
        "}",
    ]
    head = f"const int64_t *restrict sum, uint32_t steps, {out.name} *restrict y"
    name = file.name(f"{op.name}_mean")
    what = f"/* {comment_text(op.name)}: sum over the true number of steps */"
    file.functions.append("\n".join([what, f"static void {name}({head})", "{", block(lines), "}"]))
    steps = "1" if op.how == "sum" else f"(uint32_t)state->{count}[0]" if count else "state->steps"
    call = f"{name}(state->{field}, {steps}, {ctx.where[op.output]});"
    return Layer(op.name, call, requants={"divisions": size})


def exact_quotient(
    ctx: Context, op: Mean | Downsample | SlidingMean, most: tuple[int, int], total: str, steps: str
) -> str:
    """C expression of ``clip(round_half_even(ratio total / steps))`` of channel c, exact.

    Args:
        ctx: the file gets constants and helpers.
        op: its ratio and range.
        most: largest absolute value of the total, and largest number of steps.
        total: C expression of the sum.
        steps: C expression of their number, 1 at least.

    Raises:
        ModelError: SSMC-C22 where a ratio does not fit.
    """
    file, (top, longest) = ctx.file, most
    edge = 2 * max(abs(op.lo), abs(op.hi)) + 1
    num, den = (np.array([getattr(r, key) for r in op.ratio], object) for key in ("numerator", "denominator"))
    if not num.all() or abs(num).max() >= 1 << 62 or den.max() * edge >= 1 << 62:
        raise ModelError("SSMC-C22", "the ratio of a mean does not fit", "use scales of fewer digits", op.name)
    numbers = {
        key: file.param(f"{op.name}_{key}", values.astype(np.int64), f"{op.name}: {key} of the exact ratio by channel")
        for key, values in (("numerator", num), ("denominator", den))
    }
    multiplier, divisor = (f"(int64_t){numbers[key].at('c')}" for key in ("numerator", "denominator"))
    span = f"{literal(op.lo)}, {literal(op.hi)}"
    if 2 * (abs(num).max() * top + den.max() * longest) < 1 << 62:
        quotient = f"{file.helper('round_divide64')}({multiplier} * {total}, {divisor} * (int64_t){steps})"
        return f"{file.helper('clamp64')}({quotient}, {span})"
    if num.min() < 0:  # the sign goes to the total
        multiplier, total = (f"({multiplier} < 0 ? -{x} : {x})" for x in (multiplier, total))
    return f"{file.helper('mean_wide')}({multiplier}, {divisor}, {total}, (uint32_t){steps}, {span})"


def emit_last_step(ctx: Context, op: Last, field: str) -> Layer:
    """Keep the newest value, or the larger."""
    (x,) = op.inputs
    size, kind = ctx.size(x), ctx.ctype(x)
    newer = "x[c]" if op.how == "last" else "x[c] > held[c] ? x[c] : held[c]"
    lines = [f"for (int c = 0; c < {size}; ++c) {{", f"    held[c] = {newer};", "}"]
    head = f"{kind.name} *restrict held, const {kind.name} *restrict x"
    name = ctx.define(
        op,
        f"{op.name}: keep the {'newest' if op.how == 'last' else 'largest'} of {size} channels",
        head,
        [block(lines)],
    )
    return Layer(op.name, f"{name}(state->{field}, {ctx.where[x]});", requants={"copies": size})
