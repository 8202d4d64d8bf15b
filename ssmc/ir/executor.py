"""The reference executor: numpy, integers only between input quantization and output dequantization, streaming."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssmc.errors import UsageError
from ssmc.ir.operations import AnyOp, Dequantize, Ids, Quantize, StateSpace
from ssmc.ir.operations.operation import Recurrent, Reduction, Stateless
from ssmc.ir.program import Program
from ssmc.ir.rounding import FloatArray, IntArray

Trace = dict[str, IntArray]


@dataclass
class State:
    """Everything that lives from step to step, for N samples; save it and go on later.

    Attributes:
        registers: (N, H, n) per recurrent operation.
        accumulators: running sums or last values (N, size) per reduction.
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
            elif isinstance(op, Reduction):
                state.accumulators[op.name] = np.zeros((batch, self.program.values[op.output].size), np.int64)
        return state

    def step(self, state: State, u: ArrayLike, active: NDArray[np.bool_] | None = None) -> FloatArray | None:
        """Feed one step u (N, features); returns the output (N, size) of this step where the output is per step.

        ``active`` (N,) marks samples that have not ended: the others keep their state.
        """
        codes = self.step_codes(state, u, active)
        return self._real(codes) if self.program.output_rate == "step" else None

    def step_codes(self, state: State, u: ArrayLike, active: NDArray[np.bool_] | None = None) -> Trace:
        """Like `step`, returning every per-step value as codes (N, size), by name."""
        x = np.asarray(u)
        mask = np.ones(len(x), bool) if active is None else active
        first_of(self.program).require(x, mask)
        known: dict[str, NDArray[Any]] = {self.program.input_name: x}
        for op in self.program.ops[:-1]:
            if self.program.rate(op) == "step":
                _step(op, known, state, mask)
        state.length += mask
        return {name: codes for name, codes in known.items() if name in self.program.values}

    def finish(self, state: State) -> FloatArray | None:
        """The output (N, size) where it is one per sequence."""
        return self._real(self.finish_codes(state)) if self.program.output_rate == "sequence" else None

    def finish_codes(self, state: State) -> Trace:
        """Every per-sequence value as codes (N, size), by name."""
        codes: Trace = {}
        for op in self.program.ops[:-1]:
            if isinstance(op, Reduction):
                codes[op.output] = op.finish(state.accumulators[op.name], state.length)
            elif isinstance(op, Stateless) and self.program.rate(op) == "sequence":
                codes[op.output] = op.apply(*(codes[name] for name in op.inputs))
        return codes

    def run(self, x: ArrayLike, lengths: ArrayLike | None = None) -> FloatArray:
        """Outputs for a padded batch.

        Args:
            x: (N, T, features), real.
            lengths: true steps of each sample, default T. Padding never changes a result.

        Returns:
            (N, size), or (N, T, size) where the output is per step (NaN beyond a sample's length).
        """
        batch = check_input(self.program, x)
        steps = check_lengths(batch, lengths)
        state = self.init(len(batch))
        outputs = np.full((*batch.shape[:2], self.program.output_size), np.nan)
        for t in range(int(steps.max(initial=0))):
            active = t < steps
            y = self.step(state, batch[:, t], active)
            if y is not None:
                outputs[active, t] = y[active]
        final = self.finish(state)
        return outputs if final is None else final

    def _real(self, codes: Trace) -> FloatArray:
        last = self.program.ops[-1]
        assert isinstance(last, Dequantize)
        return last.leave(codes[last.inputs[0]])


def _step(op: AnyOp, known: dict[str, NDArray[Any]], state: State, mask: NDArray[np.bool_]) -> None:
    """One operation at one step: from the values ``known`` to its output, or into the state where ``mask``."""
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


def _where(mask: NDArray[np.bool_], new: IntArray, old: IntArray) -> IntArray:
    """``new`` for the samples that have not ended, (N, ...)."""
    return np.where(mask.reshape(-1, *[1] * (new.ndim - 1)), new, old)


def kernel_inputs(program: Program, batch: tuple[NDArray[np.generic], IntArray]) -> dict[str, list[IntArray]]:
    """Input codes (T, H, m) of every state-space operation for padded sequences and their lengths."""
    x, lengths = batch
    executor, kernels = Executor(program), [op for op in program.ops if isinstance(op, StateSpace)]
    seen: dict[str, list[IntArray]] = {op.name: [] for op in kernels}
    state = executor.init(len(x))
    for t in range(x.shape[1]):
        codes = executor.step_codes(state, x[:, t], t < lengths)
        for op in kernels:
            seen[op.name].append(op.grouped(codes[op.inputs[0]]))
    whole = {name: np.stack(steps, 1) for name, steps in seen.items()}
    return {name: [u[:n] for u, n in zip(all_, lengths.tolist(), strict=True)] for name, all_ in whole.items()}


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
