"""A recurrence per group: the state-space kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ssmc.ir.matrix import Matrix
from ssmc.ir.operations.kernel_functions import kernel_text, pair_text
from ssmc.ir.operations.operation import Function, Mask, Recurrent
from ssmc.ir.operations.reading import GraphNode, code_type, matrix_of, requant_of, separate_sums
from ssmc.ir.parts import Constants
from ssmc.ir.quant import Codes, bits_for
from ssmc.ir.requant import Requant
from ssmc.ir.rounding import PLACES, FloatArray, IntArray, round_half_even, round_shift, saturate


@dataclass(frozen=True)
class InputSum:
    """``B u``, converted apart from the state: ``step * requant(B u)`` accumulator units.

    Attributes:
        matrix: B, (H, n, m), with its partial sums where it has any.
        requant: to the converter's codes, or of the partial sums to what they add up to; H * n entries.
        step: accumulator units of one code, (H, n); 0 where B has no weight.
        lost: accumulator units by which the result can differ from ``B u``, (H, n); 0 where it is exact.
    """

    matrix: Matrix
    requant: Requant
    step: IntArray
    lost: FloatArray

    @classmethod
    def of(cls, matrix: Matrix, requant: Requant, step: IntArray, inputs: tuple[IntArray, IntArray]) -> InputSum:
        """Say what can be lost for inputs within ``inputs``, (H, m) each."""
        shape = step.shape
        size = np.maximum(step, 1)
        low, high = matrix.reach(*inputs)
        beyond = np.maximum(high - requant.hi.reshape(shape) * size, requant.lo.reshape(shape) * size - low)
        uneven = (matrix.codes % size[..., None]).any(-1)
        lost = np.maximum(beyond - np.where(uneven, size // 2, 0), 0) + np.where(uneven, size / 2, 0.0)
        for part in matrix.parts:
            lost = lost + abs(part.gain) * (np.where(part.step > 1, part.step / 2, 0.0) + part.excess)
        return cls(matrix, requant, step, np.where(step > 0, lost, 0.0))

    def product(self, u: IntArray) -> IntArray:
        """Accumulator units (..., H, n) for inputs (..., H, m)."""
        return self.step * self.requant.apply_groups(self.matrix.product(u))

    def reach(self, lo: IntArray, hi: IntArray) -> tuple[IntArray, IntArray]:
        """Smallest and largest `product`, for inputs within lo..hi (H, m)."""
        low, high = (self.step * self.requant.apply_groups(end) for end in self.matrix.reach(lo, hi))
        return low, high


@dataclass(frozen=True)
class StateSpace(Recurrent):
    """A state-space kernel, per group h (semantics.md §1, both forms in one equation).

        R  = clip(round_shift(r, shift), dac_lo, dac_hi)
        v  = [R; u]
        q  = requant(W v)            q[:n] state part, q[n:] output part
        r' = clip(keep * r + q[:n], register_lo, register_hi)
        y  = q[n:]

    ``keep`` is 0 for a state in direct form (the quantizer writes the state; shift 0) and 1 in delta form (the
    quantizer's codes are increments of a register). One matrix W: the kernel is one crossbar operation per step.
    Before the fuse pass, ``output_matrix`` holds the rows of y apart (two operations), and with
    ``output_after`` they read the new state: ``y = requant_y(W_y [R(r'); u])``. Where A, B, C and D have scales that no
    grid joins, ``W v`` is a sum of accumulators times integers (`Matrix.multiplier`). With ``input_sum``, B u goes
    through converters of its own and the state's code is one rounding of both (the poles are digital, B is not):

        q[:n] = requant(A R + step * requant_B(B u))

    Attributes:
        matrix: (H, n + p, n + m), or (H, n, n + m) while unfused.
        requant: H * (n + p) entries, group-major, or H * n while unfused.
        keep: (H, n) of 0 or 1.
        shift: (H, n), >= 0.
        dac_lo, dac_hi, register_lo, register_hi, register0: (H, n).
        output_matrix: (H, p, n + m) or None.
        output_requant: H * p entries or None.
        output_after: y reads the state after the update.
        input_sum: how B u is converted apart from A R, of an unfused kernel; None where one sum holds both.
    """

    matrix: Matrix
    requant: Requant
    keep: IntArray
    shift: IntArray = field(metadata=PLACES)
    dac_lo: IntArray
    dac_hi: IntArray
    register_lo: IntArray
    register_hi: IntArray
    register0: IntArray
    output_matrix: Matrix | None = None
    output_requant: Requant | None = None
    output_after: bool = False
    input_sum: InputSum | None = None

    functions: ClassVar[dict[str, Function]] = {
        "KernelPair": Function(pair_text("KernelPair", after=False)),
        "KernelPairAfter": Function(pair_text("KernelPairAfter", after=True)),
        "Kernel": Function(kernel_text("Kernel"), since="fused"),
        "KernelPairScales": Function(pair_text("KernelPairScales", after=False, scales=True)),
        "KernelPairAfterScales": Function(pair_text("KernelPairAfterScales", after=True, scales=True)),
        "KernelScales": Function(kernel_text("KernelScales", scales=True), since="fused"),
        "KernelPairParts": Function(pair_text("KernelPairParts", after=False, parts=True), since="placed"),
        "KernelPairAfterParts": Function(pair_text("KernelPairAfterParts", after=True, parts=True), since="placed"),
        "KernelParts": Function(kernel_text("KernelParts", parts=True), since="placed"),
        "KernelPairPolesParts": Function(
            pair_text("KernelPairPolesParts", after=False, parts=True, poles=True), since="placed"
        ),
        "KernelPairAfterPolesParts": Function(
            pair_text("KernelPairAfterPolesParts", after=True, parts=True, poles=True), since="placed"
        ),
    }

    @classmethod
    def read(cls, node: GraphNode) -> tuple[StateSpace, Codes]:
        """Fused, or as a pair of matrices."""
        c, (u,) = node.constants, node.types
        keep = c["keep"].astype(np.int64)
        groups, n = keep.shape
        drive = _drive_range(c, u.ends, c["W"].shape[2] - n)
        pair = node.op_type.startswith("KernelPair")
        matrix, requant, apart = _state_rows(node, drive)
        output, requant_y = _converted(node, drive, "_y") if pair else (None, None)
        op = cls(
            *node.wiring,
            matrix=matrix,
            requant=requant,
            keep=keep,
            shift=np.log2(c["unit"]).astype(np.int64),
            dac_lo=c["dac_lo"].astype(np.int64),
            dac_hi=c["dac_hi"].astype(np.int64),
            register_lo=c["reg_lo"].astype(np.int64),
            register_hi=c["reg_hi"].astype(np.int64),
            register0=c["r0"].astype(np.int64),
            output_matrix=output,
            output_requant=requant_y,
            output_after=node.op_type.startswith("KernelPairAfter"),
            input_sum=apart,
        )
        lo, hi = (c["lo_y"], c["hi_y"]) if pair else (c["lo"][:, n:], c["hi"][:, n:])
        return op, code_type(groups * op.n_output, lo, hi, "step")

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
        kinds = set(self.keep.ravel().tolist())
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
        q = self.requant.apply_groups(self._sums(v))
        new = self.update(register, q[..., : self.n_state])
        if self.output_matrix is None or self.output_requant is None:
            return new, q[..., self.n_state :]
        if self.output_after:
            v = np.concatenate([self.read_out(new), u], -1)
        return new, self.output_requant.apply_groups(self.output_matrix.product(v))

    def _sums(self, v: IntArray) -> IntArray:
        """What is requantized for the state (fused: and for y), of [R; u] (..., H, n + m)."""
        if self.input_sum is None:
            return self.matrix.product(v)
        n = self.n_state
        return Matrix(self.matrix.codes[..., :n]).product(v[..., :n]) + self.input_sum.product(v[..., n:])

    def start(self, batch: int) -> IntArray:
        """Registers (N, H, n)."""
        return np.repeat(self.register0[None], batch, 0)

    def advance(self, register: IntArray, x: IntArray) -> tuple[IntArray, IntArray]:
        """One step; codes (N, H * m) to (N, H * p)."""
        new, y = self.step(register, self.grouped(x))
        return new, y.reshape(len(x), -1)

    def grouped(self, x: IntArray) -> IntArray:
        """Input codes (..., H * m) as (..., H, m)."""
        return x.reshape(*x.shape[:-1], self.matrix.groups, self.n_input)

    def matrices(self) -> tuple[Matrix, ...]:
        """W, and W_y while unfused."""
        return (self.matrix,) if self.output_matrix is None else (self.matrix, self.output_matrix)

    def requants(self) -> tuple[Requant, ...]:
        """One per matrix, and that of the input's sums where they are converted apart."""
        apart = () if self.input_sum is None else (self.input_sum.requant,)
        return (self.requant, *((self.output_requant,) if self.output_requant else ()), *apart)

    def error_bound(self) -> float:
        """As for any operation, and what the input's own conversion loses."""
        if self.input_sum is None:
            return super().error_bound()
        ratio = np.array([abs(float(r)) for r in self.requant.ratio])
        lost = self.input_sum.lost.ravel() * ratio
        return super().error_bound() + float(np.minimum(lost, self.requant.hi - self.requant.lo).max(initial=0))

    def largest_sum(self, tops: Sequence[int]) -> int:
        """``max sum |W| max|v|`` of both matrices."""
        read = np.maximum(np.abs(self.dac_lo), np.abs(self.dac_hi))
        drive = np.concatenate([read, np.full((self.matrix.groups, self.n_input), tops[0])], 1)
        return max(matrix.largest_sum(drive) for matrix in self.matrices())

    @classmethod
    def channels(cls, c: Constants, sources: Sequence[int]) -> int:
        """Outputs of all groups of an unfused node."""
        return int(c["W_y"].shape[0] * c["W_y"].shape[1])

    @classmethod
    def demand(cls, c: Constants, out: Mask, sources: Sequence[Mask]) -> tuple[Mask, tuple[Mask, ...]]:
        """A group stays whole, with its inputs and outputs."""
        groups = len(c["keep"])
        used = out.reshape(groups, -1).any(1) | sources[0].reshape(groups, -1).any(1)
        return np.repeat(used, out.size // groups), (np.repeat(used, sources[0].size // groups),)

    @classmethod
    def narrowed(cls, c: Constants, out: Mask, source: Mask) -> Constants:
        """Groups of every constant."""
        groups = out.reshape(len(c["keep"]), -1).any(1)
        return {key: array[groups] for key, array in c.items()}

    @classmethod
    def constant_codes(cls, c: Constants, source: FloatArray | None) -> FloatArray:
        """A row of W_y without weights is its offset."""
        codes = np.clip(round_half_even(c["offset_y"]), c["lo_y"], c["hi_y"]) * np.ones(c["W_y"].shape[:2])
        return np.where(c["W_y"].any(-1), np.nan, codes).ravel()


def _state_rows(node: GraphNode, drive: tuple[IntArray, IntArray]) -> tuple[Matrix, Requant, InputSum | None]:
    """The matrix of the state (fused: and of y), its requantization, and how its input is converted apart, if it is."""
    c = node.constants
    if "per_code_b" not in c:
        return *_converted(node, drive), None
    n = c["keep"].shape[1]
    inputs = drive[0][:, n:], drive[1][:, n:]
    codes, step = c["W"].astype(np.int64), c["per_code_b"].astype(np.int64)
    apart = InputSum.of(*matrix_of(node, c["W"][..., n:], inputs, "_b"), step, inputs)
    reach = Matrix(codes[..., :n]).reach(drive[0][:, :n], drive[1][:, :n])
    low, high = (a + b for a, b in zip(reach, apart.reach(*inputs), strict=True))
    return Matrix(codes), requant_of(node, (low, high)), apart


def _converted(node: GraphNode, drive: tuple[IntArray, IntArray], suffix: str = "") -> tuple[Matrix, Requant]:
    """W and the requantization of its sums; with scales of their own for parts of the columns, these are added up."""
    c = node.constants
    if node.op_type.endswith("Scales"):
        return separate_sums(node, drive, suffix)
    return matrix_of(node, c[f"W{suffix}"], drive, suffix)


def _drive_range(c: Constants, u: tuple[int, int], inputs: int) -> tuple[IntArray, IntArray]:
    """Range of [R; u] per group, each (G, n + m)."""
    edge = np.ones((len(c["keep"]), inputs))
    lo = np.concatenate([c["dac_lo"], edge * u[0]], 1)
    hi = np.concatenate([c["dac_hi"], edge * u[1]], 1)
    return lo.astype(np.int64), hi.astype(np.int64)
