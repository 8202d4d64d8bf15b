"""A `Program` as one header and one C file."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import assert_never

import numpy as np

from ssmc.emit_c.buffers import Field, Planner, input_type
from ssmc.emit_c.context import Context
from ssmc.emit_c.elementwise import emit_concat, emit_product, emit_sum
from ssmc.emit_c.exponential_mean import emit_exponential_mean
from ssmc.emit_c.fold import fold_multipliers
from ssmc.emit_c.kernel import FEW_GROUPS
from ssmc.emit_c.kernel_blocks import emit_blocks
from ssmc.emit_c.kernel_pairs import emit_pairs
from ssmc.emit_c.kernel_rows import emit_rows
from ssmc.emit_c.linear import emit_linear
from ssmc.emit_c.norm import emit_norm
from ssmc.emit_c.pairs import find_pairs
from ssmc.emit_c.rates import emit_downsample, emit_rest, first_place, flag_names, group_fields
from ssmc.emit_c.reductions import emit_last_step, emit_mean, emit_sum_step
from ssmc.emit_c.requants import define_requant
from ssmc.emit_c.sliding_mean import emit_sliding_mean
from ssmc.emit_c.source import Layer, SourceFile, unique
from ssmc.emit_c.states import Registers
from ssmc.emit_c.tables import emit_table
from ssmc.emit_c.text import header_text, output_type, source_text
from ssmc.emit_c.widths import INT32, INT64, CType, narrowest
from ssmc.errors import ModelError
from ssmc.ir.operations import (
    AnyOp,
    Concat,
    Dequantize,
    Downsample,
    ExponentialMean,
    Ids,
    Last,
    Linear,
    Mean,
    Norm,
    Product,
    Quantize,
    Slice,
    SlidingMean,
    StateSpace,
    Sum,
    Table,
)
from ssmc.ir.operations.operation import Recurrent, Reduction
from ssmc.ir.program import Program
from ssmc.ir.requant import make_requant

INT16_ENDS = -(1 << 15), (1 << 15) - 1


@dataclass(frozen=True)
class Emitted:
    """A model in C.

    Attributes:
        prefix: of all names.
        program: what it computes.
        header, source: the texts.
        step_layers, finish_layers: what runs per step and per sequence.
        fields: members of the state struct.
        flash_bytes: of all constants.
        input_type, output_type: of the codes.
        quantizes: the file can quantize int16 samples.
    """

    prefix: str
    program: Program
    header: str
    source: str
    step_layers: tuple[Layer, ...]
    finish_layers: tuple[Layer, ...]
    fields: tuple[Field, ...]
    flash_bytes: int
    input_type: CType
    output_type: CType
    quantizes: bool

    @property
    def state_bytes(self) -> int:
        """``sizeof`` the state struct, with natural alignment."""
        size = sum(field.bytes for field in self.fields)
        align = max((field.ctype.bytes for field in self.fields), default=1)
        return -(-size // align) * align

    @property
    def scratch_bytes(self) -> int:
        """Largest local arrays of a layer, on the stack."""
        return max((layer.scratch_bytes for layer in (*self.step_layers, *self.finish_layers)), default=0)


@dataclass
class _State:
    """Members that live from step to step, with their initial values where these are not zero.

    Attributes:
        registers: by kernel.
        groups: by operation that lowers the rate: the place within the group, and what it has so far.
        counts: by mean at a lower rate, the member that counts its steps.
    """

    fields: list[Field]
    starts: list[tuple[str, str, int]]
    registers: dict[str, Registers]
    groups: dict[str, tuple[Field, Field | None]] = field(default_factory=dict)
    counts: dict[str, str] = field(default_factory=dict)


def emit(program: Program, prefix: str, *, share: bool = True, word: int = 8) -> Emitted:
    """The C of a program.

    Args:
        program: what to compute.
        prefix: of all names.
        word: least width of weights and values, 8 or 16 bits.
        share: let values share memory; without it every value of the last step can be looked at in the state, where
            ``finish`` then leaves the end of the sequence.

    Raises:
        ModelError: SSMC-C21..C24, by node.
    """
    check(program)
    program = fold_multipliers(program)
    file = SourceFile(prefix, word, taken={"init", "step", "finish", "run", "quantize", "state", "input", "output"})
    members: set[str] = {"steps"}
    held, fields = _reduction_fields(program, members, word)
    planner = Planner(program, share, members, word)
    buffers = planner.plan({name: f"state->{field.name}" for name, field in held.items()})
    ctx = Context(file, program, buffers.where)
    state = _State(list(fields), _starts(program, held), {})
    step, finish, end = _layers(ctx, state, held, members)
    if any(isinstance(op, Mean) and op.how == "mean" for op in program.ops):
        state.fields.append(Field("steps", narrowest(0, 1 << 31), 1, "time steps seen"))
    every = sorted([*state.fields, *buffers.fields], key=lambda f: -f.ctype.bytes)
    every = every or [Field("unused", narrowest(0, 1), 1, "C has no empty structs")]
    quantizer = _quantizer(file, program)
    text = header_text(program, prefix, tuple(every), quantizer is not None, file)
    body = source_text(ctx, (step, end), tuple(every), tuple(state.starts), quantizer, share=share)
    out = output_type(program, word)
    return Emitted(
        prefix, program, text, body, step, finish, tuple(every), file.flash_bytes, input_type(program, word), out,
        quantizer is not None,
    )  # fmt: skip


def check(program: Program) -> None:
    """Decline what C cannot do.

    Raises:
        ModelError: SSMC-C24 an operation that mixes values of two rates, SSMC-C28 an input with two sets of codes.
    """
    quantizers = [op for op in program.ops if isinstance(op, Quantize)]
    if len(quantizers) > 1:
        fact = f"the input is quantized twice, as {quantizers[0].name} and otherwise"
        remedy = "give the input one quantizer, in front of all that reads it"
        raise ModelError("SSMC-C28", fact, remedy, quantizers[1].name)
    for op in program.ops:
        rates = {program.values[v].rate for v in op.inputs if v in program.values}
        if len(rates) > 1 or (isinstance(op, Recurrent | Reduction) and rates == {"sequence"}):
            fact = f"{type(op).__name__} mixes values of every step with values of the whole sequence"
            raise ModelError("SSMC-C24", fact, "reduce over time once, after the last recurrence", op.name)


def _reduction_fields(program: Program, members: set[str], word: int) -> tuple[dict[str, Field], tuple[Field, ...]]:
    """Members of means and last values, by op."""
    held: dict[str, Field] = {}
    for op in program.ops:
        if isinstance(op, Reduction):
            codes = program.values[op.inputs[0]]
            ctype = INT64 if isinstance(op, Mean) else narrowest(codes.quant.lo, codes.quant.hi, word)
            kept = op.how if isinstance(op, Last) else "sum"
            what = {"sum": "running sum", "last": "newest value", "max": "largest value"}[kept]
            name, value = f"{kept}_{op.name}", op.output if isinstance(op, Last) else ""
            held[op.name] = Field(unique(name, members), ctype, codes.size, f"{op.name}: {what}", value)
    return held, tuple(held.values())


def _starts(program: Program, held: dict[str, Field]) -> list[tuple[str, str, int]]:
    """Members of reductions that do not begin with 0."""
    reductions = [(held[op.name], op.start) for op in program.ops if isinstance(op, Reduction) and op.start]
    return [(field.name, f"({field.ctype.name})({start})", field.count) for field, start in reductions]


def _layers(
    ctx: Context, state: _State, held: dict[str, Field], members: set[str]
) -> tuple[tuple[Layer, ...], tuple[Layer, ...], tuple[Layer, ...]]:
    """What runs every step, what once per sequence, and all that ``finish`` runs: the rests of lower rates as well."""
    step: list[Layer] = []
    once: list[Layer] = []
    end: list[Layer] = []
    program, rests = ctx.program, any(group.rest for clock in flag_names(ctx.program) for group in clock)
    for op in program.ops:
        made = _layer(ctx, op, state, held, members)
        if made is not None and program.rate(op) == "step":
            step.append(replace(made, clock=program.clock(op)))
            end += step[-1:] if rests and program.clock(op) else []
        elif made is not None:
            once.append(made)
            end.append(made)
        if isinstance(op, Mean):
            once.append(emit_mean(ctx, op, held[op.name].name, state.counts.get(op.name, "")))
            end.append(once[-1])
        if isinstance(op, Downsample) and op.group.rest:
            end.append(_rest(ctx, op, state))
    return tuple(step), tuple(once), tuple(end)


def _downsample(ctx: Context, op: Downsample, state: _State, members: set[str]) -> Layer:
    place, kept = state.groups[op.name] = group_fields(ctx.program, op, members, ctx.file.word)
    state.fields += [field for field in (place, kept) if field is not None]
    if first_place(op):
        state.starts.append((place.name, f"({place.ctype.name})({first_place(op)})", 1))
    return emit_downsample(ctx, op, flag_names(ctx.program)[ctx.program.values[op.output].clock], place, kept)


def _rest(ctx: Context, op: Downsample, state: _State) -> Layer:
    place, kept = state.groups[op.name]
    assert kept is not None
    return emit_rest(ctx, op, flag_names(ctx.program)[ctx.program.values[op.output].clock], place, kept)


def _sum_step(ctx: Context, op: Mean, state: _State, held: dict[str, Field], members: set[str]) -> Layer:
    """The running sum; at a lower rate with a count of its own."""
    if ctx.program.clock(op) and op.how == "mean":
        count = Field(unique(f"steps_{op.name}", members), INT64, 1, f"{op.name}: steps of its rate seen")
        state.fields.append(count)
        state.counts[op.name] = count.name
    return emit_sum_step(ctx, op, held[op.name].name, state.counts.get(op.name, ""))


def _layer(ctx: Context, op: AnyOp, state: _State, held: dict[str, Field], members: set[str]) -> Layer | None:
    """The C of one operation; None for what needs no code of its own: the ends of the program, and an alias."""
    match op:
        case Linear():
            return emit_linear(ctx, op)
        case StateSpace():
            return _kernel_layer(ctx, op, state, members)
        case Table():
            return emit_table(ctx, op)
        case Product():
            return emit_product(ctx, op)
        case Sum():
            return emit_sum(ctx, op)
        case Norm():
            return emit_norm(ctx, op)
        case Concat():
            return emit_concat(ctx, op)
        case Mean():
            return _sum_step(ctx, op, state, held, members)
        case Last():
            return emit_last_step(ctx, op, held[op.name].name)
        case Downsample():
            return _downsample(ctx, op, state, members)
        case SlidingMean():
            layer, fields = emit_sliding_mean(ctx, op, members)
            state.fields += fields
            return layer
        case ExponentialMean():
            layer, fields = emit_exponential_mean(ctx, op, members)
            state.fields += fields
            return layer
        case Quantize() | Slice() | Dequantize():
            return None
        case _:
            assert_never(op)


def _kernel_layer(ctx: Context, op: StateSpace, state: _State, members: set[str]) -> Layer:
    name = unique(f"r_{op.name}", members)
    few = op.matrix.groups < FEW_GROUPS
    pairs = None if few else find_pairs(ctx, op)
    emit_kernel = emit_rows if few else emit_blocks
    layer, registers = emit_kernel(ctx, op, name) if pairs is None else emit_pairs(ctx, op, name, pairs)
    if registers.start.size:
        state.fields.append(Field(name, registers.ctype, registers.start.size, f"{op.name}: registers"))
        start = ctx.file.param(f"{op.name}_start", registers.start, f"{op.name}: registers before the first step")
        if not start.always(0):
            state.starts.append((name, f"({registers.ctype.name}){start.at('i')}", registers.start.size))
    state.registers[op.name] = registers
    return layer


def _quantizer(file: SourceFile, program: Program) -> str | None:
    """C expression of the code of an int16 sample ``samples[c]``, where shifts or divisions do it exactly."""
    first = program.ops[0]
    assert isinstance(first, Quantize)
    if isinstance(first, Ids):
        return None
    scale = np.broadcast_to(first.quant.scale, (program.input_size,))
    ratio = [1 / Fraction(float(s)) for s in scale]
    zero = [Fraction(0)] * len(ratio)
    try:
        requant = make_requant(ratio, zero, first.quant.lo, first.quant.hi, INT16_ENDS, first.name)
        if requant.thresholds:
            return None
        rows = np.arange(len(ratio))
        name = define_requant(file, first.name, requant, rows, np.full(len(ratio), 1 << 15), INT32, first.name)
    except ModelError:
        return None
    return f"{name}(samples[c], c)"
