"""Grid points whose pole lies inside the unit circle, and the grid on which they are nearest to the pole wanted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ssmc.ir.rounding import FloatArray, round_half_even

ComplexArray = NDArray[np.complex128]
NEIGHBOURS = np.array([(a, b) for a in range(-2, 3) for b in range(-2, 3)], np.float64)
ROUNDING = 1e-12  # 1 - |lambda|^2 that float64 cannot tell from 0
INTEGRATOR = 1e-6  # 1 - |lambda|^2 below which a mode counts as an integrator: its response has no energy to compare
B_SHARE = 0.05
HALVES = np.concatenate([NEIGHBOURS, NEIGHBOURS + np.array([0.5, 0.0])])
POINTS = {0: NEIGHBOURS, 1: HALVES, 2: np.concatenate([HALVES, HALVES + np.array([0.0, 0.5])])}
CLOSE = {halves: points[np.abs(points).max(-1) <= 1] for halves, points in POINTS.items()}


def stable_codes(
    wanted: FloatArray, step: FloatArray, limit: int, delta: bool, halves: int = 0, close: bool = False
) -> FloatArray:
    """The point (a, b) near ``wanted`` (..., 2), both in units of the grid, that changes the mode least and is stable.

    ``step`` (...) is the grid step g. The pole is lambda = 1 + g (a + ib) in delta form, g (a + ib) in direct form, and
    stable inside the unit circle. Points are integers; with ``halves`` 1 a may be half an odd number where b is not 0,
    with 2 so may b where it is at least 1 (`block`). Nearest is the point of least `mismatch` where the wanted pole
    itself lies inside the unit circle, else of least Euclidean distance. Looked at are points up to 2 units away, or 1
    where ``close``. Where none of the neighbours is stable: the
    nearest stable (-1, b) in delta form, (0, 0) in direct form.
    """
    g = step[..., None]
    points = np.clip(round_half_even(wanted)[..., None, :] + (CLOSE if close else POINTS)[int(halves)], -limit, limit)
    a, b = points[..., 0], points[..., 1]
    found = poles(points, g)
    aim = np.asarray((step * (wanted[..., 0] + 1j * wanted[..., 1]))[..., None], np.complex128)
    whole = (a == round_half_even(a)) & (b == round_half_even(b))
    stable = (room(found, delta) > ROUNDING) & (whole | (np.abs(b) >= 1))
    euclidean = np.abs(found - aim) / g
    distance = np.where(room(aim, delta) > INTEGRATOR, mismatch(aim, found, delta), euclidean)
    best = np.take_along_axis(points, np.where(stable, distance, np.inf).argmin(-1)[..., None, None], -2)[..., 0, :]
    fallback = np.zeros_like(best)
    if delta:
        most = np.ceil(np.sqrt(np.maximum(2 / step - 1, 0))) - 1
        whole = round_half_even(wanted[..., 1])
        fallback = np.stack(
            [-np.ones_like(step), np.sign(whole) * np.minimum(np.abs(whole), np.clip(most, 0, limit))], -1
        )
    return np.where(stable.any(-1, keepdims=True), best, fallback)


def block(points: FloatArray) -> FloatArray:
    """The 2x2 block [[a', -b'], [b'', a'']] (..., 2, 2) of integers, ' the ceiling and '' the floor of a or b."""
    a, b = points[..., 0], points[..., 1]
    return np.stack([np.stack([np.ceil(a), -np.ceil(b)], -1), np.stack([np.floor(b), np.floor(a)], -1)], -2)


def poles(points: FloatArray, step: FloatArray) -> ComplexArray:
    """The pole g (a + i sqrt(b^2 - h/4)) of a `block`, h of whose a and b are half odd; lambda - 1 in delta form."""
    a, b = points[..., 0], points[..., 1]
    odd = sum(np.where(x != round_half_even(x), 0.25, 0.0) for x in (a, b))
    turning = np.sqrt(np.maximum(b**2 - odd, 0))
    return np.asarray(step * (a + 1j * np.copysign(turning, b)))


def room(pole: ComplexArray, delta: bool) -> FloatArray:
    """1 - |lambda|^2 for lambda - 1 in delta form, lambda in direct form; digits are kept near 1."""
    return np.asarray(-(2 * pole.real + np.abs(pole) ** 2) if delta else 1 - np.abs(pole) ** 2)


def mismatch(aim: ComplexArray, found: ComplexArray, delta: bool) -> FloatArray:
    """What the best gain leaves of the response aim^k when found^k stands in for it, relative to its energy.

    The squared sine of the angle between two geometric series: <a^k, f^k> = 1 / (1 - a f*), hence
    |a - f|^2 / |1 - a f*|^2, the square of the pseudohyperbolic distance. Both are lambda - 1 in delta form, which
    keeps digits near 1.
    """
    cross = aim + found.conj() + aim * found.conj() if delta else 1 - aim * found.conj()
    return np.asarray(np.abs(aim - found) ** 2 / np.maximum(np.abs(cross) ** 2, 1e-30))


def best_spread(
    wanted: FloatArray,
    b: FloatArray,
    step: FloatArray,
    limit: int,
    delta: bool,
    power_of_two: bool,
    halves: int,
    b_share: float = B_SHARE,
) -> FloatArray:
    """Factors (...) of the grid, 1 and 2 or by sixteenths of an octave between them, of the least `grid_error`."""
    factors = np.exp2(np.arange(0, 17, 16 if power_of_two else 1) / 16)
    errors = [grid_error(wanted / f, b / f, step * f, limit, delta, halves, b_share) for f in factors]
    return np.asarray(factors[np.argmin(errors, 0)])


def grid_error(
    wanted: FloatArray,
    b: FloatArray,
    step: FloatArray,
    limit: int,
    delta: bool,
    halves: int,
    b_share: float = B_SHARE,
    close: bool = False,
) -> FloatArray:
    """What a grid leaves of a mode with P poles ``wanted`` (..., P, 2) and inputs ``b`` (..., Q), in its units.

    The mean `mismatch` of the poles at their `stable_codes`, plus ``b_share`` of the relative square error of b, most
    of which the read-out of a mode with one input can make good; infinite where b vanishes.
    """
    g = step[..., None]
    found = poles(stable_codes(wanted, np.broadcast_to(g, wanted.shape[:-1]), limit, delta, halves, close), g)
    aim = np.asarray(g * (wanted[..., 0] + 1j * wanted[..., 1]), np.complex128)
    codes = round_half_even(b)
    off = ((codes - b) ** 2).sum(-1) / np.maximum((b**2).sum(-1), 1e-30)
    return np.asarray(np.where((codes != 0).any(-1), mismatch(aim, found, delta).mean(-1) + b_share * off, np.inf))


def into_circle(codes: FloatArray, step: float, delta: bool) -> FloatArray:
    """The point (a, b) nearest to ``codes`` with |lambda| <= 1; lambda is g (a + ib), plus 1 in delta form."""
    centre = np.array([-1.0 / step if delta else 0.0, 0.0])
    away = codes - centre
    return np.asarray(centre + away / max(step * float(np.hypot(*away)), 1.0))
