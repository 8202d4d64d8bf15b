"""The reference executor: numpy, integers only between input quantization and output dequantization, streaming."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssmc.errors import UsageError
from ssmc.ir.operations import AnyOp, Dequantize, Downsample, Ids, Quantize, StateSpace
from ssmc.ir.operations.operation import Recurrent, Reduction, Stateless
from ssmc.ir.program import Program
from ssmc.ir.rates import Clock, seen, seen_at_end
from ssmc.ir.rounding import FloatArray, IntArray

Trace = dict[str, IntArray]


@dataclass
class State:
    """Everything that lives from step to step, for N samples; save it and go on later.

    Attributes:
        registers: (N, H, n) per recurrent operation.
        accumulators: running sums or last values (N, size) per reduction, and per operation that lowers the rate.
        length: true steps seen, (N,).
    """

    registers: dict[str, IntArray] = field(default_factory=dict)
    accumulators: dict[str, IntArray] = field(default_factory=dict)
    length: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))

    def copy(self) -> State:
        """An independent snapshot."""
        return State(
            {name: value.copy() for name, value in self.registers.items()},
            {name: value.copy() for name, value in self.accumulators.items()},
            self.length.copy(),
        )


@dataclass(frozen=True)
class Executor:
    """Runs a `Program` step by step in numpy, as `ssmc.ir.operations` defines its operations.

    Executors of compiled programs subclass it: they override `init`, `step_codes` and `finish_codes`, and `run` where
    a whole batch is faster.
    """

    program: Program

    def init(self, batch: int = 1) -> State:
        """State before the first step."""
        state = State(length=np.zeros(batch, np.int64))
        for op in self.program.ops:
            if isinstance(op, Recurrent):
                state.registers[op.name] = op.start(batch)
            elif isinstance(op, Reduction | Downsample):
                start = op.start if isinstance(op, Reduction) else 0
                state.accumulators[op.name] = np.full((batch, self.program.values[op.output].size), start, np.int64)
        return state

    def step(self, state: State, u: ArrayLike, active: NDArray[np.bool_] | None = None) -> FloatArray | None:
        """Feed one step u (N, features); returns the output (N, size) of this step where the output is per step.

        ``active`` (N,) marks samples that have not ended: the others keep their state. An output at a lower rate is
        None at steps that give none for any sample, and NaN for samples that have none.
        """
        before = state.length.copy()
        codes = self.step_codes(state, u, active)
        if self.program.output_rate != "step":
            return None
        return self._ticking(codes, seen(self.program.output_clock, before), state.length, seen)

    def step_codes(self, state: State, u: ArrayLike, active: NDArray[np.bool_] | None = None) -> Trace:
        """Like `step`, returning every per-step value as codes (N, size), by name.

        A value at a lower rate is there at the steps at which any sample has a new one (`Ticks`); the rows of the other
        samples mean nothing.
        """
        x = np.asarray(u)
        mask = np.ones(len(x), bool) if active is None else active
        first_of(self.program).require(x, mask)
        known: dict[str, NDArray[Any]] = {self.program.input_name: x}
        ticks = Ticks.of_step(state.length, mask)
        for op in self.program.ops[:-1]:
            clock = self.program.clock(op)
            if self.program.rate(op) == "step" and (not clock or ticks.at(clock).any()):
                _step(op, known, state, ticks, clock)
        state.length += mask
        return {name: codes for name, codes in known.items() if name in self.program.values}

    def finish(self, state: State) -> FloatArray | None:
        """The output (N, size) where it is one per sequence; else the row of a group that the end leaves incomplete.

        None where there is no output left to give. The state stays as it is: the sequence may go on.
        """
        codes = self.finish_codes(state)
        if self.program.output_rate == "sequence":
            return self._real(codes)
        clock = self.program.output_clock
        return self._ticking(codes, seen(clock, state.length), state.length, seen_at_end) if clock else None

    def finish_codes(self, state: State) -> Trace:
        """Every per-sequence value as codes (N, size), by name, and what incomplete groups give (`step_codes`)."""
        known: dict[str, NDArray[Any]] = {}
        state, ticks = state.copy(), Ticks.of_end(state.length)
        for op in self.program.ops[:-1]:
            clock = self.program.clock(op)
            if isinstance(op, Reduction):
                _step(op, known, state, ticks, clock)
                known[op.output] = op.finish(state.accumulators[op.name], ticks.after(clock))
            elif self.program.rate(op) == "sequence" or (clock and ticks.at(clock).any()) or isinstance(op, Downsample):
                _step(op, known, state, ticks, clock)
        return known

    def run(self, x: ArrayLike, lengths: ArrayLike | None = None) -> FloatArray:
        """Outputs for a padded batch.

        Args:
            x: (N, T, features), real.
            lengths: true steps of each sample, default T. Padding never changes a result.

        Returns:
            (N, size), or (N, T, size) where the output is per step, fewer rows at a lower rate (NaN beyond the rows of
            a sample).
        """
        batch = check_input(self.program, x)
        steps = check_lengths(batch, lengths)
        state = self.init(len(batch))
        clock = self.program.output_clock
        outputs = np.full((len(batch), self.program.rows(batch.shape[1]), self.program.output_size), np.nan)
        for t in range(int(steps.max(initial=0))):
            row, active = seen(clock, state.length), t < steps
            y = self.step(state, batch[:, t], active)
            if y is not None:
                new = seen(clock, state.length) > row
                outputs[new, row[new]] = y[new]
        final = self.finish(state)
        if self.program.output_rate == "sequence":
            assert final is not None
            return final
        if final is not None:
            row, rest = seen(clock, steps), seen_at_end(clock, steps) > seen(clock, steps)
            outputs[rest, row[rest]] = final[rest]
        return outputs

    def _ticking(
        self, codes: Trace, before: IntArray, length: IntArray, count: Callable[[Clock, IntArray], IntArray]
    ) -> FloatArray | None:
        """The real output of the samples that have a new one; None where there is none."""
        clock = self.program.output_clock
        if not clock:
            return self._real(codes)
        new = count(clock, length) > before
        return np.where(new[:, None], self._real(codes), np.nan) if new.any() else None

    def _real(self, codes: Trace) -> FloatArray:
        last = self.program.ops[-1]
        assert isinstance(last, Dequantize)
        return last.leave(codes[last.inputs[0]])


@dataclass(frozen=True)
class Ticks:
    """Which samples take a step of a clock at one step of the input, or at the end of the sequence.

    Attributes:
        before, length: steps of the input, (N,), before and after.
        ended: the sequence ends there, and incomplete groups give their step.
    """

    before: IntArray
    length: IntArray
    ended: bool

    @staticmethod
    def of_step(length: IntArray, mask: NDArray[np.bool_]) -> Ticks:
        """One more step of the samples in ``mask``."""
        return Ticks(length.copy(), length + mask, ended=False)

    @staticmethod
    def of_end(length: IntArray) -> Ticks:
        """The end after ``length`` steps."""
        return Ticks(length, length, ended=True)

    def after(self, clock: Clock) -> IntArray:
        """Steps of the clock so far, (N,)."""
        return seen_at_end(clock, self.length) if self.ended else seen(clock, self.length)

    def at(self, clock: Clock) -> NDArray[np.bool_]:
        """Samples for which the clock ticks, (N,)."""
        return self.after(clock) > seen(clock, self.before)


def _step(op: AnyOp, known: dict[str, NDArray[Any]], state: State, ticks: Ticks, clock: Clock) -> None:
    """One operation at one step: from the values ``known`` to its output, or into the state of samples that tick."""
    mask = ticks.at(clock)
    if isinstance(op, Downsample | Reduction) and not mask.any():
        xs = [np.zeros_like(state.accumulators[op.name])]
    else:
        xs = [known[name] for name in op.inputs]
    if isinstance(op, Stateless):
        known[op.output] = op.apply(*xs)
    elif isinstance(op, Recurrent):
        old = state.registers[op.name]
        new, known[op.output] = op.advance(old, *xs)
        state.registers[op.name] = _where(mask, new, old)
    elif isinstance(op, Reduction):
        held = state.accumulators[op.name]
        state.accumulators[op.name] = _where(mask, op.accumulate(held, *xs), held)
    elif isinstance(op, Downsample):
        held, count = state.accumulators[op.name], ticks.after(clock)
        held = _where(mask, op.gather(held, count, *xs), held)
        state.accumulators[op.name] = held
        if ticks.at(op.clock(clock)).any():
            known[op.output] = op.give(held, count)


def _where(mask: NDArray[np.bool_], new: IntArray, old: IntArray) -> IntArray:
    """``new`` for the samples that have not ended, (N, ...)."""
    return np.where(mask.reshape(-1, *[1] * (new.ndim - 1)), new, old)


def kernel_inputs(program: Program, batch: tuple[NDArray[np.generic], IntArray]) -> dict[str, list[IntArray]]:
    """Input codes (T, H, m) of every state-space operation for padded sequences and their lengths."""
    x, lengths = batch
    executor, kernels = Executor(program), [op for op in program.ops if isinstance(op, StateSpace)]
    rows = {op.name: int(seen_at_end(program.clock(op), np.array(x.shape[1]))) for op in kernels}
    fed = {op.name: np.zeros((len(x), rows[op.name], *op.register0.shape[:1], op.n_input), np.int64) for op in kernels}
    state = executor.init(len(x))
    for t in range(x.shape[1]):
        ticks = Ticks.of_step(state.length, t < lengths)
        _keep_inputs(fed, kernels, program, ticks, executor.step_codes(state, x[:, t], t < lengths))
    ticks = Ticks.of_end(state.length)
    _keep_inputs(fed, kernels, program, ticks, executor.finish_codes(state))
    taken = {op.name: ticks.after(program.clock(op)).tolist() for op in kernels}
    return {name: [u[:n] for u, n in zip(all_, taken[name], strict=True)] for name, all_ in fed.items()}


def _keep_inputs(
    fed: dict[str, IntArray], kernels: list[StateSpace], program: Program, ticks: Ticks, codes: Trace
) -> None:
    """Write what kernels read at one step into the rows of the samples that tick."""
    for op in kernels:
        clock = program.clock(op)
        new = ticks.at(clock)
        if new.any():
            fed[op.name][new, seen(clock, ticks.before)[new]] = op.grouped(codes[op.inputs[0]])[new]


def first_of(program: Program) -> Quantize:
    """The operation that makes codes of the input."""
    first = program.ops[0]
    assert isinstance(first, Quantize)
    return first


def check_input(program: Program, x: ArrayLike) -> NDArray[np.generic]:
    """The batch (N, T, features), or an error naming what does not fit; token ids may come as (N, T).

    Raises:
        UsageError: SSMC-D01 wrong shape, SSMC-D02 wrong dtype, SSMC-D03 not finite.
    """
    batch = np.asarray(x)
    if isinstance(first_of(program), Ids) and batch.ndim == 2:
        batch = batch[..., None]
    if batch.dtype.kind not in "fiu":
        raise UsageError("SSMC-D02", f"input has dtype {batch.dtype}", "give real numbers (float or integer)")
    if batch.ndim != 3 or batch.shape[2] != program.input_size:
        want = f"(samples, steps, {program.input_size})"
        raise UsageError("SSMC-D01", f"input has shape {batch.shape}, the model takes {want}", "reshape the data")
    if not np.isfinite(batch).all():
        raise UsageError("SSMC-D03", "input holds NaN or infinity", "clean the data")
    return batch


def check_lengths(batch: NDArray[np.generic], lengths: ArrayLike | None) -> IntArray:
    """Lengths (N,) within 0..T.

    Raises:
        UsageError: SSMC-D04.
    """
    n, steps = batch.shape[:2]
    if lengths is None:
        return np.full(n, steps, np.int64)
    out = np.asarray(lengths, np.int64)
    if out.shape != (n,) or (out < 0).any() or (out > steps).any():
        raise UsageError("SSMC-D04", f"lengths do not fit {n} samples of {steps} steps", "give one length a sample")
    return out
