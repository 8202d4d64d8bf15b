"""A kernel of pairs of states in C: channel after channel, pair after pair, with dual multiply-accumulates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ssmc.emit_c.blocks import read_rows
from ssmc.emit_c.context import Context, arguments, bound
from ssmc.emit_c.pair_stream import KIND, Stream, define_stream, number
from ssmc.emit_c.pairs import Pairs
from ssmc.emit_c.requants import define_requant
from ssmc.emit_c.separate import reach_of
from ssmc.emit_c.source import Layer, SourceFile, block
from ssmc.emit_c.states import Registers
from ssmc.emit_c.widths import INT16, INT32
from ssmc.ir.operations import StateSpace


@dataclass(frozen=True)
class _Text:
    """What the C of a pair is made from."""

    pairs: Pairs
    stream: Stream
    file: SourceFile

    def call(self, helper: str, *values: object) -> str:
        """A shared function."""
        return f"{self.file.helper(helper)}({', '.join(map(str, values))})"

    def number(self, key: str, state: int) -> str:
        """A number of the first state, or of the second."""
        return number(self.stream, self.file, key, state)


def emit_pairs(ctx: Context, op: StateSpace, field: str, pairs: Pairs) -> tuple[Layer, Registers]:
    """One loop over channels; in it one over pairs that do not turn and one over those that do."""
    name, groups = op.name, op.matrix.groups
    stream = define_stream(ctx.file, name, pairs, read_rows(op)[:, 0, op.n_state])
    text, output = _Text(pairs, stream, ctx.file), _output_requant(ctx, op)
    kind = pairs.register.name
    lines = [f"const int8_t *w = {stream.name};", *_halves(text), f"for (int h = 0; h < {groups}; ++h) {{"]
    lines += ["    const int32_t u0 = u[h];", "    int32_t sum = *w++ * u0;"]
    for turned in (turned for turned in (False, True) if turned in pairs.turned):
        lines += [
            f"    for (const {kind} *const stop = r + 2 * *w++; r != stop; r += 2, w += {stream.step(turned)}) {{"
        ]
        lines += [*(f"        {line}" for line in _pair(text, turned)), "    }"]
    lines += [f"    y[h] = ({ctx.ctype(op.output).name}){output}(sum, h);", "}"]
    form = {"delta": "registers add up increments", "direct": "codes replace the state"}.get(op.form, "mixed form")
    stored = f"{len(pairs.channel)} pairs of states, {int(pairs.turned.sum())} turn, {pairs.bits} bit"
    kinds = [("", pairs.register, "r"), ("const ", ctx.ctype(op.inputs[0]), "u"), ("", ctx.ctype(op.output), "y")]
    function = ctx.define(
        op, f"{name}: {groups} channels, {form}; {stored}", arguments(*kinds), [block(lines)], apart=True
    )
    start = np.where(pairs.real == 1, op.register0.ravel()[pairs.state], 0).ravel()
    roundings = int(np.count_nonzero(op.shift.ravel()[pairs.state[pairs.real == 1]]))
    work = {"requantizations": int(pairs.real.sum()) + groups, "read-outs": roundings}
    layer = Layer(name, ctx.call(function, op, f"state->{field}"), 8 * len(pairs.channel) + groups, work, 0, stored)
    return layer, Registers(field, pairs.register, start, "", "", 0, 0, roundings)


def _halves(t: _Text) -> Iterator[str]:
    """Half a unit of both roundings, in registers: multiply-accumulates begin with it."""
    p = t.pairs
    halves = {"half": p.shift, **({"half_unit": p.unit_shift} if p.unit_shift else {})}
    yield f"int32_t {', '.join(f'{name} = {1 << (shift - 1)}' for name, shift in halves.items())};"
    yield from (f"{t.call('in_register', name)};" for name in halves)


def _output_requant(ctx: Context, op: StateSpace) -> str:
    """The C function from a channel's sum to its output code."""
    n, groups, apart = op.n_state, op.matrix.groups, op.output_matrix is not None
    u, edge = ctx.ends(op.inputs[0]), np.ones((groups, 1), np.int64)
    lo, hi = np.concatenate([op.dac_lo, u[0] * edge], 1), np.concatenate([op.dac_hi, u[1] * edge], 1)
    requant = op.output_requant or op.requant
    reach = reach_of(op.output_matrix or op.matrix, requant, lo, hi)[:, 0 if apart else n]
    reach = np.maximum(reach, bound(read_rows(op), lo, hi)[:, 0])
    order = np.arange(groups) * (1 if apart else n + 1) + (0 if apart else n)
    return define_requant(ctx.file, f"{op.name}_output", requant, order, reach, INT32, op.name)


def _pair(t: _Text, turned: bool) -> Iterator[str]:
    """The C of one pair."""
    p, second = t.pairs, 0 if turned else 1
    wide = p.register == INT16
    for state in range(second + 1) if t.stream.tables else ():
        yield f"const int kind{state} = {t.number(KIND, state)};"
    yield f"const int32_t held = {t.call('load_pair', 'r') if wide else t.call('pair', 'r[0]', 'r[1]')};"
    yield from _read(t, second)
    yield from _weights(t, turned)
    yield f"const int32_t a0 = {t.call('dual', 'a', 'x', 'b0 * u0')};"
    row = ("dual_turned", "a") if turned else ("dual", "row")
    yield f"const int32_t a1 = {t.call(*row, 'x', 'b1 * u0')};"
    for state, numbers in ((0, 0), (1, second)):
        scaled = f"a{state} * {_factor(t, numbers)} + half"
        yield f"const int32_t q{state} = {t.call('saturate', t.call('even_shift32', scaled, p.shift), p.code_bits)};"
    yield f"sum = {t.call('dual', 'c', 'x', 'sum')};"
    yield from _update(t, wide)


def _read(t: _Text, second: int) -> Iterator[str]:
    """Both read-outs, as a pair."""
    p = t.pairs
    if not p.unit_shift:
        yield f"const int32_t x = {t.call('saturate_pair', 'held', p.read_bits)};"
        return
    for state, times, numbers in ((0, "times_low", 0), (1, "times_high", second)):
        scaled = t.call(times, "held", t.number("scale", numbers), "half_unit")
        rounded = t.call("even_shift32", scaled, p.unit_shift)
        yield f"const int32_t x{state} = {t.call('saturate', rounded, p.read_bits)};"
    yield f"const int32_t x = {t.call('pair', 'x0', 'x1')};"


def _weights(t: _Text, turned: bool) -> Iterator[str]:
    """The first row of A, C and B; and the second row of A where that is another."""
    row = t.stream.at(1) - t.stream.row
    if t.pairs.bits == 8:
        yield f"const int32_t a = {t.call('even_bytes', 'w')}, c = {t.call('odd_bytes', 'w')};"
        yield "const int32_t b0 = w[4], b1 = w[5];"
        second = t.call("pair", f"w[{row}]", f"w[{row + 1}]")
    else:
        low = [t.call("low4", f"w[{place}]") for place in (0, 1, 2, row)]
        yield f"const int32_t a = {t.call('pair', *low[:2])}, c = {t.call('pair', 'w[0] >> 4', 'w[1] >> 4')};"
        yield f"const int32_t b0 = {low[2]}, b1 = w[2] >> 4;"
        second = t.call("pair", low[3], f"w[{row}] >> 4")
    if not turned:
        yield f"const int32_t row = {second};"


def _factor(t: _Text, state: int) -> str:
    """What the sum of a state is multiplied by."""
    if t.stream.has("factor"):
        return t.number("factor", state)
    return f"{t.number('multiplier', state)} * (INT32_C(1) << {t.number('left', state)})"


def _update(t: _Text, wide: bool) -> Iterator[str]:
    """Codes replace registers or are added to them."""
    p, keep, new = t.pairs, t.number("keep", 0), t.call("pair", "q0", "q1")
    if keep != "0":
        held = "held" if keep == "(-1)" else f"held & {keep}"
        new = t.call("saturate_pair", t.call("add_pair", held, new), p.register_bits)
    if wide:
        yield f"{t.call('store_pair', 'r', new)};"
    elif keep == "0":
        yield from ("r[0] = (int8_t)q0;", "r[1] = (int8_t)q1;")
    else:
        yield f"const int32_t next = {new};"
        yield from ("r[0] = (int8_t)next;", "r[1] = (int8_t)(next >> 16);")
