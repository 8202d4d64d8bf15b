"""A C program that checks a model's C against vectors from the reference executor; exit status 0 where all agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssmc.emit_c.buffers import output_value
from ssmc.emit_c.emit import Emitted
from ssmc.emit_c.source import Constant
from ssmc.emit_c.text import per_step
from ssmc.emit_c.widths import INT16
from ssmc.ir.executor import Executor, Ticks
from ssmc.ir.operations import Quantize
from ssmc.ir.program import Program
from ssmc.ir.rates import enough_steps, seen, seen_at_end
from ssmc.ir.rounding import IntArray

LENGTHS = (1, 2, 5, 12)


@dataclass(frozen=True)
class Vectors:
    """Sequences and what the reference executor makes of them.

    Attributes:
        codes: (N, T, inputs) input codes.
        lengths: (N,) true steps.
        outputs: (N, outputs) codes, or (N, rows, outputs) where the output is per step.
        rows: (N,) outputs of each sequence.
    """

    codes: IntArray
    lengths: IntArray
    outputs: IntArray
    rows: IntArray


def make_vectors(program: Program, lengths: tuple[int, ...] = LENGTHS, seed: int = 0) -> Vectors:
    """Random codes, the smallest and the largest among them, through the reference executor."""
    first = program.ops[0]
    assert isinstance(first, Quantize)
    lo, hi = first.quant.lo, first.quant.hi
    clocks = [codes.clock for codes in program.values.values() if codes.clock]
    lengths = (*lengths, *[2 * enough_steps(clock) + 1 for clock in clocks[-1:]])
    rng = np.random.default_rng(seed)
    n, steps = len(lengths), max(lengths)
    codes = rng.integers(lo, hi + 1, (n, steps, program.input_size))
    edge = rng.random(codes.shape)
    codes = np.where(edge < 0.1, lo, np.where(edge > 0.9, hi, codes))
    return run_reference(program, codes, np.array(lengths, np.int64))


def run_reference(program: Program, codes: IntArray, lengths: IntArray) -> Vectors:
    """The reference executor's output codes of input codes (N, T, inputs)."""
    first = program.ops[0]
    assert isinstance(first, Quantize)
    executor, name = Executor(program), output_value(program)
    state = executor.init(len(codes))
    real = first.quant.dequantize(codes)
    clock, size = program.output_clock, program.output_size
    every = np.zeros((len(codes), program.rows(codes.shape[1]), size), np.int64)
    for t in range(codes.shape[1] + 1):
        ended = t == codes.shape[1]
        ticks = Ticks.of_end(state.length) if ended else Ticks.of_step(state.length, t < lengths)
        found = executor.finish_codes(state) if ended else executor.step_codes(state, real[:, t], t < lengths)
        new = ticks.at(clock)
        if per_step(program) and new.any():
            every[new, seen(clock, ticks.before)[new]] = found[name][new]
    if per_step(program):
        return Vectors(codes, lengths, every, seen_at_end(clock, lengths))
    return Vectors(codes, lengths, found[name], np.ones_like(lengths))


_MAIN = """\
/* Checks @ against vectors that ssmc's reference executor made. Exit status 0 where every code agrees. */
#include "@.h"
#include <stdio.h>

@ARRAYS

static @_state state;
static @_output y[@COUNT];

int main(void)
{
    const @_input *x = inputs;
    const @_output *want = outputs;
    int differ = 0;
    for (int i = 0; i < @N; ++i) {
        const int count = rows[i] * @SIZE;
        @_run(&state, x, (uint32_t)lengths[i], y);
        for (int c = 0; c < count; ++c) {
            differ += y[c] != want[c];
        }
        x += lengths[i] * @INPUTS;
        want += count;
    }
    printf("@: %d of @TOTAL codes differ\\n", differ);
    return differ != 0;
}
"""


def selftest_text(model: Emitted, vectors: Vectors) -> str:
    """The C file."""
    inputs = np.concatenate([codes[:n] for codes, n in zip(vectors.codes, vectors.lengths, strict=True)])
    stepwise = per_step(model.program)
    kept = [y[:n] if stepwise else y[None] for y, n in zip(vectors.outputs, vectors.rows, strict=True)]
    outputs = np.concatenate(kept)
    size = model.program.output_size
    arrays = [
        Constant("inputs", model.input_type, inputs.ravel(), "input codes, step by step"),
        Constant("lengths", INT16, vectors.lengths, "steps of each sequence"),
        Constant("rows", INT16, vectors.rows, "outputs of each sequence"),
        Constant("outputs", model.output_type, outputs.ravel(), "output codes of the reference executor"),
    ]
    pairs = [
        ("@ARRAYS", "\n\n".join(array.text() for array in arrays)),
        ("@COUNT", str(size * max(int(vectors.rows.max()), 1))), ("@SIZE", str(size)),
        ("@INPUTS", str(model.program.input_size)), ("@TOTAL", str(outputs.size)), ("@N", str(len(vectors.lengths))),
        ("@", model.prefix),
    ]  # fmt: skip
    text = _MAIN
    for key, value in pairs:
        text = text.replace(key, value)
    return text
