"""What drives the matrices of a program on recorded sequences, from the integer executor's own codes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from ssmc.data import Samples
from ssmc.errors import UsageError
from ssmc.ir.executor import Executor, Trace, check_input
from ssmc.ir.operations import AnyOp, Linear, StateSpace
from ssmc.ir.program import Program
from ssmc.ir.rounding import IntArray
from ssmc.targets.aimc.lowering.kernel_places import OUTPUT
from ssmc.targets.aimc.lowering.partial_sums import Seen

SEQUENCES, STEPS, BATCH, SEED = 64, 512, 16, 0


def recorded_inputs(program: Program, samples: Samples) -> Seen:
    """Codes (S, G, in) in front of every matrix, by `MatrixPlan.name`, at most `STEPS` of at most `SEQUENCES`.

    The sequences are spread evenly, the steps drawn from all of theirs with a fixed seed. Labels are not looked at.

    Raises:
        UsageError: SSMC-A06 where the sequences hold no step, SSMC-D01..D05 where they do not fit the program.
    """
    chosen = samples.spread(SEQUENCES)
    if not len(chosen.flat):
        raise UsageError("SSMC-A06", "the sequences for --ranges hold no step", "give recorded sequences")
    taken = np.zeros(len(chosen.flat), np.bool_)
    taken[np.random.default_rng(SEED).choice(len(taken), min(STEPS, len(taken)), replace=False)] = True
    seen: dict[str, list[IntArray]] = defaultdict(list)
    for batch in chosen.batches(BATCH):
        _run(program, chosen, batch, taken, seen)
    return {name: np.concatenate(found) for name, found in seen.items()}


def _run(
    program: Program,
    samples: Samples,
    batch: IntArray,
    taken: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
    seen: dict[str, list[IntArray]],
) -> None:
    """Run some of the sequences and record the steps ``taken`` of all, and the end of each."""
    padded, lengths = samples.batch(batch)
    x = check_input(program, padded)
    executor = Executor(program)
    state = executor.init(len(batch))
    for t in range(x.shape[1]):
        before, active = dict(state.registers), t < lengths
        codes = executor.step_codes(state, x[:, t], active)
        rows = active.copy()
        rows[active] = taken[samples.offsets[batch[active]] + t]
        if rows.any():
            _record(program, codes, (before, state.registers), rows, seen)
    everyone = np.ones(len(batch), np.bool_)
    _record(program, executor.finish_codes(state), (state.registers, state.registers), everyone, seen)


def _record(
    program: Program,
    codes: Trace,
    registers: tuple[dict[str, IntArray], dict[str, IntArray]],
    rows: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
    seen: dict[str, list[IntArray]],
) -> None:
    """Add what the sequences ``rows`` drive at one step; ``registers`` before and after it."""
    for op in program.ops:
        if op.inputs[0] in codes:
            for name, v in _drives(op, codes[op.inputs[0]], *registers):
                seen[name].append(v[rows])


def _drives(
    op: AnyOp, x: IntArray, before: dict[str, IntArray], after: dict[str, IntArray]
) -> Iterator[tuple[str, IntArray]]:
    """Name and drives (N, G, in) of every matrix of an op whose input codes are x (N, size)."""
    if isinstance(op, Linear):
        yield op.name, x.reshape(len(x), op.matrix.groups, op.matrix.inputs)
    if isinstance(op, StateSpace):
        u = op.grouped(x)
        yield op.name, np.concatenate([op.read_out(before[op.name]), u], -1)
        if op.output_matrix is not None:
            state = after if op.output_after else before
            yield op.name + OUTPUT, np.concatenate([op.read_out(state[op.name]), u], -1)
