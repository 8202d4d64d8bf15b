"""Random programs with what dual multiply-accumulates are used for: kernels of pairs, dense rows of 8-bit codes."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from ssmc.ir.matrix import Matrix
from ssmc.ir.operations import Dequantize, Linear, Quantize, StateSpace, Table
from ssmc.ir.program import Program
from ssmc.ir.quant import Codes, QuantType
from ssmc.ir.requant import make_requant
from ssmc.ir.rounding import IntArray

Rng = np.random.Generator


def signed(bits: int) -> QuantType:
    """All codes of a signed integer."""
    return QuantType(-(1 << (bits - 1)), (1 << (bits - 1)) - 1, np.asarray(0.25))


def pair_program(seed: int) -> Program:
    """A kernel whose states come in pairs, a table with constant ends, a dense matrix of 2, 4 or 8 bits."""
    rng = np.random.default_rng(seed)
    groups, code = int(rng.choice([4, 5, 8, 14, 16])), signed(int(rng.choice([5, 8])))
    table, linear = bent_table(rng, groups, code), dense(rng, groups, code)
    first, last = Quantize("q", ("x",), "u", code), Dequantize("o", ("z",), "out", np.asarray(1.0))
    sizes = {"u": groups, "y": groups, "t": groups, "z": len(linear.requant)}
    values = {name: Codes(n, code, "step") for name, n in sizes.items()}
    ops = (first, pair_kernel(rng, groups, code), table, linear, last)
    return Program("x", groups, "out", sizes["z"], ops, values)


def bent_table(rng: Rng, size: int, code: QuantType) -> Table:
    """Functions that rise between two codes and are constant beyond, by channel; few or many values, or one."""
    x, top = np.arange(code.lo, code.hi + 1), int(rng.choice([code.hi, 7, 0]))
    low, step = int(rng.choice([code.lo, -8, 0])), rng.integers(1, 4, (int(rng.choice([1, size])), 1))
    return Table("table", ("y",), "t", np.clip(x // step + rng.integers(-2, 3), max(low, code.lo), top), code.lo)


def dense(rng: Rng, inputs: int, code: QuantType) -> Linear:
    """A matrix of codes of 2, 4 or 8 bits, the extremes among them."""
    outputs, top = int(rng.integers(2, 12)), 1 << int(rng.choice([1, 3, 7]))
    codes = rng.integers(-top, top, (1, outputs, inputs))
    codes[:, ::2] = np.maximum(codes[:, ::2], 1 - top)
    low, high = Matrix(codes).reach(np.full((1, inputs), code.lo), np.full((1, inputs), code.hi))
    ratio = [Fraction(1, 1 << int(s)) for s in rng.integers(0, 16, outputs)]
    bias = [Fraction(int(b), 4) for b in rng.integers(-9, 10, outputs)]
    requant = make_requant(ratio, bias, code.lo, code.hi, (low.ravel(), high.ravel()))
    return Linear("dense", ("t",), "z", Matrix(codes), requant)


def pair_kernel(rng: Rng, groups: int, code: QuantType) -> StateSpace:
    """Turning pairs, other pairs, real modes, dead rows and states that no output sees; direct, delta or mixed form."""
    n, bits = int(rng.integers(1, 8)), int(rng.choice([4, 8]))
    top = (1 << (bits - 1)) - 1
    state, extra = signed(int(rng.integers(4, 9))), int(rng.integers(0, 6))
    keep = np.repeat(rng.integers(0, 2, (groups, -(-n // 2))) if rng.random() < 0.5 else [[rng.integers(2)]], 2, 1)
    keep = np.broadcast_to(keep[:, : min(n, keep.shape[1])], (groups, min(n, keep.shape[1])))
    keep = np.broadcast_to(keep[:, :1], (groups, n)) if keep.shape[1] != n else keep
    shift = np.where(keep == 1, rng.integers(0, extra + 1, (groups, n)), 0)
    same = rng.random((groups, n)) < 0.8
    shift[:, 1::2] = np.where(
        same[:, 1::2] & (keep[:, 1::2] == keep[:, : n - n % 2 : 2]), shift[:, : n - n % 2 : 2], shift[:, 1::2]
    )
    codes, exponent = pair_codes(rng, groups, n, top)
    ends = (
        [np.full((groups, n), e) for e in (state.lo, state.hi)],
        [np.full((groups, 1), e) for e in (code.lo, code.hi)],
    )
    lo, hi = (np.concatenate([ends[0][i], ends[1][i]], 1) for i in (0, 1))
    low, high = Matrix(codes).reach(lo, hi)
    odd = rng.choice([1, 1, 3, 77], (groups, n + 1)) if rng.random() < 0.5 else np.ones((groups, n + 1), np.int64)
    odd[:, 1:n:2] = np.where(same[:, 1::2], odd[:, : n - n % 2 : 2], odd[:, 1:n:2])
    ratio = [Fraction(int(m), 1 << int(s)) for m, s in zip(odd.ravel(), exponent.ravel(), strict=True)]
    rows = np.broadcast_to(np.arange(n + 1) < n, (groups, n + 1))
    requant = make_requant(
        ratio, [Fraction(0)] * len(ratio), np.where(rows, state.lo, code.lo).ravel(),
        np.where(rows, state.hi, code.hi).ravel(), (low.ravel(), high.ravel()),
    )  # fmt: skip
    wide = state.lo << extra, (state.hi + 1 << extra) - 1
    limits = [np.where(keep == 1, wide[i], end) for i, end in enumerate((state.lo, state.hi))]
    start = rng.integers(state.lo, state.hi + 1, (groups, n)) * (rng.random() < 0.3)
    return StateSpace("ssm", ("u",), "y", Matrix(codes), requant, keep, shift, *ends[0], *limits, start)


def pair_codes(rng: Rng, groups: int, n: int, top: int) -> tuple[IntArray, IntArray]:
    """[A B; C D] (G, n + 1, n + 1) of shuffled pairs, and the shift of every row."""
    codes = np.zeros((groups, n + 1, n + 1), np.int64)
    exponent = rng.integers(1, 12, (groups, n + 1))
    for h in range(groups):
        for i in range(0, n, 2):
            pair = slice(i, min(i + 2, n))
            a, b = rng.choice([rng.integers(-top, top + 1), top, -top], 2)
            block = np.array([[a, b], [-b, a]])
            if rng.random() < 0.4:
                block = rng.integers(-top - 1, top + 1, (2, 2))
            codes[h, pair, pair] = block[: n - i, : n - i]
            if rng.random() < 0.7:
                exponent[h, pair] = exponent[h, i]
    codes[:, :n, n] = rng.integers(-top - 1, top + 1, (groups, n))
    codes[:, n] = rng.integers(-top - 1, top + 1, (groups, n + 1))
    dead, unseen = rng.random((groups, n)) < 0.1, rng.random((groups, n)) < 0.1
    codes[:, :n][dead] = 0
    codes[:, n, :n][unseen] = 0
    return codes, exponent
