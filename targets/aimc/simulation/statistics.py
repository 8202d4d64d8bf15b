"""Confidence intervals of accuracies: Wilson for one chip, a two-way bootstrap for the mean over chips."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 4000
Z95 = 1.959963984540054


@dataclass(frozen=True)
class Interval:
    """A share with its 95 % confidence interval."""

    low: float
    value: float
    high: float


def wilson(correct: int, of: int) -> Interval:
    """A share of ``of`` independent trials (Wilson 1927).

    centre = (p + z^2 / 2n) / (1 + z^2 / n), half width = z / (1 + z^2 / n) sqrt(p (1 - p) / n + z^2 / 4n^2).
    """
    if of == 0:
        return Interval(0.0, float("nan"), 1.0)
    p, z2 = correct / of, Z95 * Z95
    centre = (p + z2 / (2 * of)) / (1 + z2 / of)
    half = Z95 / (1 + z2 / of) * sqrt(p * (1 - p) / of + z2 / (4 * of * of))
    return Interval(max(0.0, centre - half), p, min(1.0, centre + half))


def crossed_bootstrap(correct: NDArray[np.bool_], seed: int = 0) -> Interval:
    """The mean of ``correct`` (chips, sequences): percentiles over resampled chips *and* resampled sequences.

    All chips see the same sequences, so the trials are not independent; resampling both ways (Owen 2007, "The
    pigeonhole bootstrap") covers the next chip and the next sequence. It errs on the wide side.
    """
    chips, sequences = correct.shape
    rng = np.random.default_rng(seed)
    by_chip = rng.multinomial(chips, np.full(chips, 1 / chips), RESAMPLES) / chips
    by_sequence = rng.multinomial(sequences, np.full(sequences, 1 / sequences), RESAMPLES) / sequences
    means = np.einsum("rc,cs,rs->r", by_chip, correct.astype(np.float64), by_sequence, optimize=True)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(low), float(correct.mean()), float(high))
