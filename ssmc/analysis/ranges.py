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
from ssmc.analysis.noise import flushed, lyapunov, power_at_output
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
    rest = _rest(kernel, _times(kernel.B, middle) + kernel.bias_state)
    errors, converted = (np.where(power > 0, HALF, 0.0) for power in (kernel.readout_power, kernel.state_power))
    state, output = _sums(kernel, start - rest, reach, errors, converted)
    n = kernel.A.shape[-1]
    seen = np.concatenate([rest, _times(kernel.G, kernel.inverse * rest)], 1)
    state = np.abs(seen) + state
    output = np.abs(_times(kernel.C, rest)) + output
    adc_state = _converted(state[:, n:], kernel.G, kernel.B, kernel.bias_state, errors, middle, reach)
    adc_output = _converted(output, kernel.F, kernel.D, kernel.bias_output, errors, middle, reach)
    return Ranges(state[:, :n], adc_state, adc_output)


def _sums(
    kernel: LinearKernel, start: FloatArray, reach: FloatArray, errors: FloatArray, converted: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Bounds around rest of registers and sums of the state rows (H, 2n), and of the output rows (H, p)."""
    blocks = kernel.blocks
    A, G, B = blocks.square(kernel.A), blocks.square(kernel.G), blocks.gather(kernel.B)
    eye = np.broadcast_to(np.eye(blocks.size), A.shape)
    L = G * blocks.gather(kernel.inverse)[:, :, None, :]
    C = blocks.gather(kernel.C, 2).swapaxes(1, 2)
    one = np.ones((len(reach), int(start.any())))  # a kernel that starts at rest needs no column for that
    driven = np.concatenate([B, blocks.gather(start)[..., None][..., : one.shape[1]]], 3)
    found = absolute_sums(A, driven, np.concatenate([G, eye], 3), L, C)
    m, b = driven.shape[-1], blocks.size
    weight = np.concatenate([reach, one], 1)
    rounding = np.concatenate([blocks.gather(errors), blocks.gather(converted)], 2)
    own = _times(found.rows[..., :m], weight[:, None]) + _times(found.rows[..., m:], rounding)
    state = np.concatenate([blocks.scatter(own[:, :, :b]), blocks.scatter(own[:, :, b:])], 1)
    output = _times(found.outputs, weight) + _times(found.own, rounding).sum(1)
    return state, output


def typical(kernel: LinearKernel, power: FloatArray) -> Ranges:
    """Standard deviations for white inputs of variance ``power`` (H, m)."""
    blocks = kernel.blocks
    Q = (kernel.B * power[:, None, :]) @ kernel.B.swapaxes(1, 2)
    P = lyapunov(blocks.square(kernel.A), blocks.square(Q))
    P = np.where(np.isnan(P).any((1, 2, 3), keepdims=True), np.nan, P)
    gain = blocks.square(kernel.G) * blocks.gather(kernel.inverse)[:, :, None, :]
    converted = blocks.scatter(((gain @ P) * gain).sum(-1)) + _times(kernel.B**2, power)
    return Ranges(
        np.sqrt(blocks.scatter(np.diagonal(P, axis1=-2, axis2=-1))),
        np.sqrt(converted),
        np.sqrt(power_at_output(kernel, Q) + _times(kernel.D**2, power)),
    )


@dataclass(frozen=True)
class AbsoluteSums:
    """``sum_k |L A^k X|`` over all k >= 0, bounded from above; inf: no decay.

    Attributes:
        rows: of every block's own rows and all its columns, (H, K, i, m + j).
        own: of the outputs and the columns that act on one block each, (H, K, p, j).
        outputs: of the outputs and the columns that drive all blocks at once, (H, p, m).
    """

    rows: FloatArray
    own: FloatArray
    outputs: FloatArray


def absolute_sums(A: FloatArray, driven: FloatArray, single: FloatArray, L: FloatArray, C: FloatArray) -> AbsoluteSums:
    """The sums for blocks A (H, K, b, b), read by themselves, by L (H, K, i, b) and together by C (H, K, p, b).

    ``driven`` (H, K, b, m) are columns that act on all blocks of a group at once, ``single`` (H, K, b, j) on one each.
    """
    m, b = driven.shape[-1], A.shape[-1]
    X = np.concatenate([driven, single], -1).swapaxes(2, 3)
    rows = np.concatenate([np.broadcast_to(np.eye(b), A.shape), L], 2)
    read, out, leap = _chunk(rows, A), _chunk(C, A), np.linalg.matrix_power(A, CHUNK)
    together = out.reshape(len(A), -1, out.shape[-1])
    done = np.array(np.broadcast_to(np.eye(b), A.shape))
    total = [np.zeros((*X.shape[:3], rows.shape[2])), np.zeros((*single.shape[:2], single.shape[3], C.shape[2]))]
    total.append(np.zeros((len(A), m, C.shape[2])))
    slow = np.arange(len(A))  # the groups that have not decayed yet
    for _ in range(MOST_CHUNKS):
        x = X[slow] @ done[slow].swapaxes(2, 3)  # (H, K, columns, b)
        apart = x[:, :, :m].swapaxes(1, 2).reshape(len(x), m, -1)
        for sums, columns, seen in zip(total, (x, x[:, :, m:], apart), (read, out, together), strict=True):
            sums[slow] += _over_steps(columns @ seen)
        done[slow] = flushed(done[slow] @ leap[slow])
        left = np.abs(done[slow]).sum(-1).max((1, 2)) > SMALL
        if not left.all():
            slow, read, out, together = slow[left], read[left], out[left], together[left]
        if not slow.size:
            break
    return _closed(AbsoluteSums(*(sums.swapaxes(-1, -2) for sums in total)), np.abs(done), np.abs(rows), np.abs(C), m)


def _chunk(rows: FloatArray, A: FloatArray) -> FloatArray:
    """Rows (H, K, r, b) times A^0 to A^(CHUNK - 1), (H, K, b, r CHUNK), the steps of a row side by side."""
    power, found = A.swapaxes(2, 3), rows.swapaxes(2, 3)[..., None]
    while found.shape[-1] < CHUNK:
        moved = flushed(power @ found.reshape(*found.shape[:3], -1)).reshape(found.shape)
        found, power = np.concatenate([found, moved], -1), flushed(power @ power)
    return found.reshape(*found.shape[:3], -1)


def _over_steps(moved: FloatArray) -> FloatArray:
    """Magnitudes (..., r CHUNK) summed over the steps of a chunk, (..., r)."""
    apart = np.abs(moved, out=moved).reshape(*moved.shape[:-1], -1, CHUNK)
    return np.asarray(apart.sum(-1))


def _closed(total: AbsoluteSums, rest: FloatArray, rows: FloatArray, C: FloatArray, m: int) -> AbsoluteSums:
    """The sums with a bound of all later steps; inf where ``rest`` = |A^K| does not decay."""
    b = rest.shape[-1]
    decays = (np.abs(np.linalg.eigvals(rest)).max(-1) < 1).all(1)
    rest = np.where(decays[:, None, None, None], rest, 0.0)
    tail = np.linalg.solve(np.eye(b) - rest, rest @ total.rows[:, :, :b])
    sums = total.rows + rows @ tail, total.own + C @ tail[..., m:], total.outputs + (C @ tail[..., :m]).sum(1)
    return AbsoluteSums(*(np.where(decays.reshape(-1, *(1,) * (x.ndim - 1)), x, np.inf) for x in sums))


def _rest(kernel: LinearKernel, constant: FloatArray) -> FloatArray:
    """Where a constant drive takes the state: (I - A)^-1 constant."""
    if not constant.any():
        return np.zeros_like(constant)
    blocks = kernel.blocks
    A, drive = blocks.square(kernel.A), blocks.gather(constant)[..., None]
    rest: FloatArray = np.linalg.solve(np.eye(blocks.size) - A, drive)[..., 0].astype(np.float64)
    return blocks.scatter(rest)


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


def _times(matrix: FloatArray, vector: FloatArray) -> FloatArray:
    return np.asarray((matrix @ np.asarray(vector, np.float64)[..., None])[..., 0])
