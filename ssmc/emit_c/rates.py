"""Lower rates in C: groups of steps become one, and a flag says whether what runs at the lower rate has a new step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import groupby

import numpy as np

from ssmc.emit_c.buffers import Field
from ssmc.emit_c.context import Context
from ssmc.emit_c.reductions import exact_quotient
from ssmc.emit_c.requants import define_requant
from ssmc.emit_c.source import Layer, block, comment_text, unique
from ssmc.emit_c.widths import accumulator, narrowest
from ssmc.ir.operations import Downsample
from ssmc.ir.program import Program
from ssmc.ir.rates import Clock
from ssmc.ir.requant import make_requant


def flag_names(program: Program) -> dict[Clock, str]:
    """The local variable of each lower clock that says whether it ticks."""
    clocks = [program.values[op.output].clock for op in program.ops if isinstance(op, Downsample)]
    return {clock: f"tick{index}" for index, clock in enumerate(dict.fromkeys(clocks))}


def statements(layers: Iterable[Layer], flags: dict[Clock, str]) -> Iterator[str]:
    """The calls of layers, those at a lower rate only where its flag is set."""
    for clock, group in groupby(layers, key=lambda layer: layer.clock):
        calls = [layer.call for layer in group]
        yield from [f"if ({flags[clock]}) {{", *(f"    {call}" for call in calls), "}"] if clock else calls


def declarations(flags: dict[Clock, str]) -> list[str]:
    """No clock has ticked yet."""
    return [f"int {flag} = 0;" for flag in flags.values()]


def group_fields(program: Program, op: Downsample, members: set[str], word: int) -> tuple[Field, Field | None]:
    """Members of the state: the place within the group, and what the group has so far where that is kept."""
    start = first_place(op)
    phase = narrowest(min(start, 0), op.k)
    place = Field(unique(f"phase_{op.name}", members), phase, 1, f"{op.name}: steps of the group so far")
    if op.how == "pick" and op.rest == "emit":
        return place, None
    source = program.values[op.inputs[0]]
    many = op.k if op.how == "mean" else 1
    kept = narrowest(min(many * source.quant.lo, source.quant.lo), max(many * source.quant.hi, source.quant.hi), word)
    what = "sum of the group so far" if op.how == "mean" else "code picked from the group"
    return place, Field(unique(f"group_{op.name}", members), kept, source.size, f"{op.name}: {what}")


def first_place(op: Downsample) -> int:
    """The place before the first step: every group ends with place k."""
    return op.k - 1 - op.group.first


def emit_downsample(ctx: Context, op: Downsample, flag: str, place: Field, kept: Field | None) -> Layer:
    """One step into the group; the flag is set, and y written, where the group is whole."""
    size, (x,) = ctx.size(op.output), op.inputs
    out, source = ctx.ctype(op.output), ctx.ctype(x)
    each = f"for (int c = 0; c < {size}; ++c) {{"
    lines, give = _take(op, place, kept, each), "x[c]" if kept is None else "group[c]"
    if op.how == "mean":
        lo, hi = (op.k * end for end in ctx.ends(x))
        reach, ends = max(abs(lo), abs(hi)), (np.full(size, min(lo, 0)), np.full(size, max(hi, 0)))
        requant = make_requant([r / op.k for r in op.ratio], [Fraction(0)] * size, op.lo, op.hi, ends, op.name)
        rows = np.arange(size)
        give = f"{define_requant(ctx.file, op.name, requant, rows, np.full(size, reach), accumulator(reach), op.name)}"
        give = f"{give}(group[c], c)"
    lines += [f"phase[0] = ({place.ctype.name})(phase[0] + 1);", f"if (phase[0] < {op.k}) {{", "    return 0;", "}"]
    lines += ["phase[0] = 0;", each, f"    y[c] = ({out.name}){give};", "}", "return 1;"]
    head = f"{place.ctype.name} *restrict phase, "
    head += "" if kept is None else f"{kept.ctype.name} *restrict group, "
    head += f"const {source.name} *restrict x, {out.name} *restrict y"
    name = _define(ctx, op, "", f"{op.how} of groups of {op.k} steps; whether one is whole", head, lines)
    state = [f"state->{field.name}" for field in (place, kept) if field is not None]
    counts = {"additions" if op.how == "mean" else "copies": size, "requantizations": -(-size // op.k)}
    return Layer(op.name, f"{flag} = {ctx.call(name, op, *state)}", requants=counts, clock=ctx.program.clock(op))


def _take(op: Downsample, place: Field, kept: Field | None, each: str) -> list[str]:
    """Keep the step x where the group needs it."""
    if kept is None:
        return []
    if op.how == "mean":
        return [each, f"    group[c] = ({kept.ctype.name})((phase[0] == 0 ? 0 : group[c]) + x[c]);", "}"]
    return [f"if (phase[0] == {op.phase}) {{", f"    {each}", "        group[c] = x[c];", "    }", "}"]


def emit_rest(ctx: Context, op: Downsample, flag: str, place: Field, kept: Field) -> Layer:
    """The mean of an incomplete group, at the end of the sequence."""
    size, out = ctx.size(op.output), ctx.ctype(op.output)
    lo, hi = ctx.ends(op.inputs[0])
    code = exact_quotient(ctx, op, (max(abs(lo), abs(hi)) * op.k, op.k), "group[c]", "phase[0]")
    lines = ["if (phase[0] == 0) {", "    return 0;", "}", f"for (int c = 0; c < {size}; ++c) {{"]
    lines += [f"    y[c] = ({out.name}){code};", "}", "phase[0] = 0;", "return 1;"]
    head = f"{place.ctype.name} *restrict phase, const {kept.ctype.name} *restrict group, {out.name} *restrict y"
    name = _define(ctx, op, "_rest", "mean of the steps that the end leaves; whether there are any", head, lines)
    call = f"{flag} |= {name}(state->{place.name}, state->{kept.name}, {ctx.where[op.output]});"
    return Layer(op.name, call, requants={"divisions": size})


def _define(ctx: Context, op: Downsample, suffix: str, what: str, head: str, lines: list[str]) -> str:
    name = ctx.file.name(f"{op.name}{suffix}")
    text = [f"/* {comment_text(op.name)}: {what} */", f"static int {name}({head})", "{", block(lines), "}"]
    ctx.file.functions.append("\n".join(text))
    return name
