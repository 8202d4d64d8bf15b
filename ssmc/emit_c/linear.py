"""A matrix in C: four rows at a time where it is dense, column indices where it is mostly zero."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssmc.emit_c import row_codes, row_pairs
from ssmc.emit_c.context import Context, arguments, check_matrix, sum_type
from ssmc.emit_c.packing import packed_bits
from ssmc.emit_c.requants import define_requant
from ssmc.emit_c.separate import reach_of
from ssmc.emit_c.source import Layer, SourceFile, block
from ssmc.emit_c.widths import INT16, INT32, UINT32, CType, narrowest
from ssmc.ir.operations import Linear
from ssmc.ir.rounding import IntArray

SPARSE_BELOW = 0.4
UNROLLED = 4


@dataclass(frozen=True)
class Rows:
    """How a stack of matrix rows (rows, n) lies in flash, and the C that sums them.

    Attributes:
        lines: C statements; ``{j}`` of `finish` is the row.
        macs: products each time.
        scratch: bytes of local arrays.
        stored: for people.
    """

    lines: list[str]
    macs: int
    scratch: int
    stored: str


def is_sparse(codes: IntArray) -> bool:
    """Column indices save multiply-accumulates and flash."""
    filled = int(np.count_nonzero(codes))
    bits = max(8, packed_bits(codes))
    index = narrowest(0, max(codes.shape[1] - 1, 0)).bits
    smaller = filled * (bits + index) + 16 * len(codes) < codes.size * packed_bits(codes)
    return smaller and filled < SPARSE_BELOW * codes.size


def row_sums(file: SourceFile, name: str, codes: IntArray, x: tuple[str, CType], acc: CType, finish: str) -> Rows:
    """C that, for every row j of codes (rows, n), sums it over ``x`` and runs ``finish`` with {acc} and {j}.

    ``x`` is a C expression and the type of its elements.
    """
    if is_sparse(codes):
        return _sparse(file, name, codes, x[0], acc, finish)
    bits = packed_bits(codes)
    if file.word == 8 and acc == INT32 and bits == 8 and row_pairs.fits(codes, x[1]):
        return _pairs(file, name, codes, x[0], finish)
    if file.word == 8 and acc == INT32 and row_codes.fits(codes, bits, x[1]):
        return _codes(file, name, codes, x[0], finish)
    return _dense(file, name, codes, x[0], acc, finish)


def _codes(file: SourceFile, name: str, codes: IntArray, x: str, finish: str) -> Rows:
    """Several codes a half word (`ssmc.emit_c.row_codes`)."""
    (rows, n), bits = codes.shape, packed_bits(codes)
    what = (
        f"{name}: weights, {rows} rows of {n}; {bits}-bit codes, {row_codes.per_word(bits)} a word, by pairs of inputs"
    )
    words = file.constant(f"{name}_weights", row_codes.pack_words(codes, bits), what, UINT32)
    whole = row_codes.padded(n, bits)
    lines = ["{", f"    int32_t sum[{rows}];", f"    int16_t wide[{whole}]{'' if whole == n else ' = { 0 }'};"]
    lines += [f"    {file.helper('widen')}({x}, wide, {n});"]
    lines += [f"    {file.helper(f'rows{bits}')}({words.name}, wide, {whole}, {rows}, sum);"]
    done = finish.format(acc="sum[j]", j="j")
    lines += [f"    for (int j = 0; j < {rows}; ++j) {{", f"        {done}", "    }", "}"]
    return Rows(lines, codes.size, 4 * rows + 2 * whole, f"dense, {bits} bit, by pairs")


def _pairs(file: SourceFile, name: str, codes: IntArray, x: str, finish: str) -> Rows:
    """Two rows a word (`ssmc.emit_c.row_pairs`)."""
    rows, n = codes.shape
    what = f"{name}: weights, {rows} rows of {n}, two rows a word"
    words = file.constant(f"{name}_weights", row_pairs.pack_pairs(codes), what, INT16)
    pairs = -(-rows // 2)
    lines = ["{", f"    int32_t sum[{2 * pairs}];", f"    int16_t wide[{n}];"]
    lines += [f"    {file.helper('widen')}({x}, wide, {n});"]
    lines += [f"    {file.helper(row_pairs.helper(n))}({words.name}, wide, {n}, {pairs}, sum);"]
    done = finish.format(acc="sum[j]", j="j")
    lines += [f"    for (int j = 0; j < {rows}; ++j) {{", f"        {done}", "    }", "}"]
    return Rows(lines, codes.size, 8 * pairs + 2 * n, "dense, 8 bit, two rows a word")


def _dense(file: SourceFile, name: str, codes: IntArray, x: str, acc: CType, finish: str) -> Rows:
    """One row after the other, or four at once."""
    weights = file.weights(f"{name}_weights", codes, f"{name}: weights, {len(codes)} rows of {codes.shape[1]}")
    n, rows = codes.shape[1], len(codes)
    whole = rows - rows % UNROLLED if not weights.packed and n > 1 else 0
    lines = ["{", f"    {acc.name} sum[{rows}];"]
    if whole:
        lines += [f"    for (int j = 0; j < {whole}; j += {UNROLLED}) {{"]
        lines += [f"        const {weights.ctype.name} *w = {weights.constant.name} + j * {n};"]
        lines += [*_several(n, x, acc, UNROLLED), "    }"]
    if whole < rows:
        lines += [f"    for (int j = {whole}; j < {rows}; ++j) {{"]
        if weights.packed:
            unpack = file.helper(f"unpack{weights.bits}")
            lines += [f"        {weights.ctype.name} w[{n}];"]
            lines += [f"        {unpack}({weights.constant.name} + j * {weights.row_bytes}, w, {n});"]
        else:
            lines += [f"        const {weights.ctype.name} *w = {weights.constant.name} + j * {n};"]
        lines += [*_several(n, x, acc, 1), "    }"]
    done = finish.format(acc="sum[j]", j="j")
    lines += [f"    for (int j = 0; j < {rows}; ++j) {{", f"        {done}", "    }", "}"]
    scratch = acc.bytes * rows + (n if weights.packed else 0)
    return Rows(lines, codes.size, scratch, f"dense, {weights.bits} bit")


def _several(n: int, x: str, acc: CType, count: int) -> list[str]:
    """Sums of ``count`` rows from ``w`` on; apart from what becomes of them, which vectorizes on its own."""
    sums = [f"a{i}" for i in range(count)]
    lines = [f"{acc.name} {', '.join(f'{a} = 0' for a in sums)};", f"for (int i = 0; i < {n}; ++i) {{"]
    lines += [f"    const {acc.name} factor = {x}[i];"] if count > 1 else []
    v = "factor" if count > 1 else f"({acc.name}){x}[i]"
    lines += [f"    {a} += w[{'i' if i == 0 else f'{i * n} + i'}] * {v};" for i, a in enumerate(sums)] + ["}"]
    lines += [f"sum[{'j' if i == 0 else f'j + {i}'}] = {a};" for i, a in enumerate(sums)]
    return [f"        {line}" for line in lines]


def _sparse(file: SourceFile, name: str, codes: IntArray, x: str, acc: CType, finish: str) -> Rows:
    row, column = np.nonzero(codes)
    starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(codes)))]).astype(np.int64)
    values = np.append(codes[row, column], 0)
    w = file.constant(f"{name}_weights", values, f"{name}: weights other than zero, row by row")
    at = file.constant(f"{name}_columns", np.append(column, 0), f"{name}: the input of each weight")
    first = file.constant(f"{name}_rows", starts, f"{name}: where each row begins")
    lines = [
        f"for (int j = 0; j < {len(codes)}; ++j) {{",
        f"    const int stop = {first.name}[j + 1];",
        f"    {acc.name} a0 = 0;",
        f"    for (int i = {first.name}[j]; i < stop; ++i) {{",
        f"        a0 += {w.name}[i] * ({acc.name}){x}[{at.name}[i]];",
        "    }",
        f"    {finish.format(acc='a0', j='j')}",
        "}",
    ]
    return Rows(lines, int(row.size), 0, f"sparse, {w.ctype.bits} bit and {at.ctype.bits}-bit column")


def emit_linear(ctx: Context, op: Linear) -> Layer:
    """``y = requant(W x)``, group by group."""
    check_matrix(op.matrix, op.name)
    groups, outputs, n = op.matrix.codes.shape
    lo, hi = ctx.ends(op.inputs[0])
    edge = np.ones((groups, n), np.int64)
    reach = reach_of(op.matrix, op.requant, lo * edge, hi * edge)
    acc = sum_type(reach)
    rows = np.arange(groups * outputs)
    requant = define_requant(ctx.file, op.name, op.requant, rows, reach.ravel(), acc, op.name)
    out, in_ = ctx.ctype(op.output), ctx.ctype(op.inputs[0])
    lines, macs, scratch, stored = [], 0, 0, ""
    for group in range(groups) if groups <= UNROLLED else ():
        start, first = group * n, group * outputs
        finish = f"y[{_plus(first, '{j}')}] = ({out.name}){requant}({{acc}}, {_plus(first, '{j}')});"
        x = f"(x + {start})" if start else "x"
        part = row_sums(
            ctx.file, f"{op.name}_{group}" if group else op.name, op.matrix.codes[group], (x, in_), acc, finish
        )
        lines += part.lines
        macs, scratch, stored = macs + part.macs, max(scratch, part.scratch), part.stored
    if groups > UNROLLED:
        lines, macs, scratch, stored = _grouped(ctx, op, requant, acc.name, out.name)
    what = f"{op.name}: {groups * n} inputs to {groups * outputs} outputs, {stored} weights"
    name = ctx.define(op, what, arguments(("const ", in_, "x"), ("", out, "y")), [block(lines)])
    return Layer(op.name, ctx.call(name, op), macs, {"requantizations": groups * outputs}, scratch, stored)


def _plus(first: int, index: str) -> str:
    return f"{first} + {index}" if first else index


def _grouped(ctx: Context, op: Linear, requant: str, acc: str, out: str) -> tuple[list[str], int, int, str]:
    """Many small equal blocks: weights stored entry by entry so that one loop runs over the groups."""
    groups, outputs, n = op.matrix.codes.shape
    table = op.matrix.codes.reshape(groups, outputs * n).T
    weights = ctx.file.weights(f"{op.name}_weights", table, f"{op.name}: weights, [output][input][group]", bits=None)
    size = outputs * n * groups
    lines = [f"{weights.ctype.name} unpacked[{size}];"] if weights.packed else []
    if weights.packed:
        unpack = ctx.file.helper(f"unpack{weights.bits}")
        lines += [f"for (int e = 0; e < {outputs * n}; ++e) {{"]
        packed = f"{weights.constant.name} + e * {weights.row_bytes}"
        lines += [f"    {unpack}({packed}, unpacked + e * {groups}, {groups});"]
        lines += ["}"]
    source = "unpacked" if weights.packed else weights.constant.name
    lines += [f"for (int j = 0; j < {outputs}; ++j) {{", f"    for (int h = 0; h < {groups}; ++h) {{"]
    lines += [f"        {acc} a0 = 0;", f"        for (int i = 0; i < {n}; ++i) {{"]
    lines += [f"            a0 += {source}[(j * {n} + i) * {groups} + h] * ({acc})x[h * {n} + i];", "        }"]
    row = f"h * {outputs} + j"
    lines += [f"        y[{row}] = ({out}){requant}(a0, {row});", "    }", "}"]
    return lines, size, size if weights.packed else 0, f"interleaved, {weights.bits} bit"
