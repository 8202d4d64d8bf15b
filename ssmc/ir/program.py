"""The streaming integer program: what a target executes, one frozen dataclass per operation.

A program is a list of operations on named vectors of integer codes. Everything happens once per time step,
except what follows a reduction over time, which happens once per sequence. Shapes: N samples, G groups
(channels of an SSM; 1 for a dense matrix), and per group n states, m inputs, p outputs.
The graph of a compiled model (domain ``ssmc``, see `ssmc.ir.read_program`) and this view say the same thing;
targets read this.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssmc.errors import UsageError
from ssmc.ir.matrix import Matrix, PartialSum
from ssmc.ir.quant import QuantType, bits_for
from ssmc.ir.requant import Requant
from ssmc.ir.rounding import FloatArray, IntArray, bit_length, isqrt, round_half_even, round_shift, saturate

__all__ = [
    "NORM_FRACTION",
    "Codes",
    "Dequantize",
    "Ids",
    "Last",
    "Linear",
    "Matrix",
    "Mean",
    "Norm",
    "Op",
    "PartialSum",
    "Product",
    "Program",
    "Quantize",
    "Rate",
    "Slice",
    "StateSpace",
    "Sum",
    "Table",
    "requantize",
]

Rate = Literal["step", "sequence"]


@dataclass(frozen=True)
class Codes:
    """Type of a value: ``size`` channels of codes in ``quant``, once per step or once per sequence."""

    size: int
    quant: QuantType
    rate: Rate


@dataclass(frozen=True)
class Op:
    """Base of the operations: named, with input and output values by name."""

    name: str
    inputs: tuple[str, ...]
    output: str


@dataclass(frozen=True)
class Quantize(Op):
    """Real input features to codes: the only place where real numbers enter."""

    quant: QuantType

    def require(self, x: ArrayLike, active: NDArray[np.bool_]) -> None:
        """Refuse what is no input, where ``active``: real numbers all are, they saturate."""


@dataclass(frozen=True)
class Ids(Quantize):
    """Token ids 0..hi to codes, themselves. An id beyond the vocabulary is an error, not a neighbour."""

    def require(self, x: ArrayLike, active: NDArray[np.bool_]) -> None:
        """Refuse numbers that are no ids; padding may hold anything.

        Raises:
            UsageError: SSMC-D05 naming the first.
        """
        given = np.asarray(x, np.float64)[active]
        wrong = given[(given != round_half_even(given)) | (given < self.quant.lo) | (given > self.quant.hi)]
        if wrong.size:
            fact = f"token id {wrong.flat[0]:.12g} is not one of {self.quant.lo}..{self.quant.hi}"
            raise UsageError("SSMC-D05", fact, "map unknown tokens to an id of the vocabulary", self.name)


@dataclass(frozen=True)
class Linear(Op):
    """``y = requant(W x)``; W has one group, or G groups for a block-diagonal matrix (x is (G, in) flattened)."""

    matrix: Matrix
    requant: Requant


@dataclass(frozen=True)
class StateSpace(Op):
    """A state-space kernel, per group h (DESIGN §2, both forms in one equation).

        R  = clip(round_shift(r, shift), dac_lo, dac_hi)
        v  = [R; u]
        q  = requant(W v)            q[:n] state part, q[n:] output part
        r' = clip(keep * r + q[:n], register_lo, register_hi)
        y  = q[n:]

    ``keep`` is 0 for a state in direct form (the quantizer writes the state; shift 0) and 1 in delta form (the
    quantizer's codes are increments of a register). One matrix W: the kernel is one crossbar operation per step.
    Before the fuse pass, ``output_matrix`` holds the rows of y apart (two operations), and with
    ``output_after`` they read the new state: ``y = requant_y(W_y [R(r'); u])``.

    Attributes:
        matrix: (H, n + p, n + m), or (H, n, n + m) while unfused.
        requant: H * (n + p) entries, group-major, or H * n while unfused.
        keep: (H, n) of 0 or 1.
        shift: (H, n), >= 0.
        dac_lo, dac_hi, register_lo, register_hi, register0: (H, n).
        output_matrix: (H, p, n + m) or None.
        output_requant: H * p entries or None.
        output_after: y reads the state after the update.
    """

    matrix: Matrix
    requant: Requant
    keep: IntArray
    shift: IntArray
    dac_lo: IntArray
    dac_hi: IntArray
    register_lo: IntArray
    register_hi: IntArray
    register0: IntArray
    output_matrix: Matrix | None = None
    output_requant: Requant | None = None
    output_after: bool = False

    @property
    def n_state(self) -> int:
        """States per group."""
        return int(self.keep.shape[1])

    @property
    def n_input(self) -> int:
        """Inputs per group."""
        return self.matrix.inputs - self.n_state

    @property
    def n_output(self) -> int:
        """Outputs per group."""
        return self.output_matrix.outputs if self.output_matrix else self.matrix.outputs - self.n_state

    @property
    def form(self) -> str:
        """``direct``, ``delta`` or ``mixed``."""
        kinds = set(np.unique(self.keep).tolist())
        return "mixed" if len(kinds) > 1 else "delta" if kinds == {1} else "direct"

    @property
    def register_bits(self) -> int:
        """Width of the widest state register."""
        return bits_for(int(self.register_lo.min(initial=0)), int(self.register_hi.max(initial=0)))

    @property
    def state_dac_bits(self) -> int:
        """Width of the state read-out that drives the rows."""
        return bits_for(int(self.dac_lo.min(initial=0)), int(self.dac_hi.max(initial=0)))

    def read_out(self, register: IntArray) -> IntArray:
        """R(r): registers (..., H, n) to DAC codes."""
        return saturate(round_shift(register, self.shift), self.dac_lo, self.dac_hi)

    def update(self, register: IntArray, q: IntArray) -> IntArray:
        """R' from registers and the state part of the converted codes, both (..., H, n)."""
        return saturate(self.keep * register + q, self.register_lo, self.register_hi)

    def step(self, register: IntArray, u: IntArray) -> tuple[IntArray, IntArray]:
        """One time step: registers (..., H, n) and inputs (..., H, m) to new registers and outputs (..., H, p)."""
        v = np.concatenate([self.read_out(register), u], -1)
        q = requantize(self.requant, self.matrix.product(v))
        new = self.update(register, q[..., : self.n_state])
        if self.output_matrix is None or self.output_requant is None:
            return new, q[..., self.n_state :]
        if self.output_after:
            v = np.concatenate([self.read_out(new), u], -1)
        return new, requantize(self.output_requant, self.output_matrix.product(v))


def requantize(requant: Requant, acc: IntArray) -> IntArray:
    """Requantize group-shaped accumulators (..., G, out) with G * out entries of ``requant``."""
    flat = acc.reshape(*acc.shape[:-2], -1)
    return requant.apply(flat).reshape(acc.shape)


@dataclass(frozen=True)
class Table(Op):
    """``y[c] = table[c, x[c] - lo]``: any function of one code. ``table`` is (1, levels) or (size, levels).

    One input channel and a table of several rows is an embedding: every row looks up the same code.
    """

    table: IntArray
    lo: int

    def apply(self, x: IntArray) -> IntArray:
        """Codes (..., size), or (..., 1) for an embedding, to codes (..., size)."""
        index = x - self.lo
        if self.table.shape[0] == 1:
            return np.asarray(self.table[0][index], np.int64)
        return np.asarray(self.table[np.arange(self.table.shape[0]), index], np.int64)


@dataclass(frozen=True)
class Product(Op):
    """``y = requant(a * b)``, channel by channel (gating)."""

    requant: Requant


@dataclass(frozen=True)
class Sum(Op):
    """``y = clip(round_shift(sum_i multiplier_i * x_i + offset, shift))``: channel-wise sum of codes with own scales.

    Attributes:
        multiplier: (inputs, size).
        offset, shift, lo, hi: (size,).
        bound: largest distance, in output codes before rounding, from the real-valued sum; 0 means proven exact.
    """

    multiplier: IntArray
    offset: IntArray
    shift: IntArray
    lo: IntArray
    hi: IntArray
    bound: float = 0.0

    def apply(self, *xs: IntArray) -> IntArray:
        """Codes (..., size) each, to codes (..., size)."""
        total = self.offset + sum(m * x for m, x in zip(self.multiplier, xs, strict=True))
        return saturate(round_shift(total, self.shift), self.lo, self.hi)


@dataclass(frozen=True)
class Norm(Op):
    """LayerNorm (``centred``) or RMSNorm over the C channels of one vector, in integers, the same in every backend.

    Real: ``y_c = gamma_c (x_c - mean) / sqrt(var + eps) + beta_c``; for RMSNorm the mean is 0. Integers, with
    S = sum x, d_c = C x_c - S, V = C sum x^2 - S^2 (RMSNorm: S = 0), so that d / sqrt(V) is the normalized vector:

        v    = (V << 16) + epsilon                     variance with 16 fraction bits
        s    = (62 - bit_length(v)) & ~1               v << s lies in [2^60, 2^62)
        root = isqrt(v << s)                           in [2^30, 2^31)
        rec  = 2^61 // root
        h_c  = round_shift(d_c * rec, 33 - s/2)        normalized, 20 fraction bits
        y_c  = clip(round_shift(gain_c * h_c + offset_c, shift), lo, hi)

    A vector with v = 0 gives h = 0. Everything fits 62 bits while C times the largest |code| stays below 2^22.

    Attributes:
        centred: subtract the mean.
        epsilon: ``round(2^16 C^2 eps / scale^2)``.
        gain, offset: (size,): ``round(2^(shift-20) gamma / step)`` and ``round(2^shift beta / step)``.
        shift: fraction bits of the last line.
        bound: largest distance, in output codes before rounding, from the real-valued meaning.
    """

    centred: bool
    epsilon: int
    gain: IntArray
    offset: IntArray
    shift: int
    lo: int
    hi: int
    bound: float

    def apply(self, x: IntArray) -> IntArray:
        """Codes (..., C) to codes (..., C)."""
        channels = x.shape[-1]
        total = x.sum(-1, keepdims=True) if self.centred else np.zeros((*x.shape[:-1], 1), np.int64)
        d = channels * x - total
        v = ((channels * (x * x).sum(-1, keepdims=True) - total * total) << NORM_FRACTION) + self.epsilon
        safe = np.maximum(v, 1)
        s = (62 - bit_length(safe)) & ~1
        rec = (1 << 61) // isqrt(safe << s)
        h = np.where(v > 0, round_shift(d * rec, 33 - s // 2), 0)
        return saturate(round_shift(self.gain * h + self.offset, self.shift), self.lo, self.hi)


NORM_FRACTION = 16


@dataclass(frozen=True)
class Slice(Op):
    """Channels ``start`` to ``stop`` of the input."""

    start: int
    stop: int


@dataclass(frozen=True)
class Mean(Op):
    """Mean over time: an exact running sum, then one exact division by the true length T at the end.

    ``y = clip(round_half_even(ratio * sum / T), lo, hi)`` with exact rational ``ratio``, one per channel.
    """

    ratio: tuple[Fraction, ...]
    lo: int
    hi: int


@dataclass(frozen=True)
class Last(Op):
    """The value at the last time step."""


@dataclass(frozen=True)
class Dequantize(Op):
    """Codes to real outputs: ``scale * code``, the only place where real numbers leave. ``scale`` () or (size,)."""

    scale: FloatArray


@dataclass(frozen=True)
class Program:
    """Operations in execution order.

    Attributes:
        input_name, output_name: names of the real input and output.
        input_size, output_size: features per step, and size of the output.
        ops: each reads values defined before it.
        values: type of every code value, by name.
    """

    input_name: str
    input_size: int
    output_name: str
    output_size: int
    ops: tuple[Op, ...]
    values: dict[str, Codes] = field(default_factory=dict)

    def rate(self, op: Op) -> Rate:
        """Whether an op runs once per step or once per sequence (reductions accumulate per step)."""
        return self.values[op.inputs[0]].rate if op.inputs[0] in self.values else "step"

    def matrices(self) -> Iterator[tuple[Op, Matrix]]:
        """Every matrix with its op."""
        for op in self.ops:
            if isinstance(op, Linear):
                yield op, op.matrix
            if isinstance(op, StateSpace):
                yield op, op.matrix
                if op.output_matrix is not None:
                    yield op, op.output_matrix

    def embeddings(self) -> Iterator[Table]:
        """The tables that token ids are looked up in."""
        for op in self.ops:
            if isinstance(op, Table) and isinstance(self.ops[0], Ids) and op.inputs == (self.ops[0].output,):
                yield op

    @property
    def output_rate(self) -> Rate:
        """Whether the output is one vector per step or per sequence."""
        return self.values[self.ops[-1].inputs[0]].rate
