"""Executes a tile program: with ideal devices code for code the lowered integer program, with noise a chip.

Same streaming interface and the same trace of values by name as the reference executor.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssmc.hardware.conductances import Real
from ssmc.ir.executor import Executor, State, Ticks, Trace, check_input, check_lengths, first_of
from ssmc.ir.requant import Requant
from ssmc.ir.rounding import FloatArray, IntArray, round_half_even, round_in_place, round_shift, saturate
from ssmc.targets.aimc.simulation.chip import Chip, Converters
from ssmc.targets.aimc.simulation.exact_products import ExactProduct, exact_program, shorten
from ssmc.targets.aimc.simulation.simulate import Simulation, run_blocks, simulation_of
from ssmc.targets.aimc.tiles import instructions as isa


@dataclass
class Frame:
    """What exists during one pass over an instruction list.

    Values (N, size), drives, held sums, raw conversions, and registers (N, groups, n) that were updated but not
    yet kept: samples that have ended compute along and keep nothing. ``active`` are the samples that take a step of
    the clock of the instruction at hand.
    """

    features: NDArray[np.generic]
    ticks: Ticks
    active: NDArray[np.bool_]
    values: dict[str, IntArray] = field(default_factory=dict)
    joined: dict[tuple[str, ...], IntArray] = field(default_factory=dict)
    driven: dict[str, Real] = field(default_factory=dict)
    held: dict[str, Real] = field(default_factory=dict)
    converted: dict[str, Real] = field(default_factory=dict)
    updated: dict[str, IntArray] = field(default_factory=dict)


@dataclass(frozen=True)
class TileExecutor(Executor):
    """Runs ``tiles`` on ``chip``; ``program`` is the lowered program it was assembled from (types and sizes).

    Attributes:
        literal: perform every single conversion, step by step, also where they are proven lossless and devices are
            ideal. By default such a group is evaluated as the one exact product that it equals, and `run` uses the
            compiled simulation (`ssmc.targets.aimc.simulation.simulate`) where there is one; where all conversions of
            an ideal chip are lossless, long runs go through the program's own C (`ssmc.native.fast`).
        executed: how often each instruction list ran, per sample: ``per_step``, ``per_sequence``.
    """

    tiles: isa.TileProgram
    chip: Chip
    literal: bool = False
    executed: Counter[str] = field(default_factory=Counter)
    _lists: dict[str, tuple[isa.Instruction, ...]] = field(default_factory=dict)
    _converters: dict[str, tuple[Real, ...]] = field(default_factory=dict)
    _fast: list[Simulation | None] = field(default_factory=list)
    _exact: list[Executor | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        exact = self.chip.ideal and not self.literal
        for name in ("per_step", "per_sequence"):
            code: tuple[isa.Instruction, ...] = getattr(self.tiles, name)
            self._lists[name] = shorten(code, self.tiles.banks) if exact else code

    def run(self, x: ArrayLike, lengths: ArrayLike | None = None) -> FloatArray:
        """As `Executor.run`. On a noisy chip the draws of a sequence depend on its number since the first run."""
        batch = check_input(self.program, x)
        steps = check_lengths(batch, lengths)
        first_of(self.program).require(batch, np.arange(batch.shape[1]) < steps[:, None])
        exact = self._native(int(steps.sum()))
        if exact is not None:
            self._count(steps)
            return exact.run(batch, steps)
        fast = self._simulation()
        if fast is None:
            return super().run(batch, steps)
        ids = np.arange(len(batch)) + self.executed["per_sequence"]
        self._count(steps)
        return run_blocks(fast, batch, steps, ids)

    def _count(self, steps: IntArray) -> None:
        self.executed["per_sequence"] += len(steps)
        self.executed["per_step"] += int(steps.sum())

    def _native(self, steps: int) -> Executor | None:
        """The C of a program with the same codes; None where devices or conversions are not ideal, or few steps run."""
        from ssmc.native.fast import FAST_FROM_STEPS, fast_executor

        if not self.chip.ideal or self.literal or steps < FAST_FROM_STEPS:
            return None
        if not self._exact:
            whole = exact_program(self.program, self._lists.values())
            found = None if whole is None else fast_executor(whole)
            self._exact.append(None if type(found) is Executor else found)  # the reference would be no gain
        return self._exact[0]

    def _simulation(self) -> Simulation | None:
        if not self._fast:
            self._fast.append(None if self.literal else simulation_of(self.tiles, self.chip))
        return self._fast[0]

    def init(self, batch: int = 1) -> State:
        """State before the first step."""
        registers = {name: np.repeat(r.initial[None], batch, 0) for name, r in self.tiles.registers.items()}
        sums = {name: np.full((batch, a.size), a.initial, np.int64) for name, a in self.tiles.accumulators.items()}
        return State(registers, sums, np.zeros(batch, np.int64))

    def step_codes(self, state: State, u: ArrayLike, active: NDArray[np.bool_] | None = None) -> Trace:
        """One pass over the per-step list; every per-step value as codes (N, size), by name."""
        x = np.asarray(u)
        mask = np.ones(len(x), bool) if active is None else active
        first_of(self.program).require(x, mask)
        codes = self._run("per_step", state, Frame(x, Ticks.of_step(state.length, mask), mask))
        state.length += mask
        self.executed["per_step"] += int(mask.sum())
        return codes

    def finish_codes(self, state: State) -> Trace:
        """One pass over the per-sequence list; every per-sequence value as codes (N, size), by name.

        Before it the lower rates run once more, on a copy of the state, where the end leaves incomplete groups.
        """
        n = len(state.length)
        self.executed["per_sequence"] += n
        ended = Frame(np.zeros((n, 0)), Ticks.of_end(state.length), np.ones(n, bool))
        state = state.copy()
        rests = self._run("per_step", state, ended) if self.tiles.clocks else {}
        return rests | self._run("per_sequence", state, ended)

    def _run(self, name: str, state: State, frame: Frame) -> Trace:
        for instruction in self._lists[name]:
            clock = self.tiles.clock(instruction)
            frame.active = frame.ticks.at(clock)
            idle = name == "per_step" and (clock or frame.ticks.ended) and not frame.active.any()
            if isinstance(instruction, isa.Group):
                self._group(instruction, state, frame)
            elif not idle:
                self._execute(instruction, state, frame)
        for register, new in frame.updated.items():
            active = frame.ticks.at(self.tiles.clocks.get(register, ()))
            state.registers[register] = np.where(active[:, None, None], new, state.registers[register])
        return {key: value for key, value in frame.values.items() if key in self.program.values}

    def _group(self, i: isa.Group, state: State, frame: Frame) -> None:
        """Take a step where there is one; write where a group is whole, or ends incomplete."""
        op, clock, held = i.operation, self.tiles.clock(i), state.accumulators[i.accumulator]
        count = frame.ticks.after(clock)
        if frame.active.any():
            held = np.where(frame.active[:, None], op.gather(held, count, frame.values[i.reads[0]]), held)
            state.accumulators[i.accumulator] = held
        if frame.ticks.at(op.clock(clock)).any():
            frame.values[i.writes] = op.give(held, count)

    def _execute(self, i: isa.Instruction, state: State, frame: Frame) -> None:
        match i:
            case isa.Drive():
                frame.driven[i.bank] = self._drive(i, frame)
            case isa.Integrate():
                frame.held[i.bank] = self.chip.product(i.bank, frame.driven[i.bank])
            case isa.Convert():
                outputs = self.tiles.banks[i.bank].outputs
                columns = slice(i.slice * outputs, (i.slice + 1) * outputs)
                converters = self.chip.banks[i.bank].converters
                held = frame.held[i.bank][..., columns]
                frame.converted[i.writes] = convert(held, i, self.chip, converters and converters.of(columns))
            case isa.ConvertQuantize():
                frame.values[i.writes] = self._quantize(i, frame.held[i.bank])
            case isa.Accumulate():
                frame.values[i.writes] = _flat(accumulate(i, frame.converted).astype(np.int64))
            case isa.Update():
                old = state.registers[i.register]
                q = frame.values[i.reads[0]].reshape(len(old), old.shape[1], -1)[..., : old.shape[2]]
                frame.updated[i.register] = saturate(i.keep * old + q, i.lo, i.hi)
            case isa.Slide() | isa.Smooth():
                before = state.registers[i.register]
                moved, frame.values[i.writes] = i.operation.advance(before, frame.values[i.reads[0]])
                frame.updated[i.register] = moved
            case isa.Reduce():
                total = state.accumulators[i.accumulator]
                new = i.apply(total, frame.values[i.reads[0]])
                state.accumulators[i.accumulator] = np.where(frame.active[:, None], new, total)
            case isa.Emit():
                pass
            case _:
                frame.values[i.writes] = self._value(i, state, frame)

    def _value(self, i: isa.Instruction, state: State, frame: Frame) -> IntArray:
        """Instructions that only make a value."""
        xs = [frame.values[name] for name in i.reads]
        match i:
            case isa.Sample():
                return i.quant.quantize(frame.features)
            case isa.ReadOut():
                return read_out(i, frame.updated.get(i.register, state.registers[i.register]))
            case ExactProduct():
                return _flat(np.matmul(self._joined(i.reads, len(i.weight), frame), i.weight).astype(np.int64))
            case isa.MatVec():
                v = self._joined(i.reads, len(i.codes), frame).astype(np.float64)
                return _flat(np.matmul(v, i.codes.transpose(0, 2, 1).astype(np.float64)).astype(np.int64))
            case isa.Requantize():
                return i.requant.apply(xs[0])
            case isa.Select():
                return xs[0].reshape(len(xs[0]), i.groups, -1)[..., i.start : i.stop].reshape(len(xs[0]), -1)
            case isa.Join():
                return np.concatenate(xs, -1)
            case isa.LookUp() | isa.Multiply() | isa.Add() | isa.Normalize():
                return i.apply(*xs)
            case isa.Average():
                return i.apply(state.accumulators[i.accumulator], frame.ticks.after(self.tiles.clock(i)))
            case isa.Recall():
                return state.accumulators[i.accumulator].copy()
        raise TypeError(f"{type(i).__name__} is not executable")

    def _joined(self, names: tuple[str, ...], groups: int, frame: Frame) -> IntArray:
        """Values side by side, group by group: (groups, N, inputs)."""
        if names not in frame.joined:
            xs = [frame.values[name] for name in names]
            wide = np.concatenate([x.reshape(len(x), groups, -1) for x in xs], -1)
            frame.joined[names] = np.ascontiguousarray(wide.transpose(1, 0, 2))
        return frame.joined[names]

    def _drive(self, i: isa.Drive, frame: Frame) -> Real:
        bank = self.tiles.banks[i.bank]
        rows = self._joined(i.reads, bank.groups, frame)[..., bank.rows[0] : bank.rows[1]]
        return (rows if i.plane is None else (rows >> i.plane) & 1).astype(np.float64)

    def _quantize(self, i: isa.ConvertQuantize, held: Real) -> IntArray:
        """The converter as quantizer: exact on exact sums, real arithmetic on a noisy chip."""
        if self.chip.ideal:
            return i.requant.apply(_flat(held.astype(np.int64)))
        if i.bank not in self._converters:
            shape = held.shape[0], 1, held.shape[2]
            self._converters[i.bank] = tuple(x.reshape(shape) for x in analog_requant(i.requant))
        ratio, bias, lo, hi = self._converters[i.bank]
        converters = self.chip.banks[i.bank].converters
        x = held * ratio
        x = x + bias if converters is None else np.asarray(converters.distort(x, bias, lo, hi), np.float64)
        x += self.chip.conversion_noise(x)
        codes = round_half_even(x) if converters is None else converters.codes(x)
        return _flat(np.clip(codes, lo, hi).astype(np.int64))


def analog_requant(requant: Requant) -> tuple[Real, Real, Real, Real]:
    """ratio, bias, lo, hi as float64 (n,)."""
    ratio = np.array([float(r) for r in requant.ratio])
    bias = np.array([float(b) for b in requant.bias])
    return ratio, bias, requant.lo.astype(np.float64), requant.hi.astype(np.float64)


def convert(held: Real, i: isa.Convert, chip: Chip, converters: Converters | None = None) -> Real:
    """Converter codes of held sums, ``clip(round_half_even(held / step), lo, hi)``, integers in floating point."""
    step, lo, hi = (numbers[:, None].astype(held.dtype) for numbers in (i.step, i.lo, i.hi))
    codes: Real = held / step
    if converters is not None:
        codes = converters.distort(codes, 0.0, lo, hi)
    codes += chip.conversion_noise(codes)
    codes = round_in_place(codes) if converters is None else converters.codes(codes)
    return np.clip(codes, lo, hi, out=codes)


def accumulate(i: isa.Accumulate, converted: dict[str, Real]) -> Real:
    """Shift and add; exact in float64."""
    total: Real = np.zeros(converted[i.reads[0]].shape)
    for gain, name in zip(i.gains, i.reads, strict=True):
        total += converted[name] * gain[:, None].astype(np.float64)
    return total


def read_out(i: isa.ReadOut, register: IntArray) -> IntArray:
    """Registers (N, groups, n) to driver codes (N, groups * n)."""
    return saturate(round_shift(register, i.shift), i.lo, i.hi).reshape(len(register), -1)


def _flat(x: IntArray) -> IntArray:
    """(groups, N, outputs) to (N, groups * outputs)."""
    return np.ascontiguousarray(x.transpose(1, 0, 2)).reshape(x.shape[1], -1)
