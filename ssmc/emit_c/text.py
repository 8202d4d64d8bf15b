"""The header and the source around the layers of a model."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike

from ssmc.emit_c.buffers import Field, input_needs_clamp, input_type, output_value
from ssmc.emit_c.context import Context
from ssmc.emit_c.helpers import helper_text
from ssmc.emit_c.rates import declarations, flag_names, statements
from ssmc.emit_c.source import Layer, SourceFile, block, comment_text
from ssmc.emit_c.widths import CType, narrowest
from ssmc.ir.operations import Dequantize, Ids, Quantize
from ssmc.ir.program import Program

#: a mean counts no further
FULL = ("if (state->steps == UINT32_MAX) {", "    return; /* longer than a mean can count */", "}")


def output_type(program: Program, word: int) -> CType:
    """Type of the output codes."""
    quant = program.values[output_value(program)].quant
    return narrowest(quant.lo, quant.hi, word)


def per_step(program: Program) -> bool:
    """An output every step of the output's rate, none of the whole sequence."""
    return program.output_rate == "step"


def counts_outputs(program: Program) -> bool:
    """Not every step gives an output: ``step`` and ``finish`` return whether they did."""
    return bool(program.output_clock)


def has_finish(program: Program) -> bool:
    """Something is left to give at the end."""
    return not per_step(program) or counts_outputs(program)


def _scale(values: ArrayLike) -> str:
    """Scales in words: an exact rational where all channels share it."""
    scales = np.unique(np.asarray(values, np.float64))
    if len(scales) == 1:
        exact = Fraction(float(scales[0]))
        return f"{exact}" if exact.denominator == 1 or exact.denominator < 1 << 20 else f"{float(scales[0])!r}"
    return f"{scales.min()!r} to {scales.max()!r}, by channel".replace("np.float64", "")


def header_text(program: Program, prefix: str, fields: tuple[Field, ...], quantizes: bool, file: SourceFile) -> str:
    """The header."""
    upper, low = prefix.upper(), f"{prefix}_"
    in_, out = input_type(program, file.word), output_type(program, file.word)
    lines = [
        *_introduction(program, prefix),
        f"#ifndef {upper}_H",
        f"#define {upper}_H",
        "",
        "#include <stdint.h>",
        "",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        "",
        f"#define {upper}_INPUTS {program.input_size}",
        f"#define {upper}_OUTPUTS {program.output_size}",
        "",
        f"typedef {in_.name} {low}input;",
        f"typedef {out.name} {low}output;",
        "",
        "/* Everything that lives from step to step, and the values between layers. Copy it to save it. */",
        "typedef struct {",
        *(f"    {_member(field)};{f' /* {comment_text(field.comment)} */'}" for field in fields),
        f"}} {low}state;",
        "",
        *_prototypes(program, prefix, quantizes),
        "",
        "#ifdef __cplusplus",
        "}",
        "#endif",
        "",
        "#endif",
    ]
    return "\n".join(lines) + "\n"


def _introduction(program: Program, prefix: str) -> Iterator[str]:
    """What the codes mean."""
    first, last = program.ops[0], program.ops[-1]
    assert isinstance(first, Quantize)
    assert isinstance(last, Dequantize)
    quant = program.values[output_value(program)].quant
    yield f"/* {prefix}: a quantized state-space model in integers, made by ssmc. C99, no library, no heap, no float."
    yield " *"
    if isinstance(first, Ids):
        yield f" * Inputs are token ids {first.quant.lo}..{first.quant.hi}; any other number is limited to that range."
    else:
        scale = _scale(first.quant.scale)
        yield f" * Input codes {first.quant.lo}..{first.quant.hi}: the real input divided by {scale},"
        yield " * rounded to nearest, ties to even, and limited to that range."
    yield f" * Output codes {quant.lo}..{quant.hi}: times {_scale(last.scale)} they are the real output."
    if last.head != "none":
        yield f" * The model's {last.head.removesuffix('_kept').replace('_', '-')} of these is left to the caller."
    yield " * Integer sizes follow from the ranges of all sums: nothing can overflow, whatever the input."
    yield " */"


def _member(field: Field) -> str:
    array = "" if field.name == "steps" else f"[{field.count}]"
    return f"{field.ctype.name if field.name != 'steps' else 'uint32_t'} {field.name}{array}"


def _prototypes(program: Program, prefix: str, quantizes: bool) -> Iterator[str]:
    signatures = function_heads(program, prefix)
    upper = prefix.upper()
    yield "/* Before the first step of a sequence. */"
    yield f"{signatures['init']};"
    yield ""
    if counts_outputs(program):
        yield f"/* One time step: {upper}_INPUTS codes in; 1 with {upper}_OUTPUTS codes out, or 0. */"
    elif per_step(program):
        yield f"/* One time step: {upper}_INPUTS codes in, {upper}_OUTPUTS codes out. */"
    else:
        yield f"/* One time step: {upper}_INPUTS codes in. */"
    yield f"{signatures['step']};"
    yield ""
    if counts_outputs(program):
        yield f"/* 1 with {upper}_OUTPUTS codes out for steps that no output has covered yet, or 0; the state stays. */"
        yield f"{signatures['finish']};"
        yield ""
        yield "/* A whole sequence of `steps` steps, from the initial state; all outputs in a row, and how many. */"
    elif not per_step(program):
        yield f"/* The {upper}_OUTPUTS output codes of the steps so far; the sequence may go on afterwards. */"
        yield f"{signatures['finish']};"
        yield ""
        yield "/* A whole sequence of `steps` steps, from the initial state. */"
    else:
        yield "/* A whole sequence of `steps` steps, from the initial state; the outputs of all steps in a row. */"
    yield f"{signatures['run']};"
    if quantizes:
        yield ""
        yield "/* Codes of real inputs that are 16-bit integers. */"
        yield f"{signatures['quantize']};"


def function_heads(program: Program, prefix: str) -> dict[str, str]:
    """The signatures of the public functions."""
    state, x, y = f"{prefix}_state *state", f"const {prefix}_input *x", f"{prefix}_output *y"
    out = f", {y}" if per_step(program) else ""
    given, count = ("int", "uint32_t") if counts_outputs(program) else ("void", "void")
    return {
        "init": f"void {prefix}_init({state})",
        "step": f"{given} {prefix}_step({state}, {x}{out})",
        "finish": f"{given} {prefix}_finish({state}, {y})",
        "run": f"{count} {prefix}_run({state}, {x}, uint32_t steps, {y})",
        "quantize": f"void {prefix}_quantize(const int16_t *samples, {prefix}_input *codes)",
    }


def source_text(
    ctx: Context,
    layers: tuple[tuple[Layer, ...], tuple[Layer, ...]],
    fields: tuple[Field, ...],
    starts: tuple[tuple[str, str, int], ...],
    quantizer: str | None,
    *,
    share: bool,
) -> str:
    """The C file of the ``layers`` of a step and of the end; ``share`` as in `ssmc.emit_c.emit.emit`."""
    step, end = layers
    prefix, program = ctx.file.prefix, ctx.program
    heads = function_heads(program, prefix)
    body = [_function(heads["init"], _init(fields, starts)), _function(heads["step"], _step(ctx, step, fields))]
    if has_finish(program):
        body.append(_function(heads["finish"], _finish(ctx, end, share=share)))
    body.append(_function(heads["run"], _run(ctx)))
    if quantizer is not None:
        code = f"    codes[c] = ({prefix}_input){quantizer};"
        body.append(_function(heads["quantize"], [f"for (int c = 0; c < {program.input_size}; ++c) {{", code, "}"]))
    parts = [
        f'#include "{prefix}.h"',
        f"/* round-half-even needs >> of a negative number to round down */\n"
        f"typedef char {prefix}_needs_arithmetic_shift[(-1 >> 1) == -1 ? 1 : -1];",
        *(constant.text() for constant in ctx.file.constants),
        helper_text(ctx.file.helpers, prefix),
        *ctx.file.functions,
        *body,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _function(head: str, lines: list[str]) -> str:
    return f"{head}\n{{\n{block(lines)}\n}}"


def _init(fields: tuple[Field, ...], starts: tuple[tuple[str, str, int], ...]) -> list[str]:
    """Every member has a defined value: registers theirs, the rest zero."""
    begin = {name: expression for name, expression, _ in starts}
    lines = []
    for field in fields:
        if field.name == "steps":
            lines.append("state->steps = 0;")
        else:
            value = begin.get(field.name, "0")
            lines += [f"for (int i = 0; i < {field.count}; ++i) {{", f"    state->{field.name}[i] = {value};", "}"]
    return lines


def _step(ctx: Context, layers: tuple[Layer, ...], fields: tuple[Field, ...]) -> list[str]:
    program, prefix = ctx.program, ctx.file.prefix
    counted = any(field.name == "steps" for field in fields)
    lines = list(FULL) if counted else []
    if input_needs_clamp(program, ctx.file.word):
        first = program.ops[0]
        assert isinstance(first, Quantize)
        clamp, code = ctx.file.helper("clamp32"), ctx.where[first.output]
        limited = f"({prefix}_input){clamp}(x[c], {first.quant.lo}, {first.quant.hi})"
        lines += [f"for (int c = 0; c < {program.input_size}; ++c) {{", f"    {code}[c] = {limited};", "}"]
    flags = flag_names(program)
    lines = [*declarations(flags), *lines, *statements(layers, flags)]
    lines += ["state->steps += 1;"] if counted else []
    lines += _copy_output(ctx) if per_step(program) else []
    used = any("state" in line for line in lines)
    lines = lines if used else ["(void)state;", *lines]
    lines = lines if any("x" in line for line in lines) else [*lines, "(void)x;"]
    return [*lines, f"return {flags[program.output_clock]};"] if counts_outputs(program) else lines


def _finish(ctx: Context, layers: tuple[Layer, ...], *, share: bool) -> list[str]:
    """What the end of the sequence gives; lower rates are ended on a copy, since the sequence may go on."""
    flags, program = flag_names(ctx.program), ctx.program
    ended = [layer for layer in layers if any(flag in layer.call for flag in flags.values())]
    lines = [*declarations(flags)] if ended or counts_outputs(program) else []
    lines += [f"{ctx.file.prefix}_state rest = *state;", "state = &rest;"] if ended and share else []
    lines += [*statements(layers, flags), *_copy_output(ctx)]
    if not counts_outputs(program):
        return lines
    lines = lines if ended else [*lines, "(void)state;", "(void)y;"]
    return [*lines, f"return {flags[program.output_clock]};"]


def _copy_output(ctx: Context) -> list[str]:
    where = ctx.where[output_value(ctx.program)]
    if where == "y":
        return []
    copy = [f"for (int c = 0; c < {ctx.program.output_size}; ++c) {{", f"    y[c] = {where}[c];", "}"]
    clock = ctx.program.output_clock
    return [f"if ({flag_names(ctx.program)[clock]}) {{", *(f"    {line}" for line in copy), "}"] if clock else copy


def _run(ctx: Context) -> list[str]:
    prefix, program = ctx.file.prefix, ctx.program
    if counts_outputs(program):
        return _counted_run(ctx)
    out = ", y" if per_step(program) else ""
    lines = [f"{prefix}_init(state);", "for (uint32_t t = 0; t < steps; ++t) {", f"    {prefix}_step(state, x{out});"]
    lines += [f"    x += {program.input_size};"]
    lines += [f"    y += {program.output_size};"] if per_step(program) else []
    lines += ["}"]
    return lines if per_step(program) else [*lines, f"{prefix}_finish(state, y);"]


def _counted_run(ctx: Context) -> list[str]:
    """The outputs there are, one after the other."""
    prefix, program = ctx.file.prefix, ctx.program
    place = f"y + (uint64_t)count * {program.output_size}"
    return [
        "uint32_t count = 0;",
        f"{prefix}_init(state);",
        "for (uint32_t t = 0; t < steps; ++t) {",
        f"    count += (uint32_t){prefix}_step(state, x, {place});",
        f"    x += {program.input_size};",
        "}",
        f"return count + (uint32_t){prefix}_finish(state, {place});",
    ]
