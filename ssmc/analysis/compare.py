"""Prediction and simulation side by side: what ``benchmarks/sqnr.py`` and the tests report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ssmc.analysis.linear import linear_kernel
from ssmc.analysis.noise import output_noise, sqnr_db
from ssmc.analysis.observe import Verdict, judge, observe
from ssmc.analysis.run import integers, padded, reference
from ssmc.ir.operations import StateSpace
from ssmc.ir.rounding import FloatArray, IntArray


@dataclass(frozen=True)
class Compared:
    """Per output (H, p): SQNR as predicted and as simulated in integers, and the model's word on itself."""

    predicted_db: FloatArray
    simulated_db: FloatArray
    verdict: Verdict

    @property
    def off_db(self) -> FloatArray:
        """Predicted minus simulated."""
        return np.asarray(self.predicted_db - self.simulated_db)


def compare(op: StateSpace, sequences: Sequence[IntArray]) -> Compared:
    """Run input codes (T, H, m) through the integers and through the same coefficients in real numbers."""
    kernel, start = linear_kernel(op), op.register0.astype(np.float64)
    seen = observe(kernel, sequences, start)
    noise = output_noise(kernel, seen.steps)
    square, count = np.zeros(noise.total.shape), 0
    for u, lengths in padded(sequences):
        error = integers(op, u, lengths) - reference(kernel, u, lengths, start).output
        inside = (np.arange(u.shape[2]) < lengths[:, None])[None, :, :, None]
        square = square + (error**2 * inside).sum((1, 2))
        count += int(lengths.sum())
    simulated = sqnr_db(seen.signal, square / max(count, 1))
    return Compared(sqnr_db(seen.signal, noise.total), simulated, judge(kernel, noise, seen))
