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
MOST_COLUMNS = 4


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
    drive = u @ kernel.B.swapaxes(1, 2)[:, None] + kernel.bias_state[:, None, None]
    registers = driven(kernel, drive, np.repeat(start[:, None].astype(np.float64), batch, 1))
    read = registers[:, :, :-1] * kernel.inverse[:, None, None]
    source = registers[:, :, 1:] if kernel.after else registers[:, :, :-1]
    feed = u @ kernel.D.swapaxes(1, 2)[:, None] + kernel.bias_output[:, None, None]
    output = source @ kernel.C.swapaxes(1, 2)[:, None] + feed
    state = times(kernel.blocks, kernel.G, read) + drive
    inside = (np.arange(steps) < lengths[:, None])[None, :, :, None]
    return Trajectory(read * inside, state * inside, output * inside, lengths)


def overloaded(kernel: LinearKernel, run: Trajectory) -> FloatArray:
    """To first order, what saturation of the converters leaves at the outputs, (H, N, T, p)."""
    readout, state = _beyond(run.readout, kernel.dac), _beyond(run.state, kernel.adc_state)
    lost = times(kernel.blocks, kernel.G, readout) + state
    output = readout @ kernel.F.swapaxes(1, 2)[:, None] + _beyond(run.output, kernel.adc_output)
    if not lost.any():
        return output
    path = driven(kernel, lost, np.zeros((len(lost), lost.shape[1], lost.shape[3])))
    output += path[:, :, :-1] @ kernel.C.swapaxes(1, 2)[:, None]
    return output * (np.arange(lost.shape[2]) < run.lengths[:, None])[None, :, :, None]


def driven(kernel: LinearKernel, drive: FloatArray, start: FloatArray) -> FloatArray:
    """``r' = A r + drive`` from ``start`` (H, N, n) under ``drive`` (H, N, T, n): r before every step and after all.

    In S spans of S steps: the spans from 0 side by side, then where each begins, then what that start becomes in it.
    """
    blocks, steps = kernel.blocks, drive.shape[2]
    span = int(np.ceil(np.sqrt(steps + 1)))
    A = blocks.square(kernel.A)[:, :, None]
    fed = np.moveaxis(blocks.gather(drive, 3), (2, 3), (0, 2))  # (T, H, K, N, b)
    padded = np.zeros((span * span, *fed.shape[1:]))
    padded[:steps] = fed
    inputs = padded.reshape(span, span, *fed.shape[1:])
    path = np.zeros((span, span + 1, *fed.shape[1:]))
    for t in range(span):
        path[:, t + 1] = flushed(_product(A, path[:, t])) + inputs[:, t]
    powers = _powers(A, span)
    r = blocks.gather(start, 2).swapaxes(1, 2)
    for number, last in enumerate(path[:, -1].copy()):
        path[number] += _product(powers, r)
        r = _product(powers[-1], r) + last
    flat = path[:, :-1].reshape(-1, *fed.shape[1:])[: steps + 1]
    return blocks.scatter(np.moveaxis(flat, (0, 2), (2, 3)), 3)


def _powers(A: FloatArray, count: int) -> FloatArray:
    """A^0 to A^count, (count + 1, ...)."""
    found = [np.array(np.broadcast_to(np.eye(A.shape[-1]), A.shape))]
    for _ in range(count):
        found.append(flushed(found[-1] @ A))
    return np.stack(found)


def times(blocks: Blocks, matrix: FloatArray, x: FloatArray) -> FloatArray:
    """Products (H, N, T, n) of a matrix (H, n, n) that is block diagonal in ``blocks`` with x (H, N, T, n)."""
    return blocks.scatter(_product(blocks.square(matrix)[:, None, None], blocks.gather(x, 3)), 3)


def _product(matrix: FloatArray, x: FloatArray) -> FloatArray:
    """``matrix`` (..., b, b) times x (..., b), by the columns of small matrices."""
    b = x.shape[-1]
    if b > MOST_COLUMNS:
        return np.asarray(np.matmul(x[..., None, :], matrix.swapaxes(-1, -2))[..., 0, :])
    found = matrix[..., 0] * x[..., :1]
    for i in range(1, b):
        found += matrix[..., i] * x[..., i : i + 1]
    return found


def _beyond(z: FloatArray, limits: Limits) -> FloatArray:
    """How far z (H, N, T, k) lies beyond half a step outside the code range."""
    lo, hi = (end[:, None, None] for end in (limits.lo, limits.hi))
    return np.maximum(z - hi - HALF, 0) - np.maximum(lo - HALF - z, 0)


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
