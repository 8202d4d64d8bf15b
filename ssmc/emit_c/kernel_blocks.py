"""A kernel of many groups (one SSM per channel): blocks of states, one inner loop over the channels.

Per block the codes of A (b x b), B (b x m) and C (p x b) lie one after the other, each a row with one code per
channel, so that a vector unit takes neighbouring channels and a scalar one walks along the row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ssmc.emit_c.blocks import Blocks, find_blocks, read_rows
from ssmc.emit_c.context import Context
from ssmc.emit_c.kernel import Parts, kernel_arguments, make_parts
from ssmc.emit_c.packing import packed_bits
from ssmc.emit_c.separate import INPUTS, STATES
from ssmc.emit_c.source import Layer, SourceFile, Weights, block
from ssmc.emit_c.states import Registers, define_registers
from ssmc.ir.operations import StateSpace
from ssmc.ir.rounding import IntArray

WRITTEN_OUT = 24


@dataclass(frozen=True)
class _Kernel:
    """Everything the text needs."""

    file: SourceFile
    parts: Parts
    blocks: Blocks
    weights: Weights | None
    direct: Weights
    out: str

    @property
    def groups(self) -> int:
        return self.parts.op.matrix.groups

    @property
    def entries(self) -> int:
        """Codes per block and channel."""
        b, op = self.blocks.size, self.parts.op
        return b * (b + op.n_input + op.n_output)

    def entry(self, part: str, i: int, j: int) -> int:
        """Where A[i][j], B[i][j] or C[i][j] lies in a block."""
        b, m = self.blocks.size, self.parts.op.n_input
        return {"a": i * b + j, "b": b * b + i * m + j, "c": b * (b + m) + i * b + j}[part]


def emit_blocks(ctx: Context, op: StateSpace, field: str) -> tuple[Layer, Registers]:
    """Block after block, all channels of a block in one loop."""
    blocks = find_blocks(op)
    groups, p, m = op.matrix.groups, op.n_output, op.n_input
    slots = blocks.size * blocks.count
    state_rows = np.array([(g, blocks.places[g, s]) for s in range(slots) for g in range(groups)], np.int64)
    state_rows = state_rows.reshape(-1, 2)
    output_rows = np.array([(g, o) for o in range(p) for g in range(groups)], np.int64).reshape(-1, 2)
    registers = define_registers(ctx.file, field, op, state_rows[:, 0] * op.n_state + state_rows[:, 1])
    parts = make_parts(ctx, op, registers, state_rows, output_rows)
    codes = _block_codes(op, blocks)
    direct_codes = read_rows(op)[:, :, op.n_state :].reshape(groups, p * m).T
    bits = max(packed_bits(codes), packed_bits(direct_codes)) if slots else packed_bits(direct_codes)
    layout = f"[{blocks.count} blocks][A, B, C of {blocks.size} states][{groups} channels]"
    weights = ctx.file.weights(f"{op.name}_weights", codes, f"{op.name}: {layout}", bits=bits) if slots else None
    what = f"{op.name}: D, [output][input][channel]"
    direct = ctx.file.weights(f"{op.name}_direct", direct_codes, what, bits=bits)
    kernel = _Kernel(ctx.file, parts, blocks, weights, direct, ctx.ctype(op.output).name)
    lines = list(_text(kernel))
    what = parts.describe(f"weights {layout}, {bits} bit")
    name = ctx.define(op, what, kernel_arguments(ctx, parts), [block(lines)])
    macs = groups * (blocks.count * kernel.entries + p * m)
    reads = registers.roundings * (2 if op.output_after else 1)
    work = {"requantizations": groups * (slots + p), "read-outs": reads}
    state = [f"state->{field}"] if slots else []
    return Layer(op.name, ctx.call(name, op, *state), macs, work, _scratch(kernel), f"{layout}, {bits} bit"), registers


def _block_codes(op: StateSpace, blocks: Blocks) -> IntArray:
    """(count * entries, G): A, B and C of every block, zero at padding."""
    n, c = op.n_state, read_rows(op)
    groups = op.matrix.groups
    if not blocks.order.size:
        return np.zeros((0, groups), np.int64)
    g = np.arange(groups)[:, None, None]
    places = blocks.places.reshape(groups, blocks.count, blocks.size)
    real = blocks.real.reshape(places.shape)
    w = op.matrix.codes
    a = w[g[..., None], places[..., :, None], places[..., None, :]] * real[..., :, None] * real[..., None, :]
    b = w[g, places][..., n:] * real[..., None]
    out = np.moveaxis(c[:, :, :n], 1, 2)[g, places] * real[..., None]
    shape = (groups, blocks.count, -1)
    merged = np.concatenate([a.reshape(shape), b.reshape(shape), np.swapaxes(out, 2, 3).reshape(shape)], 2)
    return np.asarray(np.moveaxis(merged, 0, 2).reshape(-1, groups), np.int64)


def _scratch(k: _Kernel) -> int:
    op, groups = k.parts.op, k.groups
    total = k.parts.acc_y.bytes * op.n_output * groups
    total += k.entries * groups if k.weights is not None and k.weights.packed else 0
    total += op.n_output * op.n_input * groups if k.direct.packed else 0
    return total + (0 if _written_out(k) else (4 * k.blocks.size + k.parts.acc.bytes) * groups)


def _written_out(k: _Kernel) -> bool:
    return k.entries <= WRITTEN_OUT


def _text(k: _Kernel) -> Iterator[str]:
    op, groups = k.parts.op, k.groups
    p, m = op.n_output, op.n_input
    if k.direct.packed:
        yield f"int8_t d[{p * m * groups}];"
    if k.weights is not None and k.weights.packed:
        yield f"int8_t w[{k.entries * groups}];"
    yield f"{k.parts.acc_y.name} sum[{p * groups}];"
    yield from _unpack(k, k.direct, "d", p * m, "0") if k.direct.packed else ()
    yield from _direct(k)
    if k.weights is not None:
        yield f"for (int k = 0; k < {k.blocks.count}; ++k) {{"
        yield from (f"    {line}" for line in _block(k, k.weights))
        yield "}"
    for o in range(p):
        row = f"h + {o * groups}" if o else "h"
        yield f"for (int h = 0; h < {groups}; ++h) {{"
        yield f"    y[{_index('h', p, o)}] = ({k.out}){k.parts.requant_y}(sum[{row}], {row});"
        yield "}"


def _index(h: str, stride: int, offset: int) -> str:
    text = h if stride == 1 else f"{h} * {stride}"
    return f"{text} + {offset}" if offset else text


def _unpack(k: _Kernel, weights: Weights, target: str, rows: int, first: str) -> Iterator[str]:
    unpack = k.file.helper(f"unpack{weights.bits}")
    start = f"{first} + " if first != "0" else ""
    yield f"for (int e = 0; e < {rows}; ++e) {{"
    source = f"{weights.constant.name} + ({start}e) * {weights.row_bytes}"
    yield f"    {unpack}({source}, {target} + e * {k.groups}, {k.groups});"
    yield "}"


def _direct(k: _Kernel) -> Iterator[str]:
    """D u, which every output begins with."""
    op, groups, acc = k.parts.op, k.groups, k.parts.acc_y.name
    d = "d" if k.direct.packed else k.direct.constant.name
    for o in range(op.n_output):
        row = f"h + {o * groups}" if o else "h"
        terms = [
            f"({acc}){d}[{_index('h', 1, (o * op.n_input + j) * groups)}] * u[{_index('h', op.n_input, j)}]"
            for j in range(op.n_input)
        ]
        yield f"for (int h = 0; h < {groups}; ++h) {{"
        yield f"    sum[{row}] = {k.parts.factors_y.times(INPUTS, ' + '.join(terms), row)};"
        yield "}"


def _block(k: _Kernel, weights: Weights) -> Iterator[str]:
    """One block of states."""
    groups, b = k.groups, k.blocks.size
    if weights.packed:
        yield from _unpack(k, weights, "w", k.entries, f"k * {k.entries}")
    else:
        yield f"const {weights.ctype.name} *w = {weights.constant.name} + k * {k.entries * groups};"
    yield f"{k.parts.registers.ctype.name} *s = r + k * {b * groups};"
    yield f"const int row = k * {b * groups};"
    yield from _written(k) if _written_out(k) else _looped(k)


def _written(k: _Kernel) -> Iterator[str]:
    """Small blocks: every product written out."""
    op, g, b = k.parts.op, k.groups, k.blocks.size
    acc, term, factors = k.parts.acc.name, k.parts.term.name, k.parts.factors
    after = op.output_after
    yield f"for (int h = 0; h < {g}; ++h) {{"
    for j in range(op.n_input):
        yield f"    const int32_t u{j} = u[{_index('h', op.n_input, j)}];"
    for i in range(b):
        yield f"    const int32_t x{i} = {k.parts.read(f's[{_at(i, g)}]', f'row + {_at(i, g)}')};"
    for i in range(b):
        fed = _products([(k.entry("a", i, j), f"x{j}") for j in range(b)], g, term)
        driven = _products([(k.entry("b", i, j), f"u{j}") for j in range(op.n_input)], g, term)
        row = f"row + {_at(i, g)}"
        yield f"    const {acc} a{i} = {factors.times(STATES, fed, row)} + {factors.times(INPUTS, driven, row)};"
    if not after:
        yield from _outputs(k, "x")
    for i in range(b):
        yield f"    s[{_at(i, g)}] = {k.parts.write(f's[{_at(i, g)}]', f'a{i}', f'row + {_at(i, g)}')};"
    if after:
        for i in range(b):
            yield f"    const int32_t z{i} = {k.parts.read(f's[{_at(i, g)}]', f'row + {_at(i, g)}')};"
        yield from _outputs(k, "z")
    yield "}"


def _outputs(k: _Kernel, x: str) -> Iterator[str]:
    g = k.groups
    for o in range(k.parts.op.n_output):
        terms = [(k.entry("c", o, j), f"{x}{j}") for j in range(k.blocks.size)]
        read = k.parts.factors_y.times(STATES, _products(terms, g, k.parts.term_y.name), _at(o, g))
        yield f"    sum[{_at(o, g)}] += {read};"


def _at(i: int, groups: int) -> str:
    return f"h + {i * groups}" if i else "h"


def _products(terms: list[tuple[int, str]], groups: int, acc: str) -> str:
    cast = "(int64_t)" if acc == "int64_t" else ""
    return " + ".join(f"{cast}w[{_at(entry, groups)}] * {x}" for entry, x in terms)


def _looped(k: _Kernel) -> Iterator[str]:
    """Large blocks: loops over the states of a block, inside them over the channels."""
    op, g, b, m, p = k.parts.op, k.groups, k.blocks.size, k.parts.op.n_input, k.parts.op.n_output
    acc = k.parts.acc.name
    gather = [
        f"for (int i = 0; i < {b}; ++i) {{",
        f"    for (int h = 0; h < {g}; ++h) {{",
        f"        x[i * {g} + h] = {k.parts.read(f's[i * {g} + h]', f'row + i * {g} + h')};",
        "    }",
        "}",
    ]
    product = f"({k.parts.acc_y.name})w[({b * (b + m)} + i) * {g} + h] * x[i % {b} * {g} + h]"
    read_row = f"i / {b} * {g} + h"
    read = [
        f"for (int i = 0; i < {p * b}; ++i) {{",
        f"    for (int h = 0; h < {g}; ++h) {{",
        f"        sum[{read_row}] += {k.parts.factors_y.times(STATES, product, read_row)};",
        "    }",
        "}",
    ]
    yield f"int32_t x[{b * g}];"
    yield f"{acc} part[{g}];"
    yield from gather
    yield from () if op.output_after else read
    yield f"for (int i = 0; i < {b}; ++i) {{"
    yield from (f"    {line}" for line in _state_sums(k))
    yield f"    for (int h = 0; h < {g}; ++h) {{"
    place, row = f"s[i * {g} + h]", f"row + i * {g} + h"
    yield f"        {place} = {k.parts.write(place, 'part[h]', row)};"
    yield from ("    }", "}")
    yield from [*gather, *read] if op.output_after else ()


def _state_sums(k: _Kernel) -> Iterator[str]:
    g, b, m, acc = k.groups, k.blocks.size, k.parts.op.n_input, k.parts.acc.name
    yield from (f"for (int h = 0; h < {g}; ++h) {{", "    part[h] = 0;", "}")
    loops = ((STATES, b, 0, b, f"x[j * {g} + h]"), (INPUTS, m, b * b, m, f"u[h * {m} + j]"))
    for part, count, first, stride, x in loops:
        at = f"{first} + i * {stride} + j" if first else f"i * {stride} + j"
        yield f"for (int j = 0; j < {count}; ++j) {{"
        yield f"    for (int h = 0; h < {g}; ++h) {{"
        product = k.parts.factors.times(part, f"({acc})w[({at}) * {g} + h] * {x}", f"row + i * {g} + h")
        yield f"        part[h] += {product};"
        yield from ("    }", "}")
