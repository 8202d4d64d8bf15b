"""Two executors of one program, compared code for code while they run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssmc.data import Samples
from ssmc.ir.executor import Executor
from ssmc.ir.rounding import FloatArray, IntArray

BATCH = 128
EVERY = slice(None)


@dataclass
class Comparison:
    """How many codes were compared and differed, where the first difference was, and what both said in the end.

    ``outputs`` are two (n, size) arrays; NaN where the output is per step.
    """

    outputs: tuple[FloatArray, FloatArray]
    compared: int = 0
    differing: int = 0
    first: str = ""

    def add(
        self, a: Mapping[str, IntArray], b: Mapping[str, IntArray], rows: slice | NDArray[np.bool_], where: str
    ) -> None:
        """Count the values (N, size) of one step, those of ``rows`` only."""
        if a.keys() != b.keys():
            raise ValueError(f"the executors compute different values: {sorted(a.keys() ^ b.keys())}")
        for name in a:
            differ = a[name][rows] != b[name][rows]
            self.compared += differ.size
            self.differing += int(differ.sum())
            if not self.first and differ.any():
                self.first = f"{name}, {where}"


def compare_codes(
    a: Executor, b: Executor, samples: Samples, *, progress: Callable[[int], None] = lambda done: None
) -> Comparison:
    """Run both, free-running, on every sequence; compare every value at every step, and every reduced value."""
    shape = len(samples), a.program.output_size
    found = Comparison((np.full(shape, np.nan), np.full(shape, np.nan)))
    for indices in samples.batches(BATCH):
        x, lengths = samples.batch(indices)
        state_a, state_b = a.init(len(x)), b.init(len(x))
        for t in range(x.shape[1]):
            active = t < lengths
            found.add(
                a.step_codes(state_a, x[:, t], active), b.step_codes(state_b, x[:, t], active), active, f"step {t}"
            )
        found.add(a.finish_codes(state_a), b.finish_codes(state_b), EVERY, "end of sequence")
        for outputs, final in zip(found.outputs, (a.finish(state_a), b.finish(state_b)), strict=True):
            if final is not None:
                outputs[indices] = final
        progress(len(indices))
    return found
