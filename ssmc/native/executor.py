"""An executor that runs a model's C on this machine: compiled once, kept, batched over all cores."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssmc.emit_c.buffers import output_value
from ssmc.emit_c.emit import Emitted, emit
from ssmc.emit_c.glue import READ, glue_text
from ssmc.emit_c.text import has_finish
from ssmc.ir.executor import Executor, State, Ticks, Trace, check_input, check_lengths, first_of
from ssmc.ir.operations import Op, Slice
from ssmc.ir.rates import seen_at_end
from ssmc.ir.rounding import FloatArray, IntArray
from ssmc.native.build import build_library

CHUNKS_PER_CORE = 4
PREFIX = "model"


@dataclass
class NativeState(State):
    """State of N samples as the C structs hold it, (N, bytes); copy it to save it."""

    memory: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0), np.uint8))
    after: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0), np.uint8))

    def copy(self) -> NativeState:
        """An independent snapshot."""
        return NativeState(length=self.length.copy(), memory=self.memory.copy(), after=self.after.copy())


class Library:
    """One model's C, built and loaded."""

    def __init__(self, model: Emitted, compiler: tuple[str, ...] | None = None) -> None:
        members = [f for f in model.fields if f.value]
        files = {
            f"{model.prefix}.h": model.header,
            f"{model.prefix}.c": model.source,
            "glue.c": glue_text(model, [f.name for f in members]),
        }
        self.c = build_library(files, compiler)
        self.model = model
        self.input, self.output = np.dtype(model.input_type.dtype), np.dtype(model.output_type.dtype)
        self.state_bytes = ctypes.c_int64.in_dll(self.c, "glue_state_bytes").value
        places = (ctypes.c_int64 * max(len(members), 1)).in_dll(self.c, "glue_offsets")
        self.place = {f.value: (at, f.ctype.dtype, f.count) for f, at in zip(members, places, strict=False)}

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function of the glue; arrays go as pointers, numbers as int64. Releases the interpreter's lock."""
        getattr(self.c, name)(*(_argument(a) for a in arguments))

    def value(self, name: str, memory: NDArray[np.uint8]) -> IntArray:
        """A value (N, size) of the last step, from the state structs (N, bytes)."""
        at, dtype, count = self.place[name]
        width = np.dtype(dtype).itemsize
        part = np.ascontiguousarray(memory[:, at : at + width * count])
        return part.view(dtype).astype(np.int64)


def _argument(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return ctypes.c_void_p(value.ctypes.data)
    return ctypes.c_int64(value)


@dataclass(frozen=True)
class NativeExecutor(Executor):
    """Runs a program's C with the reference executor's interface and codes.

    Attributes:
        word: least width of weights and values; 16 is faster here, 8 is what a microcontroller gets.
        threads: that share a batch; 0 for as many as there are cores.
        compiler: command, or None for the system's.
    """

    word: int = 16
    threads: int = 0
    compiler: tuple[str, ...] | None = None

    @cached_property
    def traced(self) -> Library:
        """The build whose values can all be looked at; it serves `init`, `step` and `finish`."""
        return Library(emit(self.program, PREFIX, share=False, word=self.word), self.compiler)

    @cached_property
    def batched(self) -> Library:
        """The build that `run` uses."""
        return Library(emit(self.program, PREFIX, word=self.word), self.compiler)

    def init(self, batch: int = 1) -> NativeState:
        """State before the first step."""
        library = self.traced
        memory = np.zeros((batch, library.state_bytes), np.uint8)
        library.call("glue_init", memory, batch)
        return NativeState(length=np.zeros(batch, np.int64), memory=memory, after=memory.copy())

    def step_codes(self, state: State, u: ArrayLike, active: NDArray[np.bool_] | None = None) -> Trace:
        """Every per-step value as codes (N, size), by name."""
        assert isinstance(state, NativeState)
        first, x = first_of(self.program), np.asarray(u)
        mask = np.ones(len(x), np.uint8) if active is None else np.ascontiguousarray(active, np.uint8)
        first.require(x, mask.astype(bool))
        codes = first.quant.quantize(x)
        y = np.zeros((len(codes), self.program.output_size), self.traced.output)
        fed = np.ascontiguousarray(codes, self.traced.input)
        self.traced.call("glue_step", state.memory, state.after, len(codes), fed, mask, y)
        ticks = Ticks.of_step(state.length, mask.astype(bool))
        state.length += mask
        found: Trace = {first.output: codes}
        for op in self.program.ops[1:-1]:
            if self.program.values[op.output].rate == "step" and self._is_new(op, ticks):
                found[op.output] = self._look(op, found, state.after)
        return found

    def _is_new(self, op: Op, ticks: Ticks) -> bool:
        """Whether any sample has a new value of an operation."""
        clock = self.program.values[op.output].clock
        return bool(ticks.at(clock).any()) if clock or ticks.ended else True

    def finish_codes(self, state: State) -> Trace:
        """Every per-sequence value as codes (N, size), by name, and what incomplete groups give."""
        assert isinstance(state, NativeState)
        if not has_finish(self.program):
            return {}
        memory = state.memory.copy()
        y = np.zeros((len(memory), self.program.output_size), self.traced.output)
        self.traced.call("glue_finish", memory, len(memory), y)
        found: Trace = {}
        ticks = Ticks.of_end(state.length)
        for op in self.program.ops[1:-1]:
            if self.program.values[op.output].rate == "sequence" or self._is_new(op, ticks):
                found[op.output] = self._look(op, found, memory)
        return found

    def _look(self, op: Op, found: Trace, memory: NDArray[np.uint8]) -> IntArray:
        if isinstance(op, Slice):
            return op.apply(found[op.inputs[0]])
        return self.traced.value(op.output, memory)

    def run(self, x: ArrayLike, lengths: ArrayLike | None = None) -> FloatArray:
        """Outputs for a padded batch x (N, T, features), samples spread over the cores."""
        batch = check_input(self.program, x)
        steps = check_lengths(batch, lengths)
        first_of(self.program).require(batch, np.arange(batch.shape[1]) < steps[:, None])
        kind = str(batch.dtype) if str(batch.dtype) in READ else "float64"
        fed = np.ascontiguousarray(batch, kind)
        n, longest = fed.shape[:2]
        stepwise = self.program.output_rate == "step"
        rows = self.program.rows(longest) if stepwise else 1
        shape = (n, rows) if stepwise else (n,)
        y = np.zeros((*shape, self.program.output_size), self.batched.output)
        self._spread(f"glue_run_{kind}", fed, steps, y)
        out = self._real({output_value(self.program): y.astype(np.int64)})
        if not stepwise:
            return out
        ended = np.arange(rows) >= seen_at_end(self.program.output_clock, steps)[:, None]
        return np.where(ended[..., None], np.nan, out)

    def _spread(self, function: str, x: NDArray[np.generic], steps: IntArray, y: NDArray[np.generic]) -> None:
        """Every thread takes the next chunk of samples."""
        library = self.batched
        first = first_of(self.program)
        scale = np.ascontiguousarray(np.broadcast_to(first.quant.scale, (self.program.input_size,)), np.float64)
        threads = self.threads or _cores()

        def one(chunk: tuple[int, int]) -> None:
            memory = np.zeros(library.state_bytes + 64, np.uint8)
            memory = memory[-memory.ctypes.data % 64 :]
            rows = y.shape[1] if y.ndim == 3 else 1
            library.call(function, memory, x, x.shape[1], steps, scale, y, rows, *chunk)

        chunks = list(_chunks(len(x), threads))
        if len(chunks) <= 1 or threads == 1:
            for chunk in chunks:
                one(chunk)
            return
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one, chunks))


def _cores() -> int:
    """Cores that this process may use; where the system does not say, those of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _chunks(n: int, threads: int) -> Iterator[tuple[int, int]]:
    size = max(1, -(-n // (CHUNKS_PER_CORE * threads)))
    for start in range(0, n, size):
        yield start, min(n, start + size)
