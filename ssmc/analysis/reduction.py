"""Channels with fewer states: the start of a fit, the fit, and the order of each channel."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ssmc.analysis.balancing import balance, input_covariance, observability
from ssmc.analysis.output_error import Weighting
from ssmc.analysis.pole_fit import RATES, Blocks, Fit, Target
from ssmc.ir.rounding import FloatArray

WIDEST = np.pi - 1e-3
ComplexArray = NDArray[np.complex128]


@dataclass(frozen=True)
class Channels:
    """H stable systems s' = A s + B u, y = C s + D u: A (H, n, n), B, C (H, n), D (H)."""

    A: FloatArray
    B: FloatArray
    C: FloatArray
    D: FloatArray

    def response(self, steps: int) -> FloatArray:
        """Impulse response, (H, steps)."""
        found, state = [self.D], self.B
        for _ in range(steps - 1):
            found.append((self.C * state).sum(-1))
            state = (self.A @ state[..., None])[..., 0]
        return np.stack(found, 1)

    def part(self, chosen: NDArray[np.bool_]) -> Channels:
        """Some of the channels, chosen (H,)."""
        return Channels(self.A[chosen], self.B[chosen], self.C[chosen], self.D[chosen])


def to_order(channels: Channels, r: FloatArray, order: int) -> Fit:
    """Channels of ``order`` states for inputs with autocorrelations r (H, L); the best of two starts.

    The starts are balanced truncation under that input, and the modes with the most output power.
    """
    weighting = Weighting(_seen(r))
    target = Target(channels.response(r.shape[1]), weighting)
    first = target.fit(_truncated(channels, weighting.r, order))
    if order < 2:
        return first
    return better(first, target.fit(_strongest(channels, target, order)))


def within(channels: Channels, r: FloatArray, error: float, most: int) -> Fit:
    """Channels of the fewest states that leave at most ``error`` of the rms output; of ``most`` states at most."""
    best = to_order(channels, r, 0)
    for order in range(1, most + 1):
        far = best.error > error**2
        if not far.any():
            break
        best = _put(best, to_order(channels.part(far), r[far], order), far)
    return best


def better(one: Fit, other: Fit) -> Fit:
    """Of every channel the fit with less error; both of the same number of blocks."""
    return _put(one, _part(other, chosen := other.cost < one.cost), chosen)


def _seen(r: FloatArray) -> FloatArray:
    """Scaled to r_0 = 1; white where a channel has seen nothing."""
    white = np.zeros(r.shape[1])
    white[0] = 1
    silent = r[:, :1] <= 0
    return np.where(silent, white, r / np.where(silent, 1.0, r[:, :1]))


def _truncated(channels: Channels, r: FloatArray, order: int) -> Blocks:
    """Poles of balanced truncation under the input."""
    A, B, C = channels.A, channels.B[..., None], channels.C[:, None]
    balanced = balance(input_covariance(A, B, r), observability(A, C))
    order = min(order, A.shape[-1])
    return as_blocks(np.linalg.eigvals(balanced.truncated(A, B, C, order)[0]).astype(np.complex128))


def _strongest(channels: Channels, target: Target, order: int) -> Blocks:
    """The pairs of most output power, and for an odd order the strongest of the others as a real pole."""
    values, vectors = np.linalg.eig(channels.A)
    gains = (channels.C[:, None] @ vectors)[:, 0] * np.linalg.solve(vectors, channels.B[..., None])[..., 0]
    t = np.arange(target.response.shape[1] - 1)
    parts = (gains[..., None] * values[..., None] ** t).real
    power = (parts * target.weighting(np.pad(parts, ((0, 0), (0, 0), (1, 0))))[..., 1:]).sum(-1)
    power = np.where(values.imag >= 0, power, -1.0)  # of a pair one
    ranked = np.take_along_axis(values, np.argsort(-power, axis=1), 1)
    pairs = ranked[:, : order // 2]
    pairs = np.abs(pairs) * np.exp(1j * np.clip(np.angle(pairs), 0.05, WIDEST))
    single = np.abs(ranked[:, order // 2 : order // 2 + order % 2])
    return as_blocks(np.concatenate([pairs, pairs.conj(), single], 1))


def as_blocks(poles: ComplexArray) -> Blocks:
    """Blocks for poles (H, r), closed under conjugation; real ones of like speed share a block."""
    count = -(-poles.shape[1] // 2)
    turning = np.zeros((len(poles), count), bool)
    sign, x = np.zeros((len(poles), count, 2)), np.zeros((len(poles), count, 2))
    for channel, values in enumerate(poles):
        pairs = values[values.imag > 0]
        real = np.sort(values[values.imag == 0].real)
        turning[channel, : len(pairs)] = True
        sign[channel, : len(pairs)] = 1
        x[channel, : len(pairs)] = np.stack([_rate(np.abs(pairs)), np.angle(pairs)], 1)
        rest = np.pad(_rate(np.abs(real)), (0, len(real) % 2), mode="edge") if len(real) else real
        x[channel, len(pairs) :] = rest.reshape(-1, 2)
        sign[channel, len(pairs) :].reshape(-1)[: len(real)] = np.where(real < 0, -1, 1)
    return Blocks(turning, sign, x)


def _rate(radius: FloatArray) -> FloatArray:
    """The x of a magnitude."""
    return np.asarray(np.clip(np.log(-np.log(np.clip(radius, 1e-300, 1 - 1e-15))), *RATES))


def _part(fit: Fit, chosen: NDArray[np.bool_]) -> Fit:
    b = fit.blocks
    blocks = Blocks(b.turning[chosen], b.sign[chosen], b.x[chosen])
    return Fit(blocks, *(value[chosen] for value in (fit.gains, fit.d, fit.error, fit.cost)))


def _put(into: Fit, new: Fit, chosen: NDArray[np.bool_]) -> Fit:
    """``into`` with the channels ``new`` in the places ``chosen`` (H,); grown to as many blocks as either has."""
    count = max(into.blocks.x.shape[1], new.blocks.x.shape[1])
    into, new = grown(into, count), grown(new, count)
    a, b = into.blocks, new.blocks
    turning, sign, x = a.turning.copy(), a.sign.copy(), a.x.copy()
    turning[chosen], sign[chosen], x[chosen] = b.turning, b.sign, b.x
    gains, d, error, cost = (value.copy() for value in (into.gains, into.d, into.error, into.cost))
    gains[chosen], d[chosen], error[chosen], cost[chosen] = new.gains, new.d, new.error, new.cost
    return Fit(Blocks(turning, sign, x), gains, d, error, cost)


def grown(fit: Fit, count: int) -> Fit:
    """With empty blocks at the end, ``count`` in all."""
    more = count - fit.blocks.x.shape[1]
    b = fit.blocks
    turning = np.pad(b.turning, ((0, 0), (0, more)))
    sign, x, gains = (np.pad(v, ((0, 0), (0, more), (0, 0))) for v in (b.sign, b.x, fit.gains))
    return replace(fit, blocks=Blocks(turning, sign, x), gains=gains)
