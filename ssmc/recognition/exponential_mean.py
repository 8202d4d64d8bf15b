"""A loop that is an exponentially weighted mean which starts at the first step: one register a channel, no kernel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssmc.ir.rounding import FloatArray, round_half_even
from ssmc.ir.sparse import Sparse
from ssmc.recognition.raised_scan import RaisedScan, Shape
from ssmc.recognition.recurrence import Recurrence
from ssmc.recognition.states import GRID_ERROR

MOST_SHIFT = 22


@dataclass(frozen=True)
class FoundMean:
    """``m' = m + (u - m) / unit``; quantized, with the codes of u and m in units of ``step``.

    Attributes:
        unit: a power of two.
        step: (C,) real value of a code; 0 where nothing is rounded.
        lo, hi: the codes of u at which nothing clips.
        start: (C,) the initial state per real value of the first step.
    """

    unit: float
    step: FloatArray
    lo: float
    hi: float
    start: FloatArray


def find_mean(found: RaisedScan) -> FoundMean | None:
    """The mean that a loop is, whatever its spelling; None where it is something else."""
    kernel, size = found.kernel, len(found.kernel.step)
    given = found.state_shapes, found.input_shapes, found.output_shapes
    alike = all(len(shapes) == 1 for shapes in given) and len({_without_ones(shapes[0]) for shapes in given}) == 1
    rows = _pairs(kernel.W, size) if alike else None
    if rows is None or kernel.offset.any() or kernel.offset_y.any():
        return None
    return _real(kernel, *rows) if not kernel.step.any() else _coded(kernel, *rows)


def _without_ones(shape: Shape) -> Shape:
    return tuple(size for size in shape if size != 1)


def _pairs(matrix: Sparse, size: int) -> tuple[FloatArray, FloatArray] | None:
    """The coefficients of its own state and of its own input in every row; None where others occur."""
    channel = matrix.columns % size
    if matrix.shape != (size, 2 * size) or (channel != matrix.rows).any():
        return None
    both = np.zeros((2, size))
    both[matrix.columns // size, matrix.rows] = matrix.values
    return both[0], both[1]


def _real(kernel: Recurrence, a: FloatArray, b: FloatArray) -> FoundMean | None:
    given = _pairs(kernel.W_y, len(a))
    if given is None or kernel.step_y.any():
        return None
    new = (given[0] == 1).all() and not given[1].any() if kernel.after else np.array_equal(given, (a, b))
    unit = float(np.exp2(round_half_even(-np.log2(b[0])))) if b[0] > 0 else 0.0
    if not new or not 1 < unit <= 1 << MOST_SHIFT or (np.abs(b * unit - 1) > GRID_ERROR).any():
        return None
    if (np.abs(a - (1 - b)) > GRID_ERROR * b).any():
        return None
    return FoundMean(unit, np.zeros(len(a)), -np.inf, np.inf, np.ones(len(a)))


def _coded(kernel: Recurrence, a: FloatArray, b: FloatArray) -> FoundMean | None:
    """``r' = clip(r + clip(round((u - R(r)) / step)))``, ``y = R(r')``: what `ssmc.quantize` and `ssmc.qat` write."""
    unit, given = float(kernel.unit[0]), _pairs(kernel.W_y, len(a))
    if given is None or not kernel.after or not 1 < unit <= 1 << MOST_SHIFT or not (b > 0).all():
        return None
    step = kernel.step / b
    same = (kernel.unit == unit) & (kernel.keep == 1) & (a == -kernel.step) & (given[0] == step) & (given[1] == 0)
    lo = float(max((kernel.reg_lo / unit).max(), kernel.dac_lo.max()))
    hi = float(min((kernel.reg_hi / unit).min(), kernel.dac_hi.min()))
    inside = (kernel.lo <= lo - hi) & (kernel.hi >= hi - lo)
    shown = (kernel.step_y == 0) | ((kernel.step_y == step) & (kernel.lo_y <= lo) & (kernel.hi_y >= hi))
    if not (same & inside & shown).all():
        return None
    return FoundMean(unit, step, lo, hi, unit * kernel.sigma / step)
