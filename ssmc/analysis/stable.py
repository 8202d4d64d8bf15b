"""Grid points whose pole lies inside the unit circle."""

from __future__ import annotations

import numpy as np

from ssmc.ir.rounding import FloatArray, round_half_even

NEIGHBOURS = np.array([(a, b) for a in range(-2, 3) for b in range(-2, 3)], np.float64)


def stable_codes(wanted: FloatArray, step: FloatArray, limit: int, delta: bool) -> FloatArray:
    """Nearest integer point (a, b) to ``wanted`` (..., 2) whose pole lies inside the unit circle.

    ``step`` (...) is the grid step g of lambda. Delta: |1 + g (a + ib)| < 1 iff g (a^2 + b^2) + 2a < 0; direct:
    g^2 (a^2 + b^2) < 1. Where none of the 25 neighbours is stable: the nearest stable (-1, b) in delta form, (0, 0) in
    direct form.
    """
    g = step[..., None]
    points = np.clip(round_half_even(wanted)[..., None, :] + NEIGHBOURS, -limit, limit)
    a, b = points[..., 0], points[..., 1]
    norm = a**2 + b**2
    stable = g * norm + 2 * a < 0 if delta else g**2 * norm < 1
    distance = np.where(stable, ((points - wanted[..., None, :]) ** 2).sum(-1), np.inf)
    best = np.take_along_axis(points, distance.argmin(-1)[..., None, None], -2)[..., 0, :]
    fallback = np.zeros_like(best)
    if delta:
        room = np.ceil(np.sqrt(np.maximum(2 / step - 1, 0))) - 1
        whole = round_half_even(wanted[..., 1])
        fallback = np.stack([-np.ones_like(step), np.sign(whole) * np.minimum(np.abs(whole), np.maximum(room, 0))], -1)
    return np.where(stable.any(-1, keepdims=True), best, fallback)


def into_circle(codes: FloatArray, step: float, delta: bool) -> FloatArray:
    """The point (a, b) nearest to ``codes`` with |lambda| <= 1; lambda is g (a + ib), plus 1 in delta form."""
    centre = np.array([-1.0 / step if delta else 0.0, 0.0])
    away = codes - centre
    return np.asarray(centre + away / max(step * float(np.hypot(*away)), 1.0))
