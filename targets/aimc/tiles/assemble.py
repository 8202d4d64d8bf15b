"""Lowered program and banks to the tile program."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

import numpy as np

from ssmc.conversion.ranges import input_range
from ssmc.hardware.model import Hardware
from ssmc.ir.operations import (
    AnyOp,
    Concat,
    Dequantize,
    Downsample,
    ExponentialMean,
    Last,
    Linear,
    Mean,
    Norm,
    Op,
    Product,
    Quantize,
    Slice,
    SlidingMean,
    StateSpace,
    Sum,
    Table,
)
from ssmc.ir.operations.state_space import InputSum
from ssmc.ir.program import Program
from ssmc.ir.quant import bits_for
from ssmc.ir.requant import Requant
from ssmc.ir.rounding import IntArray
from ssmc.targets.aimc.lowering.conversion_plan import MatrixPlan
from ssmc.targets.aimc.lowering.kernel_places import INPUT, OUTPUT
from ssmc.targets.aimc.lowering.mapping import Bank, Packings, make_banks
from ssmc.targets.aimc.lowering.partial_sums import Lowered
from ssmc.targets.aimc.tiles.instructions import (
    Accumulate,
    Accumulator,
    Add,
    Average,
    Convert,
    ConvertQuantize,
    Drive,
    Emit,
    Group,
    Instruction,
    Integrate,
    Join,
    LookUp,
    MatVec,
    Multiply,
    Normalize,
    ProgramArray,
    ReadOut,
    Recall,
    Reduce,
    Register,
    Requantize,
    Sample,
    Select,
    Slide,
    Smooth,
    TileProgram,
    Update,
    Value,
)

LONGEST_SEQUENCE = 1 << 20


def assemble(lowered: Lowered, hardware: Hardware, packings: Packings | None = None) -> TileProgram:
    """The tile program of a lowered program; ``packings`` by `MatrixPlan.name`, other matrices one block an array.

    Raises:
        ModelError: SSMC-A03 where the chip has too few arrays.
    """
    return _Assembler(lowered, hardware, packings or {}).assemble()


class _Assembler:
    """Walks the operations once and collects what they become."""

    def __init__(self, lowered: Lowered, hardware: Hardware, packings: Packings) -> None:
        self.program, self.plans, self.hardware = lowered.program, lowered.plans, hardware
        self.banks = {bank.name: bank for bank in make_banks(lowered.plans, hardware, packings)}
        self.banks_of: dict[str, list[Bank]] = {}
        for bank in self.banks.values():
            self.banks_of.setdefault(bank.op, []).append(bank)
        self.values = {name: Value(codes.size, codes.quant.bits, True) for name, codes in self.program.values.items()}
        self.registers: dict[str, Register] = {}
        self.accumulators: dict[str, Accumulator] = {}

    def assemble(self) -> TileProgram:
        per_step: list[Instruction] = []
        per_sequence: list[Instruction] = []
        for op in self.program.ops:
            (per_step if self.program.rate(op) == "step" else per_sequence).extend(self._op(op))
            if isinstance(op, Mean | Last):
                per_sequence.append(_recall(op))
        setup = tuple(ProgramArray(bank.op, (), "", bank.name) for bank in self.banks.values())
        return TileProgram(
            self.hardware.name,
            self.banks,
            self.registers,
            self.accumulators,
            self.values,
            setup,
            tuple(per_step),
            tuple(per_sequence),
            {op.name: self.program.clock(op) for op in self.program.ops if self.program.clock(op)},
        )

    def _op(self, op: AnyOp) -> Iterable[Instruction]:
        match op:
            case Linear():
                width = _width(self.program, op)
                return self._matrix(self.plans[op.name], op.requant, op.inputs, op.output, width)
            case StateSpace():
                return self._state_space(op)
            case Quantize():
                return [Sample(op.name, (), op.output, op.quant)]
            case Dequantize():
                return [Emit(op.name, op.inputs, "", op.scale)]
            case Table():
                return [LookUp(op.name, op.inputs, op.output, op.table, op.lo)]
            case Product():
                return [Multiply(op.name, op.inputs, op.output, op.requant)]
            case Sum():
                return [Add(op.name, op.inputs, op.output, op.multiplier, op.offset, op.shift, op.lo, op.hi)]
            case Norm():
                numbers = op.centred, op.epsilon, op.gain, op.offset, op.shift, op.lo, op.hi
                return [Normalize(op.name, op.inputs, op.output, *numbers)]
            case Slice():
                return [Select(op.name, op.inputs, op.output, 1, op.start, op.stop)]
            case Concat():
                return [Join(op.name, op.inputs, op.output)]
            case Mean() | Last():
                return [self._reduce(op)]
            case SlidingMean():
                return [self._slide(op)]
            case ExponentialMean():
                return [self._smooth(op)]
            case Downsample():
                return [self._group(op)]
            case _:
                assert_never(op)

    def _reduce(self, op: Mean | Last) -> Instruction:
        value = self.values[op.inputs[0]]
        grown = (LONGEST_SEQUENCE - 1).bit_length() if isinstance(op, Mean) else 0
        self.accumulators[op.name] = Accumulator(value.size, value.bits + grown, op.start)
        return Reduce(op.name, op.inputs, "", op.name, "sum" if isinstance(op, Mean) else op.how)

    def _slide(self, op: SlidingMean) -> Instruction:
        self.registers[op.name] = Register(op.start(1)[0], self.values[op.inputs[0]].bits)
        return Slide(op.name, op.inputs, op.output, op.name, op.width, op.ratio, op.lo, op.hi)

    def _smooth(self, op: ExponentialMean) -> Instruction:
        self.registers[op.name] = Register(op.start(1)[0], self.values[op.inputs[0]].bits + op.shift)
        return Smooth(op.name, op.inputs, op.output, op.name, op.shift, op.size)

    def _group(self, op: Downsample) -> Instruction:
        value = self.values[op.inputs[0]]
        grown = (op.k - 1).bit_length() if op.how == "mean" else 0
        self.accumulators[op.name] = Accumulator(value.size, value.bits + grown)
        numbers = op.k, op.how, op.phase, op.rest, op.ratio, op.lo, op.hi
        return Group(op.name, op.inputs, op.output, op.name, *numbers)

    def _state_space(self, op: StateSpace) -> list[Instruction]:
        self.registers[op.name] = Register(op.register0, op.register_bits)
        width, n, groups = _width(self.program, op), op.n_state, op.matrix.groups
        drive = self._wire(f"{op.name}/r", groups * n, op.state_dac_bits)
        read_out = ReadOut(op.name, (), drive, op.name, op.shift, op.dac_lo, op.dac_hi)
        q = self._wire(f"{op.name}/q", groups * op.matrix.outputs, _code_bits(op.requant))
        sources = (drive, op.inputs[0])
        out: list[Instruction] = [read_out]
        if op.input_sum is None:
            out += self._matrix(self.plans[op.name], op.requant, sources, q, width)
        else:
            out += self._poles_apart(op, op.input_sum, drive, q)
        out.append(Update(op.name, (q,), "", op.name, op.keep, op.register_lo, op.register_hi))
        if op.output_requant is None:
            return [*out, Select(op.name, (q,), op.output, groups, n, op.matrix.outputs)]
        if op.output_after:
            later = self._wire(f"{op.name}/r+", groups * n, op.state_dac_bits)
            out.append(ReadOut(op.name, (), later, op.name, op.shift, op.dac_lo, op.dac_hi))
            sources = (later, op.inputs[0])
        plan = self.plans[op.name + OUTPUT]
        return [*out, *self._matrix(plan, op.output_requant, sources, op.output, width)]

    def _poles_apart(self, op: StateSpace, apart: InputSum, drive: str, q: str) -> list[Instruction]:
        """``q = requant(A R + step b)``, b the codes of B u."""
        groups, n = apart.step.shape
        b = self._wire(f"{op.name}/b", groups * n, _code_bits(apart.requant))
        quant = self.program.values[op.inputs[0]].quant
        width = bits_for(min(quant.lo, 0), max(quant.hi, 0))
        total = self._wire(f"{op.name}/sum", groups * n, 32)
        steps = np.eye(n, dtype=np.int64) * apart.step[:, None, :]
        return [
            *self._matrix(self.plans[op.name + INPUT], apart.requant, op.inputs, b, width),
            MatVec(op.name, (drive, b), total, np.concatenate([op.matrix.codes[..., :n], steps], -1)),
            Requantize(op.name, (total,), q, op.requant),
        ]

    def _matrix(
        self, plan: MatrixPlan, requant: Requant, sources: tuple[str, ...], target: str, width: int
    ) -> list[Instruction]:
        op, size = plan.op, plan.matrix.groups * plan.matrix.outputs
        banks = [bank for bank in self.banks_of.get(op, ()) if _serves(bank, plan)]
        if plan.kind != "digital" and not plan.matrix.parts:
            return self._converted_once(plan, requant, sources, target, width, banks[0].name)
        total = self._wire(f"{plan.name}/sum", size, 32)
        last = Requantize(op, (total,), target, requant)
        if plan.kind == "digital":
            return [MatVec(op, sources, total, plan.matrix.codes), last]
        out: list[Instruction] = []
        names: list[str] = []
        gains: list[IntArray] = []
        for split, bank in enumerate(banks):
            for index, plane in enumerate(_planes(plan)):
                drive_width = width if plane is None else 1
                out += [Drive(op, sources, "", bank.name, plane, drive_width), Integrate(op, (), "", bank.name)]
                for piece in range(len(plan.slice_gains)):
                    number = _part_index(plan, split, piece, index)
                    part, step = plan.matrix.parts[number], plan.steps[number]
                    wire = self._wire(f"{plan.name}/part{len(names)}", size, self.hardware.adc.bits)
                    out.append(Convert(op, (), wire, bank.name, piece, step, part.lo, part.hi))
                    names.append(wire)
                    gains.append(part.weight)
        out.append(Accumulate(op, tuple(names), total, np.stack(gains), plan.kind == "lossless"))
        return [*out, last]

    def _converted_once(
        self, plan: MatrixPlan, requant: Requant, sources: tuple[str, ...], target: str, width: int, bank: str
    ) -> list[Instruction]:
        op, whole = plan.op, plan.matrix.converter is None
        code = target if whole else self._wire(f"{plan.name}/code", len(requant), self.hardware.adc.bits)
        drive = Drive(op, sources, "", bank, None, width), Integrate(op, (), "", bank)
        converted = [*drive, ConvertQuantize(op, (), code, bank, plan.at_converter)]
        return converted if whole else [*converted, Requantize(op, (code,), target, requant)]

    def _wire(self, name: str, size: int, bits: int) -> str:
        self.values[name] = Value(size, bits, False)
        return name


def _recall(op: Mean | Last) -> Instruction:
    if isinstance(op, Mean):
        return Average(op.name, (), op.output, op.name, op.ratio, op.lo, op.hi, op.how)
    return Recall(op.name, (), op.output, op.name)


def _serves(bank: Bank, plan: MatrixPlan) -> bool:
    return bank.name == plan.name or bank.name.startswith(f"{plan.name}[")


def _planes(plan: MatrixPlan) -> tuple[int | None, ...]:
    return tuple(plane for plane, _ in plan.planes) or (None,)


def _part_index(plan: MatrixPlan, split: int, piece: int, plane: int) -> int:
    return (split * len(plan.slice_gains) + piece) * max(len(plan.planes), 1) + plane


def _width(program: Program, op: Op) -> int:
    lo, hi = input_range(program, op)
    return bits_for(min(int(lo.min(initial=0)), 0), max(int(hi.max(initial=0)), 0))


def _code_bits(requant: Requant) -> int:
    return bits_for(int(np.min(requant.lo)), int(np.max(requant.hi)))
