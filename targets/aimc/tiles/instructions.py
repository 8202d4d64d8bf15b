"""The tile program: what the crossbar chip executes, one frozen dataclass per instruction (docs/tile-program.md).

Operands are named: *values* (vectors of codes, one per sample), *banks* (arrays that work in lockstep),
*registers* (states at the arrays) and *accumulators* (reductions over time). ``reads`` and ``writes`` are the
values an instruction consumes and produces; everything else is a field of its own. The lists are straight-line
code: ``setup`` runs once per chip, ``per_step`` once per time step, ``per_sequence`` once per input sequence.

Instructions have names of their own, verbs: one operation of the integer program becomes several of them (a mean:
`Reduce` every step, `Average` at the end), and one instruction serves several operations (`Select`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import Any, Literal

import numpy as np

from ssmc.ir.operations import Downsample, ExponentialMean, Mean, Norm, SlidingMean, Sum, Table
from ssmc.ir.operations.downsample import How, Rest
from ssmc.ir.quant import QuantType
from ssmc.ir.rates import Clock
from ssmc.ir.requant import Requant
from ssmc.ir.rounding import FloatArray, IntArray
from ssmc.targets.aimc.lowering.mapping import Bank


@dataclass(frozen=True)
class Instruction:
    """Base. ``op`` is the operation of the integer program that it belongs to."""

    op: str
    reads: tuple[str, ...]
    writes: str


@dataclass(frozen=True)
class ProgramArray(Instruction):
    """Write the digits of a bank into its cells."""

    bank: str


@dataclass(frozen=True)
class Sample(Instruction):
    """Real input features to codes."""

    quant: QuantType


@dataclass(frozen=True)
class ReadOut(Instruction):
    """``clip(round_shift(register, shift), lo, hi)``: a register onto the drivers; arrays (groups, n)."""

    register: str
    shift: IntArray
    lo: IntArray
    hi: IntArray


@dataclass(frozen=True)
class Drive(Instruction):
    """Put the bank's row range of the joined values on its rows: whole codes, or one bit ``plane`` of them."""

    bank: str
    plane: int | None
    width: int


@dataclass(frozen=True)
class Integrate(Instruction):
    """Let the column currents settle and hold them: ``sum_i code[j, i] * drive[i]`` on every column at once."""

    bank: str


@dataclass(frozen=True)
class Convert(Instruction):
    """``clip(round_half_even(held / step), lo, hi)`` of one slice: a partial sum; arrays (groups, outputs)."""

    bank: str
    slice: int
    step: IntArray
    lo: IntArray
    hi: IntArray


@dataclass(frozen=True)
class ConvertQuantize(Instruction):
    """``clip(round_half_even(ratio * held + bias), lo, hi)``: the converter is the quantizer, or one in front of it."""

    bank: str
    requant: Requant


@dataclass(frozen=True)
class Accumulate(Instruction):
    """``sum_k gains[k] * reads[k]``: shift and add partial sums. ``lossless``: equal to the exact integer sum.

    ``gains``: (reads, groups, outputs).
    """

    gains: IntArray
    lossless: bool


@dataclass(frozen=True)
class MatVec(Instruction):
    """``codes @ v`` in the digital unit; codes (groups, outputs, inputs)."""

    codes: IntArray


@dataclass(frozen=True)
class Requantize(Instruction):
    """Accumulators to codes, in the digital unit."""

    requant: Requant


@dataclass(frozen=True)
class Update(Instruction):
    """``register = clip(keep * register + q, lo, hi)`` with the first n outputs of every group of q."""

    register: str
    keep: IntArray
    lo: IntArray
    hi: IntArray


@dataclass(frozen=True)
class Select(Instruction):
    """Channels start..stop of every group: wiring."""

    groups: int
    start: int
    stop: int


@dataclass(frozen=True)
class Join(Instruction):
    """The channels of all operands, one after the other: wiring."""


@dataclass(frozen=True)
class LookUp(Instruction):
    """``table[channel, code - lo]``; table (1 or size, levels)."""

    table: IntArray
    lo: int

    def apply(self, x: IntArray) -> IntArray:
        """Codes of its operand to those that it writes."""
        return Table(self.op, self.reads, self.writes, self.table, self.lo).apply(x)


@dataclass(frozen=True)
class Multiply(Instruction):
    """``requant(a * b)``, channel by channel."""

    requant: Requant

    def apply(self, a: IntArray, b: IntArray) -> IntArray:
        """Codes of its operands to those that it writes."""
        return self.requant.apply(a * b)


@dataclass(frozen=True)
class Add(Instruction):
    """``clip(round_shift(sum_i multiplier_i * x_i + offset, shift), lo, hi)``, channel by channel."""

    multiplier: IntArray
    offset: IntArray
    shift: IntArray
    lo: IntArray
    hi: IntArray

    def apply(self, *xs: IntArray) -> IntArray:
        """Codes of its operands to those that it writes."""
        numbers = self.multiplier, self.offset, self.shift, self.lo, self.hi
        return Sum(self.op, self.reads, self.writes, *numbers).apply(*xs)


@dataclass(frozen=True)
class Normalize(Instruction):
    """LayerNorm (``centred``) or RMSNorm over the channels, in integers: the equations of `ssmc.ir.operations.Norm`."""

    centred: bool
    epsilon: int
    gain: IntArray
    offset: IntArray
    shift: int
    lo: int
    hi: int

    def apply(self, x: IntArray) -> IntArray:
        """Codes of its operand to those that it writes."""
        numbers = self.centred, self.epsilon, self.gain, self.offset, self.shift, self.lo, self.hi
        return Norm(self.op, self.reads, self.writes, *numbers, bound=0.0).apply(x)


@dataclass(frozen=True)
class Reduce(Instruction):
    """Add to an accumulator, overwrite it, or keep the larger: the reduction over time."""

    accumulator: str
    kind: Literal["sum", "last", "max"]

    def apply(self, total: IntArray, x: IntArray) -> IntArray:
        """The accumulator (N, size) with one more step."""
        if self.kind == "last":
            return x
        return total + x if self.kind == "sum" else np.maximum(total, x)


@dataclass(frozen=True)
class Average(Instruction):
    """``clip(round_half_even(ratio * accumulator / steps), lo, hi)``; without ``steps`` where it ends a sum."""

    accumulator: str
    ratio: tuple[Fraction, ...]
    lo: int
    hi: int
    how: Literal["mean", "sum"] = "mean"

    def apply(self, total: IntArray, length: IntArray) -> IntArray:
        """The accumulator (N, size) after ``length`` (N,) steps to the codes that it writes."""
        return Mean(self.op, self.reads, self.writes, self.ratio, self.lo, self.hi, self.how).finish(total, length)


@dataclass(frozen=True)
class Recall(Instruction):
    """The accumulator as it is."""

    accumulator: str


@dataclass(frozen=True)
class Group(Instruction):
    """Take one step into a group of ``k``; with its last one, or at the end, write what the group gives.

    The equations are those of `ssmc.ir.operations.Downsample`. What follows runs at the steps at which it writes.
    """

    accumulator: str
    k: int
    how: How
    phase: int
    rest: Rest
    ratio: tuple[Fraction, ...]
    lo: int
    hi: int

    @property
    def operation(self) -> Downsample:
        """The operation of the integer program that it is."""
        numbers = self.k, self.how, self.phase, self.rest, self.ratio, self.lo, self.hi
        return Downsample(self.op, self.reads, self.writes, *numbers)


@dataclass(frozen=True)
class Slide(Instruction):
    """The newest codes into a register of the last ``width`` steps; write their mean (`SlidingMean`)."""

    register: str
    width: int
    ratio: tuple[Fraction, ...]
    lo: int
    hi: int

    @property
    def operation(self) -> SlidingMean:
        """The operation of the integer program that it is."""
        return SlidingMean(self.op, self.reads, self.writes, self.width, self.ratio, self.lo, self.hi)


@dataclass(frozen=True)
class Smooth(Instruction):
    """The newest codes into registers of exponentially weighted means; write these (`ExponentialMean`)."""

    register: str
    shift: int
    size: int

    @property
    def operation(self) -> ExponentialMean:
        """The operation of the integer program that it is."""
        return ExponentialMean(self.op, self.reads, self.writes, self.shift, self.size)


@dataclass(frozen=True)
class Emit(Instruction):
    """Codes to real outputs: ``scale * code``."""

    scale: FloatArray


@dataclass(frozen=True)
class Register:
    """State registers of one kernel: initial contents (groups, n), ``bits`` each."""

    initial: IntArray
    bits: int


@dataclass(frozen=True)
class Value:
    """A vector of codes. ``buffered``: it waits in the buffer; otherwise it is a wire within one op."""

    size: int
    bits: int
    buffered: bool


@dataclass(frozen=True)
class Accumulator:
    """A reduction over time: ``size`` channels of ``bits``, ``initial`` before the first step."""

    size: int
    bits: int
    initial: int = 0


@dataclass(frozen=True)
class TileProgram:
    """Everything the chip needs, in execution order; ``clocks`` of the ops that run at a lower rate than the input."""

    hardware: str
    banks: dict[str, Bank]
    registers: dict[str, Register]
    accumulators: dict[str, Accumulator]
    values: dict[str, Value]
    setup: tuple[Instruction, ...]
    per_step: tuple[Instruction, ...]
    per_sequence: tuple[Instruction, ...] = field(default=())
    clocks: dict[str, Clock] = field(default_factory=dict)

    def placed(self, banks: Iterable[Bank]) -> TileProgram:
        """The program with its banks elsewhere; what the instructions and the codes alone say is not asked again."""
        found = replace(self, banks={bank.name: bank for bank in banks})
        vars(found).update(ramps=self.ramps, drive_widths=self.drive_widths)
        return found

    def clock(self, i: Instruction) -> Clock:
        """The clock on which an instruction runs."""
        return self.clocks.get(i.op, ())

    @cached_property
    def ramps(self) -> dict[str, tuple[Any, ...]]:
        """What `ssmc.targets.aimc.cost.activation_ramps.ramps_in` found: every charge asks again."""
        return {}

    @property
    def arrays(self) -> int:
        """Arrays in use."""
        return len({array for bank in self.banks.values() for array in bank.arrays})

    @cached_property
    def drive_widths(self) -> dict[str, int]:
        """Bits of the drives of every bank."""
        return {i.bank: i.width for i in (*self.per_step, *self.per_sequence) if isinstance(i, Drive)}


INSTRUCTIONS: tuple[type[Instruction], ...] = (
    ProgramArray,
    Sample,
    ReadOut,
    Drive,
    Integrate,
    Convert,
    ConvertQuantize,
    Accumulate,
    MatVec,
    Requantize,
    Update,
    Select,
    Join,
    LookUp,
    Multiply,
    Add,
    Normalize,
    Reduce,
    Average,
    Recall,
    Group,
    Slide,
    Smooth,
    Emit,
)
