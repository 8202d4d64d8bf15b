"""A kernel run two ways on the same input codes: as the linear system of its coefficients, and in integers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

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
    groups, batch, steps, _ = u.shape
    n, p = kernel.A.shape[-1], kernel.C.shape[1]
    drive = u @ kernel.B.swapaxes(1, 2)[:, None] + kernel.bias_state[:, None, None]
    r = np.repeat(start[:, None].astype(np.float64), batch, 1)
    registers = np.empty((groups, batch, steps + 1, n))
    transposed = kernel.A.swapaxes(1, 2)
    for t in range(steps):
        registers[:, :, t] = r
        r = flushed(r @ transposed) + drive[:, :, t]
    registers[:, :, steps] = r
    read = registers[:, :, :-1] * kernel.inverse[:, None, None]
    source = registers[:, :, 1:] if kernel.after else registers[:, :, :-1]
    feed = u @ kernel.D.swapaxes(1, 2)[:, None] + kernel.bias_output[:, None, None]
    output = source @ kernel.C.swapaxes(1, 2)[:, None] + feed
    state = read @ kernel.G.swapaxes(1, 2)[:, None] + drive
    inside = (np.arange(steps) < lengths[:, None])[None, :, :, None]
    assert output.shape[-1] == p
    return Trajectory(read * inside, state * inside, output * inside, lengths)


def overloaded(kernel: LinearKernel, run: Trajectory) -> FloatArray:
    """To first order, what saturation of the converters leaves at the outputs, (H, N, T, p)."""
    readout, state = _beyond(run.readout, kernel.dac), _beyond(run.state, kernel.adc_state)
    lost = readout @ kernel.G.swapaxes(1, 2)[:, None] + state
    output = readout @ kernel.F.swapaxes(1, 2)[:, None] + _beyond(run.output, kernel.adc_output)
    if not lost.any():
        return output
    x, transposed, out = np.zeros(lost[:, :, 0].shape), kernel.A.swapaxes(1, 2), kernel.C.swapaxes(1, 2)
    for t in range(lost.shape[2]):
        output[:, :, t] += x @ out
        x = flushed(x @ transposed) + lost[:, :, t]
    return output * (np.arange(lost.shape[2]) < run.lengths[:, None])[None, :, :, None]


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
