"""Poles, residues and D of few states, fitted to an impulse response in the sense of `ssmc.analysis.output_error`.

A channel has K blocks of two places. A turning block is a complex pair, a real one holds up to two real poles:

    k[0] = d
    k[t+1] = sum_blocks  |l|^t (a_1 cos w t - a_2 sin w t)    or    a_1 l_1^t + a_2 l_2^t

With |l| = exp(-exp x) every x gives a stable pole. Only x and w are descended on (variable projection, Golub and
Pereyra 1973): for given poles the gains a and d solve normal equations, and by the envelope theorem the slope of what
is left is that at these gains. What is made least is

    e^T R e + PARTS sum_i a_i^2 p_i        e = k - f, p_i = x_i^T R x_i, x_i the response of place i

The second term is the power of the parts before they are summed (in a pair p_i is the mean of both places): two nearly
equal poles with opposite gains of a thousand fit well, and no grid can hold them, since every part brings the rounding
of its own states.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ssmc.analysis.descent import descend
from ssmc.analysis.output_error import Weighting
from ssmc.ir.rounding import FloatArray

PARTS = 3e-3
STEPS = 80
RATES = tuple(np.log(-np.log([1 - 1e-6, 1e-3])).tolist())  # x of the slowest and the fastest pole


@dataclass(frozen=True)
class Blocks:
    """Poles of H channels in K blocks.

    Attributes:
        turning: (H, K), the block is a complex pair; else two real poles.
        sign: (H, K, 2), of each real pole, 0 where there is no state; 1 in a turning block.
        x: (H, K, 2), as above; in a turning block x and the angle w.
    """

    turning: NDArray[np.bool_]
    sign: FloatArray
    x: FloatArray

    @property
    def radius(self) -> FloatArray:
        """|l| of both places, (H, K, 2)."""
        rate = np.where(self.turning[..., None], self.x[..., :1], self.x)
        return np.asarray(np.exp(-np.exp(rate)))

    @property
    def orders(self) -> NDArray[np.int64]:
        """Number of states of each channel, (H,)."""
        return np.asarray((self.sign != 0).sum((1, 2)))


@dataclass(frozen=True)
class Fit:
    """Blocks with their gains a (H, K, 2) and d (H,).

    Attributes:
        error: (H,), the share of the output power that is left, e^T R e over k^T R k.
        cost: (H,), the same with the power of the parts.
    """

    blocks: Blocks
    gains: FloatArray
    d: FloatArray
    error: FloatArray
    cost: FloatArray


@dataclass(frozen=True)
class Target:
    """The impulse responses (H, L) to fit, and their weighting."""

    response: FloatArray
    weighting: Weighting

    def fit(self, start: Blocks, steps: int = STEPS) -> Fit:
        """The blocks of least error near ``start``."""
        shape = start.x.shape
        weighted = self.weighting(self.response)
        power = np.maximum((weighted * self.response).sum(-1), np.finfo(np.float64).tiny)

        def error(flat: FloatArray) -> tuple[FloatArray, FloatArray]:
            blocks = replace(start, x=flat.reshape(shape))
            cost, _, _, _, slope = self.solved(blocks, weighted)
            return cost / power, slope.reshape(flat.shape) / power[:, None]

        flat = start.x.reshape(len(start.x), -1)
        x = (descend(error, flat, steps)[0] if flat.shape[1] else flat).reshape(shape)
        angle = np.stack([np.zeros_like(start.turning), start.turning], -1)
        blocks = replace(start, x=np.where(angle, x, np.clip(x, *RATES)))
        cost, left, gains, d, _ = self.solved(blocks, weighted)
        return Fit(blocks, gains, d, left / power, cost / power)

    def solved(self, blocks: Blocks, weighted: FloatArray) -> tuple[FloatArray, ...]:
        """The cost, what is left (H,), gains (H, K, 2), d (H,) and the slope of the cost in x (H, K, 2)."""
        rows = responses(blocks, self.response.shape[1])
        basis = np.concatenate([_pulse(rows), rows.reshape(len(rows), -1, rows.shape[-1])], 1)
        heavy = self.weighting(basis)
        gram, moment = heavy @ basis.swapaxes(1, 2), (basis @ weighted[..., None])[..., 0]
        single = np.diagonal(gram, axis1=1, axis2=2)[:, 1:].reshape(blocks.x.shape)
        both = np.where(blocks.turning[..., None], single.mean(-1, keepdims=True), single)
        powers = np.concatenate([gram[:, 0, :1], both.reshape(len(rows), -1)], 1)
        scale = np.sqrt(np.where(powers > 0, powers, 1.0))
        even = gram / (scale[:, :, None] * scale[:, None, :])
        ridge = np.where(np.arange(even.shape[1]) > 0, PARTS, 0.0) + (powers == 0)
        gains = np.linalg.solve(even + np.eye(even.shape[1]) * ridge[:, None], (moment / scale)[..., None])[..., 0]
        gains = gains / scale
        e = self.response - (gains[:, None] @ basis)[:, 0]
        left = weighted - (gains[:, None] @ heavy)[:, 0]
        error = (e * left).sum(-1)
        cost = error + PARTS * ((gains * scale)[:, 1:] ** 2).sum(-1)
        a = gains[:, 1:].reshape(blocks.x.shape)
        size = np.where(blocks.turning[..., None], (a**2).mean(-1, keepdims=True), a**2)[..., None]
        pull = a[..., None] * left[:, None, None] - PARTS * size * heavy[:, 1:].reshape(rows.shape)
        return cost, error, a, gains[:, 0], -2 * _slope(blocks, rows, pull)


def responses(blocks: Blocks, length: int) -> FloatArray:
    """The responses of the places of all blocks, (H, K, 2, L), 0 at step 0 and where there is no state."""
    t = np.arange(length - 1)
    envelope = np.exp(-np.exp(np.where(blocks.turning[..., None], blocks.x[..., :1], blocks.x))[..., None] * t)
    angle = np.where(blocks.turning, blocks.x[..., 1], 0.0)[..., None] * t
    turned = np.stack([np.cos(angle), -np.sin(angle)], 2)
    flips = np.where(blocks.sign[..., None] < 0, np.where(t % 2, -1.0, 1.0), 1.0)
    along = np.where(blocks.turning[..., None, None], turned, flips) * (blocks.sign != 0)[..., None]
    return np.concatenate([np.zeros((*blocks.x.shape, 1)), envelope * along], -1)


def _pulse(rows: FloatArray) -> FloatArray:
    pulse = np.zeros((len(rows), 1, rows.shape[-1]))
    pulse[..., 0] = 1
    return pulse


def _slope(blocks: Blocks, rows: FloatArray, pull: FloatArray) -> FloatArray:
    """Of sum_it pull_it row_it in x, ``pull`` (H, K, 2, L): (H, K, 2)."""
    t = np.maximum(np.arange(rows.shape[-1]) - 1.0, 0.0)
    late = (pull * t) @ rows.swapaxes(-1, -2)  # sum_t t pull_it row_jt, (H, K, 2, 2)
    rate = -np.exp(np.where(blocks.turning[..., None], blocks.x[..., :1], blocks.x))
    along = rate * np.diagonal(late, axis1=-2, axis2=-1)
    turned = np.stack([along.sum(-1), late[..., 0, 1] - late[..., 1, 0]], -1)
    return np.where(blocks.turning[..., None], turned, along)
