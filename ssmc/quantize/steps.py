"""Steps of quantizers: those that quantize given data with the least squared error."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ssmc.ir.rounding import FloatArray, IntArray, round_half_even

OCTAVES = 6
CACHED = 1 << 16
SHORT = np.array([1.0, 1.25, 1.5, 1.75])  # 3 bits: exact in float32; a small product and a shift in integers


def grid_scale(largest: ArrayLike, codes: float, power_of_two: bool) -> FloatArray:
    """Smallest scale with ``largest <= codes * scale``; rounded up to a power of two if asked. Zero maps to 1."""
    top = np.asarray(largest, np.float64)
    scale = np.where(top > 0, top, codes) / codes
    return np.exp2(np.ceil(np.log2(scale))) if power_of_two else scale


def best_step(x: FloatArray, lo: int, hi: int, kept: int, power_of_two: bool) -> FloatArray:
    """The step with the least squared error of ``step * clip(round(x / step), lo, hi)``, clipping against resolution.

    One step for each entry of the last ``kept`` axes of x; 1 where all data are 0. Candidates are the smallest step
    that clips nothing and those below it by octaves, then quarters of octaves around the best. A few entries are looked
    at together, so that their data stay in the cache.
    """
    axis = x.ndim - kept
    if not kept or x.shape[axis] <= 1:
        return _best_step(x, lo, hi, kept, power_of_two)
    count = max(CACHED * x.shape[axis] // max(x.size, 1), 1)
    parts = [x[(slice(None),) * axis + (slice(at, at + count),)] for at in range(0, x.shape[axis], count)]
    return np.concatenate([_best_step(np.ascontiguousarray(part), lo, hi, kept, power_of_two) for part in parts])


def _best_step(x: FloatArray, lo: int, hi: int, kept: int, power_of_two: bool) -> FloatArray:
    axes = tuple(range(x.ndim - kept))
    ends = np.stack([x.max(axes) / max(hi, 1), x.min(axes) / min(lo, -1) if lo else x.max(axes) / max(hi, 1)])
    top = grid_scale(ends.max(0), 1.0, power_of_two)
    step = _least_error(x, top, np.exp2(-np.arange(OCTAVES)), lo, hi, axes)
    if not power_of_two:
        step = _least_error(x, step, np.minimum(np.exp2(np.arange(-3, 4) / 4), (top / step)[..., None]), lo, hi, axes)
    return np.asarray(np.where((x == 0).all(axes), 1.0, step))


def _least_error(
    x: FloatArray, step: FloatArray, factors: FloatArray, lo: int, hi: int, axes: tuple[int, ...]
) -> FloatArray:
    """Of ``step`` times ``factors`` (..., F) the one of least error."""
    steps = np.moveaxis(step[..., None] * factors, -1, 0)
    errors = np.stack([_error(x, one, lo, hi, axes) for one in steps])
    return np.asarray(np.take_along_axis(steps, errors.argmin(0)[None], 0)[0])


def _error(x: FloatArray, step: FloatArray, lo: int, hi: int, axes: tuple[int, ...]) -> FloatArray:
    quantized = round_half_even(x / step)
    np.clip(quantized, lo, hi, out=quantized)
    quantized *= step
    quantized -= x
    quantized *= quantized
    return np.asarray(quantized.sum(axes))


def weight_codes(weight: FloatArray, bits: int, axis: int, power_of_two: bool) -> tuple[IntArray, FloatArray]:
    """Symmetric codes of a matrix and one step for each output along ``axis``; one bit: the sign times the mean."""
    limit = (1 << (bits - 1)) - 1
    rows = np.moveaxis(weight, axis, -1).reshape(-1, weight.shape[axis])
    shape = [-1 if a == axis % weight.ndim else 1 for a in range(weight.ndim)]
    if bits == 1:
        mean = grid_scale(np.abs(rows).mean(0), 1.0, power_of_two)
        return np.where(weight < 0, -1, 1).astype(np.int64), mean
    step = best_step(rows, -limit, limit, 1, power_of_two)
    codes = np.clip(round_half_even(weight / step.reshape(shape)), -limit, limit)
    return codes.astype(np.int64), step
