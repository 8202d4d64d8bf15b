"""How far states and sums can go: worst case (l1) and typically (l2), in codes.

With inputs |u - u0| <= d around the middle u0 of their range, and every rounding at most half a step,

    |r|  <=  |r_rest| + sum_k |A^k B| d + 1/2 sum_k (|A^k G| + |A^k|)          read-out and ADC errors included

and alike for the inputs of the converters: an overflow is impossible where the bound lies inside the range. A register
that starts elsewhere than at rest adds sum_k |A^k (r_0 - r_rest)|. The sums are exact up to K terms and closed by
``sum_(k>=K) |A^k X| <= (I - |A^K|)^-1 |A^K| sum_(k<K) |A^k X|``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssmc.analysis.linear import LinearKernel
from ssmc.analysis.noise import controllability, flushed
from ssmc.ir.rounding import FloatArray

CHUNK = 64
MOST_CHUNKS = 64
SMALL = 0.02
HALF = 0.5


@dataclass(frozen=True)
class Ranges:
    """Ranges of the registers (H, n) and of what the converters see, state rows (H, n) and output rows (H, p)."""

    register: FloatArray
    adc_state: FloatArray
    adc_output: FloatArray


def worst_case(kernel: LinearKernel, lo: FloatArray, hi: FloatArray, start: FloatArray) -> Ranges:
    """Largest magnitudes that inputs within lo..hi (H, m) can drive, from registers ``start`` (H, n); inf: no bound."""
    middle, reach = (lo + hi) / 2, (hi - lo) / 2
    rest = _rest(kernel.A, _times(kernel.B, middle) + kernel.bias_state)
    m, n = kernel.B.shape[-1], kernel.A.shape[-1]
    eye = np.broadcast_to(np.eye(n), kernel.A.shape)
    seen = np.concatenate([eye, kernel.G * kernel.inverse[:, None, :], kernel.C], 1)
    moved = np.concatenate([kernel.B, kernel.G, eye, (start - rest)[..., None]], -1)
    sums = absolute_sum(kernel.A, moved, seen)
    errors, converted = (np.where(power > 0, HALF, 0.0) for power in (kernel.readout_power, kernel.state_power))
    rounded = _times(sums[..., m : m + n], errors) + _times(sums[..., m + n : -1], converted)
    bound = np.abs(_times(seen, rest)) + _times(sums[..., :m], reach) + rounded + sums[..., -1]
    state = _converted(bound[:, n : 2 * n], kernel.G, kernel.B, kernel.bias_state, errors, middle, reach)
    output = _converted(bound[:, 2 * n :], kernel.F, kernel.D, kernel.bias_output, errors, middle, reach)
    return Ranges(bound[:, :n], state, output)


def typical(kernel: LinearKernel, power: FloatArray) -> Ranges:
    """Standard deviations for white inputs of variance ``power`` (H, m)."""
    P = controllability(kernel.A, (kernel.B * power[:, None, :]) @ kernel.B.swapaxes(1, 2))
    return Ranges(
        np.sqrt(np.diagonal(P, axis1=1, axis2=2)),
        _spread(kernel.G * kernel.inverse[:, None, :], kernel.B, P, power),
        _spread(kernel.C, kernel.D, P, power),
    )


def absolute_sum(A: FloatArray, X: FloatArray, L: FloatArray) -> FloatArray:
    """``sum_k |L A^k X|`` over all k >= 0, bounded from above: A (H, n, n), X (H, n, j), L (H, i, n). inf: no decay."""
    n = A.shape[-1]
    summed = [_leading_terms(*group) for group in zip(A, X, L, strict=True)]
    total, rest = np.stack([terms for terms, _ in summed]), np.abs(np.stack([power for _, power in summed]))
    bounded = np.abs(np.linalg.eigvals(rest)).max(-1)[:, None, None] < 1
    rest = np.where(bounded, rest, 0.0)
    tail = np.linalg.solve(np.eye(n) - rest, rest @ total[:, :n])
    return np.asarray(np.where(bounded, total[:, n:] + np.abs(L) @ tail, np.inf))


def _leading_terms(A: FloatArray, X: FloatArray, L: FloatArray) -> tuple[FloatArray, FloatArray]:
    """``sum_(k<K) |[I; L] A^k X|`` (n + i, j) and ``A^K``, small where it decays: A (n, n), X (n, j), L (i, n).

    One group at a time: a chunk of its terms stays in the cache, those of all groups would not.
    """
    n = len(A)
    rows = [np.concatenate([np.eye(n), L])]
    for _ in range(CHUNK - 1):
        rows.append(flushed(rows[-1] @ A))
    block, leap = np.concatenate(rows), rows[-1][:n] @ A
    power, total = np.eye(n), np.zeros((n + len(L), X.shape[-1]))
    for _ in range(MOST_CHUNKS):
        moved = block @ (power @ X)
        np.abs(moved, out=moved)
        total += moved.reshape(CHUNK, *total.shape).sum(0)
        power = flushed(power @ leap)
        if not np.abs(power).sum(-1).max() > SMALL:
            break
    return total, power


def _rest(A: FloatArray, constant: FloatArray) -> FloatArray:
    """Where a constant drive takes the state: (I - A)^-1 constant."""
    if not constant.any():
        return np.zeros_like(constant)
    return np.asarray(np.linalg.solve(np.eye(A.shape[-1]) - A, constant[..., None])[..., 0])


def _converted(
    state: FloatArray,
    gain: FloatArray,
    feed: FloatArray,
    bias: FloatArray,
    errors: FloatArray,
    middle: FloatArray,
    reach: FloatArray,
) -> FloatArray:
    """The bound of a sum: what comes from the states, the read-out's error at this step, inputs and bias."""
    return state + _times(np.abs(gain), errors) + _times(np.abs(feed), reach) + np.abs(_times(feed, middle) + bias)


def _spread(gain: FloatArray, feed: FloatArray, P: FloatArray, power: FloatArray) -> FloatArray:
    state = np.einsum("hij,hjk,hik->hi", gain, P, gain)
    return np.asarray(np.sqrt(state + _times(feed**2, power)))


def _times(matrix: FloatArray, vector: FloatArray) -> FloatArray:
    return np.asarray((matrix @ np.asarray(vector, np.float64)[..., None])[..., 0])
