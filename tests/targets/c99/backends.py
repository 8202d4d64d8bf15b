"""Every way there is to run a program, free-running, with every code of every value in the open.

A backend takes input codes (N, T, inputs) and true lengths (N,) and gives each value by name: (N, T, size), anything
beyond a length; at a lower rate (N, rows, size), zeros beyond; or (N, size) for what is once a sequence.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ssmc.errors import ModelError
from ssmc.ir.executor import Executor, Ticks
from ssmc.ir.operations import Quantize
from ssmc.ir.program import Program
from ssmc.ir.rates import seen, seen_at_end
from ssmc.ir.rounding import IntArray
from ssmc.native.executor import NativeExecutor
from ssmc.targets.aimc.target import AimcTarget
from tests.targets.c99 import harness

Values = dict[str, IntArray]
Backend = Callable[[Program, IntArray, IntArray], Values]
REFERENCE = "numpy reference"
CORTEX_M = "Cortex-M4 in QEMU"
CROSSBAR = "ideal crossbar"
CHIPS = ("isaac128", "puma")  # bit-serial: input codes of any width


def walk(executor: Executor, codes: IntArray, lengths: IntArray) -> Values:
    """An executor, step by step."""
    first = executor.program.ops[0]
    assert isinstance(first, Quantize)
    real, state = first.quant.dequantize(codes), executor.init(len(codes))
    found: Values = {}
    for t in range(codes.shape[1]):
        ticks = Ticks.of_step(state.length, t < lengths)
        write_rows(found, executor.program, ticks, executor.step_codes(state, real[:, t], t < lengths), codes.shape[1])
    ended = executor.finish_codes(state)
    write_rows(found, executor.program, Ticks.of_end(state.length), ended, codes.shape[1])
    return found


def write_rows(found: Values, program: Program, ticks: Ticks, codes: Values, steps: int) -> None:
    """Put the new codes (N, size) of each value into the rows of the samples that have some."""
    for name, rows in codes.items():
        kind = program.values[name]
        if kind.rate == "sequence":
            found[name] = rows
            continue
        whole = found.setdefault(name, np.zeros((len(rows), program_rows(program, name, steps), kind.size), np.int64))
        new = ticks.at(kind.clock)
        whole[new, seen(kind.clock, ticks.before)[new]] = rows[new]


def program_rows(program: Program, name: str, steps: int) -> int:
    """Steps of a value in sequences of ``steps`` steps."""
    return int(seen_at_end(program.values[name].clock, np.array(steps)))


def reference(program: Program, codes: IntArray, lengths: IntArray) -> Values:
    """Numpy: what the others are compared with."""
    return walk(Executor(program), codes, lengths)


def _in_folder(
    run: Callable[..., Values], program: Program, codes: IntArray, lengths: IntArray, **options: tuple[str, ...]
) -> Values:
    with tempfile.TemporaryDirectory(prefix="ssmc-codes-") as folder:
        return run(program, codes, Path(folder), lengths=lengths, **options)


BACKENDS: dict[str, Backend] = {
    "fast executor, 8-bit words": lambda *given: walk(NativeExecutor(given[0], word=8), *given[1:]),
    "fast executor, 16-bit words": lambda *given: walk(NativeExecutor(given[0], word=16), *given[1:]),
    "C on the host, ASan and UBSan": lambda *given: _in_folder(harness.run, *given),
    "the same, DSP instructions in C": lambda *given: _in_folder(harness.run, *given, flags=harness.EMULATED),
    CORTEX_M: lambda *given: _in_folder(harness.run_on_board, *given),
}


@dataclass
class Tally:
    """Codes compared, runs and programs declined, by backend.

    Attributes:
        codes, runs: by backend; a run is a random program, or a batch of recordings.
        declined: by backend and error code.
    """

    codes: dict[str, int] = field(default_factory=dict)
    runs: dict[str, int] = field(default_factory=dict)
    declined: dict[str, dict[str, int]] = field(default_factory=dict)

    def compare(self, backend: str, want: Values, got: Values, lengths: IntArray, what: str) -> None:
        """Count; AssertionError at the first value that differs."""
        compared, name = differing(want, got, lengths)
        assert not name, f"{what}: {backend} differs in {name}"
        self.codes[backend] = self.codes.get(backend, 0) + compared
        self.runs[backend] = self.runs.get(backend, 0) + 1

    def crossbar(self, program: Program, codes: IntArray, lengths: IntArray, chip: str, what: str) -> None:
        """The ideal crossbar against the reference of the graph that was lowered to its converters."""
        try:
            tiled = AimcTarget(chip).emit(program)
        except ModelError as refused:
            by_code = self.declined.setdefault(CROSSBAR, {})
            by_code[refused.code] = by_code.get(refused.code, 0) + 1
            return
        want = reference(tiled.program, codes, lengths)
        self.compare(CROSSBAR, want, walk(tiled.executor(), codes, lengths), lengths, f"{what} on {chip}")

    def lines(self) -> list[str]:
        """For people."""
        out = [f"{name:32} {count:>14,} codes in {self.runs[name]} runs" for name, count in self.codes.items()]
        for name, codes in self.declined.items():
            why = ", ".join(f"{code} {count}" for code, count in sorted(codes.items()))
            out.append(f"{name:32} declined {sum(codes.values())} programs: {why}")
        return out


def differing(a: Values, b: Values, lengths: IntArray) -> tuple[int, str]:
    """Codes compared, and the first value that differs ('' where none does); padding counts for nothing."""
    compared, longest = 0, max(array.shape[1] for array in a.values() if array.ndim == 3)
    for name in a.keys() & b.keys():
        every_step = a[name].ndim == 3 and a[name].shape[1] == longest
        inside = np.arange(longest) < lengths[:, None] if every_step else ...
        left, right = a[name][inside], b[name][inside]
        compared += left.size
        if not np.array_equal(left, right):
            return compared, name
    return compared, ""
