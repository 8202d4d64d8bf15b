"""A kernel run two ways on the same input codes: as the linear system of its coefficients, and in integers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ssmc.analysis.blocks import Blocks
from ssmc.analysis.linear import Limits, LinearKernel
from ssmc.analysis.noise import flushed
from ssmc.ir.operations import StateSpace
from ssmc.ir.rounding import FloatArray, IntArray

BATCH = 16
HALF = 0.5


@dataclass(frozen=True)
class Trajectory:
    """Real values of a run without roundings, each (H, N, T, k); steps after a sequence's end are 0.

    Attributes:
        readout: 2^-shift r, what the read-out sees. state, output: what the ADCs see, in codes.
        lengths: (N,).
    """

    readout: FloatArray
    state: FloatArray
    output: FloatArray
    lengths: IntArray


def time_last(x: FloatArray) -> FloatArray:
    """Values (H, N, T, k) as (H, k, N, T), the order in memory of those of a `Trajectory`."""
    return np.moveaxis(x, 3, 1)


def padded(sequences: Sequence[IntArray]) -> Iterator[tuple[IntArray, IntArray]]:
    """Batches of similar length of sequences (T, H, m): (H, N, T, m) and the lengths (N,)."""
    order = sorted((u for u in sequences if len(u)), key=len)
    for start in range(0, len(order), BATCH):
        part = order[start : start + BATCH]
        batch = np.zeros((part[0].shape[1], len(part), len(part[-1]), part[0].shape[2]), np.int64)
        for i, u in enumerate(part):
            batch[:, i, : len(u)] = u.swapaxes(0, 1)
        yield batch, np.array([len(u) for u in part])


def reference(kernel: LinearKernel, u: IntArray, lengths: IntArray, start: FloatArray) -> Trajectory:
    """The linear kernel on input codes u (H, N, T, m) from registers ``start`` (H, n): no rounding, no saturation."""
    batch, steps = u.shape[1:3]
    fed = np.ascontiguousarray(time_last(u.astype(np.float64)))
    drive = _rows(kernel.B, fed) + kernel.bias_state[..., None, None]
    registers = driven(kernel, drive, np.repeat(start[..., None].astype(np.float64), batch, 2))
    read = registers[..., :-1] * kernel.inverse[..., None, None]
    source = registers[..., 1:] if kernel.after else registers[..., :-1]
    output = _rows(kernel.C, source) + _rows(kernel.D, fed) + kernel.bias_output[..., None, None]
    state = times(kernel.blocks, kernel.G, read) + drive
    if (lengths != steps).any():
        inside = np.arange(steps) < lengths[:, None]
        read, state, output = read * inside, state * inside, output * inside
    return Trajectory(np.moveaxis(read, 1, 3), np.moveaxis(state, 1, 3), np.moveaxis(output, 1, 3), lengths)


def overloaded(kernel: LinearKernel, run: Trajectory) -> FloatArray:
    """To first order, what saturation of the converters leaves at the outputs, (H, N, T, p)."""
    readout, state = _beyond(run.readout, kernel.dac), _beyond(run.state, kernel.adc_state)
    lost = times(kernel.blocks, kernel.G, readout) + state
    output = _rows(kernel.F, readout) + _beyond(run.output, kernel.adc_output)
    hit = np.flatnonzero(lost.any((1, 2, 3)))
    if hit.size:
        part = kernel.part(hit)
        path = driven(part, lost[hit], np.zeros(lost[hit].shape[:3]))
        output[hit] += _rows(part.C, path[..., :-1])
    inside = np.arange(output.shape[3]) < run.lengths[:, None]
    return np.moveaxis(output * inside, 1, 3)


def driven(kernel: LinearKernel, drive: FloatArray, start: FloatArray) -> FloatArray:
    """``r' = A r + drive`` from ``start`` (H, n, N) under ``drive`` (H, n, N, T): r before every step and after all.

    In S spans of S steps: the spans from 0 side by side, then where each begins, then what that start becomes in it.
    """
    blocks, steps = kernel.blocks, drive.shape[3]
    A, fed = blocks.square(kernel.A), blocks.gather(drive)  # (H, K, b, N, T)
    span, shape = int(np.ceil(np.sqrt(steps + 1))), fed.shape[:4]
    whole = np.zeros((*shape, span * span))
    whole[..., :steps] = fed
    inputs = np.ascontiguousarray(np.moveaxis(whole.reshape(*shape, span, span), -1, 0))
    path = np.zeros((span + 1, *shape[:3], shape[3] * span))  # step of a span, (H, K, b), N sequences of S spans
    for t, now in enumerate(inputs):
        np.matmul(A, path[t], out=path[t + 1])
        path[t + 1] += now.reshape(path[t].shape)
    begins = _begins(np.linalg.matrix_power(A, span), blocks.gather(start), path[-1].reshape(*shape, span))
    moved = begins.reshape(path[0].shape)
    for t in range(span):
        path[t] += moved
        moved = flushed(A @ moved)
    flat = np.moveaxis(path[:-1].reshape(span, *shape, span), 0, -1).reshape(*shape, -1)
    return blocks.scatter(np.ascontiguousarray(flat[..., : steps + 1]))


def _begins(power: FloatArray, r: FloatArray, ends: FloatArray) -> FloatArray:
    """R (H, K, b, N) at the beginning of every span, given what spans from 0 end with, (H, K, b, N, S)."""
    found = np.empty(ends.shape)
    for number in range(ends.shape[-1]):
        found[..., number] = r
        r = flushed(power @ r) + ends[..., number]
    return found


def times(blocks: Blocks, matrix: FloatArray, x: FloatArray) -> FloatArray:
    """Products (H, n, N, T) of a matrix (H, n, n) that is block diagonal in ``blocks`` with x (H, n, N, T)."""
    part = blocks.gather(x)
    return blocks.scatter((blocks.square(matrix) @ part.reshape(*part.shape[:3], -1)).reshape(part.shape))


def _rows(matrix: FloatArray, x: FloatArray) -> FloatArray:
    """Products (H, r, N, T) of a matrix (H, r, n) with x (H, n, N, T)."""
    return np.asarray((matrix @ x.reshape(*x.shape[:2], -1)).reshape(len(x), -1, *x.shape[2:]))


def _beyond(z: FloatArray, limits: Limits) -> FloatArray:
    """How far z (H, N, T, k) lies beyond half a step outside the code range, (H, k, N, T)."""
    lo, hi = (end[..., None, None] for end in (limits.lo, limits.hi))
    last = time_last(z)
    return np.maximum(last - (hi + HALF), 0) + np.minimum(last - (lo - HALF), 0)


def integers(op: StateSpace, u: IntArray, lengths: IntArray) -> IntArray:
    """Output codes (H, N, T, p) of the operation itself; steps after a sequence's end are 0."""
    groups, batch, steps, _ = u.shape
    r = np.repeat(op.register0[None], batch, 0)
    y = np.zeros((groups, batch, steps, op.n_output), np.int64)
    for t in range(steps):
        r, codes = op.step(r, u[:, :, t].swapaxes(0, 1))
        y[:, :, t] = codes.swapaxes(0, 1)
    y *= (np.arange(steps) < lengths[:, None])[None, :, :, None]
    return y
