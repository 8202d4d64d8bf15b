"""A kernel whose states come in pairs, as numbers: which it is for, and what C stores of every pair of states.

A complex mode in real coordinates is a pair of states with ``A = [[a, b], [-b, a]]``. Where both rows are also
requantized and read out alike, the pair *turns*: A is two codes instead of four, and one multiplier and one unit serve
both states.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssmc.emit_c.blocks import find_blocks, read_rows
from ssmc.emit_c.context import Context, bound
from ssmc.emit_c.packing import packed_bits
from ssmc.emit_c.separate import reach_of
from ssmc.emit_c.widths import INT8, INT16, INT32, CType, accumulator, narrowest
from ssmc.ir.operations import StateSpace
from ssmc.ir.rounding import IntArray


@dataclass(frozen=True)
class Pairs:
    """Pairs of states, channel by channel, in each those that do not turn first.

    Attributes:
        channel: (K,) of each pair.
        state: (K, 2) flat index into (H, n); the second may repeat the first where `real` says that it is padding.
        real: (K, 2) 1 at a state.
        turned: (K,) the pair turns.
        a, b, c: (K, 2, 2), (K, 2), (K, 2) codes, zero at padding.
        multiplier, left: (K, 2) of the requantization ``multiplier acc 2^left / 2^shift`` of both states.
        shift: of every requantization.
        unit_left: (K, 2), unit_shift: the read-out is ``r 2^unit_left / 2^unit_shift``.
        keep: (K, 2) of 0 or 1.
        code_bits, read_bits, register_bits: signed widths of q, of what is read out, of registers.
        register: C type of a register.
        bits: of a stored weight, 4 or 8.
    """

    channel: IntArray
    state: IntArray
    real: IntArray
    turned: IntArray
    a: IntArray
    b: IntArray
    c: IntArray
    multiplier: IntArray
    left: IntArray
    shift: int
    unit_left: IntArray
    unit_shift: int
    keep: IntArray
    code_bits: int
    read_bits: int
    register_bits: int
    register: CType
    bits: int


def find_pairs(ctx: Context, op: StateSpace) -> Pairs | None:
    """The pairs of a kernel, or None where it has larger blocks, or numbers that pairs are not for."""
    if ctx.file.word != 8 or (op.n_input, op.n_output) != (1, 1) or op.output_after or not op.n_state:
        return None
    if any(m is not None and (m.multiplier is not None or m.is_lowered) for m in (op.matrix, op.output_matrix)):
        return None
    blocks = find_blocks(op, least=2)
    bits = max(4, packed_bits(op.matrix.codes), packed_bits(read_rows(op)))
    limits = _limits(op)
    if blocks.size != 2 or not 0 < blocks.count < 128 or bits not in (4, 8) or limits is None:
        return None
    channel, place = np.nonzero((blocks.order.reshape(-1, blocks.count, 2) >= 0).any(2))
    states = blocks.order.reshape(-1, blocks.count, 2)[channel, place]
    real = (states >= 0).astype(np.int64)
    state = channel[:, None] * op.n_state + np.where(real == 1, states, states[:, :1])
    found = _numbers(ctx, op, channel, state, real)
    if found is None:
        return None
    order = np.lexsort((np.arange(len(channel)), found["turned"], channel))
    code_bits, read_bits, register_bits, register = limits
    scalars = {key: found.pop(key) for key in ("shift", "unit_shift")}
    ordered = {
        key: values[order] for key, values in {**found, "channel": channel, "state": state, "real": real}.items()
    }
    return Pairs(
        **ordered, shift=int(scalars["shift"]), unit_shift=int(scalars["unit_shift"]), code_bits=code_bits,
        read_bits=read_bits, register_bits=register_bits, register=register, bits=bits,
    )  # fmt: skip


def _limits(op: StateSpace) -> tuple[int, int, int, CType] | None:
    """Bits of q, of the read-out and of registers where these are ranges of signed integers; and a register's type."""
    n, requant = op.n_state, op.requant
    rows = np.arange(len(requant)).reshape(op.matrix.groups, -1)[:, :n]
    lo, hi = requant.lo[rows], requant.hi[rows]
    kept = op.keep == 1
    code, read = _signed_bits(lo, hi), _signed_bits(op.dac_lo, op.dac_hi)
    register = _signed_bits(op.register_lo[kept], op.register_hi[kept]) if kept.any() else code
    inside = (lo >= op.register_lo) & (hi <= op.register_hi) | kept
    low, high = np.minimum(op.register_lo, op.register0), np.maximum(op.register_hi, op.register0)
    ctype = narrowest(int(low.min()), int(high.max()))
    if not code or not read or not register or not inside.all() or register < code or ctype not in (INT8, INT16):
        return None
    return (code, read, register, ctype) if register < 15 and read < 16 else None


def _signed_bits(lo: IntArray, hi: IntArray) -> int:
    """Width of the signed integer that has exactly this range; 0 where there is none."""
    bits = int(hi.max()).bit_length() + 1
    exact = (lo == -1 << (bits - 1)).all() and (hi == (1 << (bits - 1)) - 1).all()
    return bits if exact else 0


def _numbers(
    ctx: Context, op: StateSpace, channel: IntArray, state: IntArray, real: IntArray
) -> dict[str, IntArray] | None:
    """Codes and requantization of every pair (K, ..); None where 32 bits or shifts do not do."""
    n, w, places = op.n_state, op.matrix.codes, state - channel[:, None] * op.n_state
    u = ctx.ends(op.inputs[0])
    edge = np.ones((op.matrix.groups, 1), np.int64)
    lo, hi = np.concatenate([op.dac_lo, u[0] * edge], 1), np.concatenate([op.dac_hi, u[1] * edge], 1)
    reach = reach_of(op.matrix, op.requant, lo, hi)[:, :n].ravel()[state]
    at, both = channel[:, None], real[:, :, None] * real[:, None, :]
    a = w[at[..., None], places[..., :, None], places[..., None, :]] * both
    b = w[at, places, n] * real
    c = read_rows(op)[at, 0, places] * real
    rows = channel[:, None] * op.matrix.outputs + places
    requant = op.requant
    empty = (a == 0).all(2) & (b == 0)
    multiplier, shift = (_partners(values[rows], empty) for values in (requant.multiplier, requant.shift))
    unit = np.where(real == 1, op.shift.ravel()[state], op.shift.ravel()[state[:, :1]])
    keep = op.keep.ravel()[state]
    kinds = requant.kinds
    if any(kinds[row] != "shift" for row in rows.ravel().tolist()) or requant.offset[rows].any():
        return None
    common, read = int(shift.max()), int(unit.max())
    left, unit_left = common - shift, read - unit
    largest = (np.abs(multiplier) * reach).astype(object) * (1 << left.astype(object)) + (1 << common)
    register = int(np.maximum(np.abs(op.register_lo), np.abs(op.register_hi)).max()) + int(np.abs(op.register0).max())
    narrow = accumulator(int(bound(read_rows(op), lo, hi).max())) == INT32
    if not common or read > 14 or accumulator(int(largest.max())) != INT32 or register << read >= 1 << 30 or not narrow:
        return None
    alike = (multiplier[:, 0] == multiplier[:, 1]) & (left[:, 0] == left[:, 1]) & (unit[:, 0] == unit[:, 1])
    turned = alike & (a[:, 0, 0] == a[:, 1, 1]) & (a[:, 0, 1] == -a[:, 1, 0])
    return {
        "a": a, "b": b, "c": c, "multiplier": multiplier, "left": left, "unit_left": unit_left, "keep": keep,
        "turned": turned, "shift": np.asarray(common), "unit_shift": np.asarray(read),
    }  # fmt: skip


def _partners(values: IntArray, empty: IntArray) -> IntArray:
    """(K, 2) numbers of rows; a row without weights, whose sum is 0 whatever its numbers, takes its partner's."""
    return np.where(empty, values[:, ::-1], values)
