"""A and B in integer codes: converter steps from data, the grid of least error, stable poles (semantics.md §1, §3).

Rows are driven by codes v = [R; u] of steps sigma_in, columns deliver codes of steps sigma_out:
``M diag(sigma_in) ~ diag(omega) W`` with W integer, ``ratio = omega / sigma_out``; a state's sigma_out is sigma / 2^p
in delta form, where M holds A - I, and sigma in direct form (p = 0).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssmc.analysis.stable import B_SHARE, block, grid_error, stable_codes
from ssmc.ir.rounding import FloatArray, round_half_even
from ssmc.quantize.config import QuantizeConfig, signed_range, weight_limit
from ssmc.quantize.damage import coefficient_error, converter_noise
from ssmc.quantize.modes import Modes
from ssmc.quantize.steps import SHORT, best_step, grid_scale

LARGEST_SHIFT = 14
MOST_REGISTER_BITS = 24
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class StateSteps:
    """What the data ask for: steps (G, K) of what drives rows in delta and in direct form, and of increments."""

    delta: FloatArray
    direct: FloatArray
    increment: FloatArray


@dataclass(frozen=True)
class Seen:
    """The float kernel on data: steps of its states, and the spectrum of its inputs, (F, G, m)."""

    steps: StateSteps
    spectrum: FloatArray


@dataclass(frozen=True)
class StateCodes:
    """All modes in one form: codes of blocks, steps, and the predicted damage at the output, (G, K)."""

    A: FloatArray
    B: FloatArray
    omega: FloatArray
    sigma: FloatArray
    shift: FloatArray
    damage: FloatArray

    @property
    def codes(self) -> tuple[FloatArray, ...]:
        """All but the damage."""
        return self.A, self.B, self.omega, self.sigma, self.shift


def state_codes(
    modes: Modes, seen: Seen, u_step: FloatArray, config: QuantizeConfig, form_delta: bool, coarser: float = 1.0
) -> StateCodes:
    """All modes in delta form, or all in direct form; states in steps ``coarser`` than the data ask for.

    The step of a state is its unit, which only A, B and C see: any number, even where scales are powers of two. The
    ratios are short then (`ssmc.quantize.steps.SHORT`).
    """
    limit, pow2 = weight_limit(config.kernel_bits), config.power_of_two
    sigma, shift = converter_steps(seen.steps, config, form_delta, coarser)
    M = modes.A - np.eye(2) if form_delta else modes.A
    A, B = M * sigma[..., None, None], modes.B * u_step[:, None, None]
    top = np.maximum(np.abs(A).max((-1, -2)), np.abs(B).max((-1, -2)))
    omega = sigma * grid_scale(pooled(top / sigma, config), limit, pow2)
    if config.granularity == "mode":
        omega = _best_grid(A, B, sigma, omega, modes.turning, config, form_delta)
    grid = omega / sigma
    codes = stable_blocks(M / grid[..., None, None], grid, modes.turning, limit, form_delta)
    b = np.clip(round_half_even(B / omega[..., None, None]), -limit, limit)
    real_A = codes * grid[..., None, None] + (np.eye(2) if form_delta else 0)
    real_B = b * omega[..., None, None] / u_step[:, None, None]
    damage = coefficient_error(modes, real_A, real_B, seen.spectrum, config.refit)
    damage = damage + converter_noise(modes, real_A, sigma, shift, form_delta)
    return StateCodes(codes, b, omega, sigma, shift, damage)


def state_steps(states: FloatArray, increments: FloatArray, config: QuantizeConfig) -> StateSteps:
    """Of states and increments (S, 2, G, K)."""
    adc, dac = signed_range(config.adc_bits), signed_range(config.state_bits)
    delta = _shared_step(states, dac, config)
    direct = delta if config.state_bits <= config.adc_bits else _shared_step(states, adc, config)
    return StateSteps(delta, direct, _shared_step(increments, adc, config))


def converter_steps(
    steps: StateSteps, config: QuantizeConfig, form_delta: bool, coarser: float
) -> tuple[FloatArray, FloatArray]:
    """Steps of states that drive rows, and shifts p of what their columns deliver, (G, K)."""
    if not form_delta:
        return steps.direct * coarser, np.zeros(steps.direct.shape)
    sigma = np.maximum(steps.delta * coarser, steps.increment)
    shift = np.clip(round_half_even(np.log2(sigma / steps.increment)), 0, LARGEST_SHIFT)
    return sigma, np.minimum(shift, MOST_REGISTER_BITS - config.state_bits)


def _shared_step(x: FloatArray, limits: tuple[int, int], config: QuantizeConfig) -> FloatArray:
    """Step of values (S, 2, G, K), broadcast to (G, K), of what shares one."""
    kept = {"mode": 2, "channel": 1, "tensor": 0}[config.granularity]
    data = np.moveaxis(x, -1, 0) if kept == 1 else x
    step = best_step(data, *limits, kept, power_of_two=False)
    return np.broadcast_to(step[:, None] if kept == 1 else step, x.shape[2:])


def pooled(top: FloatArray, config: QuantizeConfig) -> FloatArray:
    """The largest of what shares a scale, (G, K) from (G, K)."""
    if config.granularity == "mode":
        return top
    return np.broadcast_to(top.max(-1, keepdims=True) if config.granularity == "channel" else top.max(), top.shape)


def stable_blocks(wanted: FloatArray, grid: FloatArray, turning: Mask, limit: int, delta: bool) -> FloatArray:
    """Integer blocks (G, K, 2, 2) near ``wanted`` whose poles lie inside the unit circle."""
    turned = block(stable_codes(wanted[..., 0], grid, limit, delta, halves=2))
    if turning.all():
        return turned
    real = stable_codes(_real_poles(wanted), np.repeat(grid[..., None], 2, -1), limit, delta)[..., 0]
    return np.where(turning[..., None, None], turned, real[..., None] * np.eye(2))


def _best_grid(
    A: FloatArray,
    B: FloatArray,
    sigma: FloatArray,
    omega: FloatArray,
    turning: Mask,
    config: QuantizeConfig,
    delta: bool,
) -> FloatArray:
    """Of the steps ``omega`` and others up to twice as coarse those, (G, K), on which a pole falls best.

    Where ``omega`` is a power of two the others are short ones; finer ones too may hold A and B.
    """
    limit = weight_limit(config.kernel_bits)
    share = B_SHARE if B.shape[-1] == 1 else 1.0  # what a read-out makes good is one gain for all inputs
    factors = np.sort(np.concatenate([SHORT / 2, SHORT, [2.0]])) if config.power_of_two else np.exp2(np.arange(17) / 16)
    top = np.maximum(np.abs(A).max((-1, -2)), np.abs(B).max((-1, -2)))
    errors = []
    for factor in factors:
        step = omega * factor
        wanted, b = A / step[..., None, None], (B / step[..., None, None]).reshape(*step.shape, -1)
        error = grid_error(wanted[..., None, :, 0], b, step / sigma, limit, delta, 2, share, close=True)
        if not turning.all():
            real = grid_error(_real_poles(wanted), b, step / sigma, limit, delta, 0, share, close=True)
            error = np.where(turning, error, real)
        errors.append(np.where(step * limit < top * (1 - 1e-9), np.inf, error))
    return np.asarray(omega * factors[np.argmin(errors, 0)])


def _real_poles(blocks: FloatArray) -> FloatArray:
    """The points (p, 0) of both diagonal entries, (..., 2, 2)."""
    diagonal = np.diagonal(blocks, axis1=-2, axis2=-1)
    return np.stack([diagonal, np.zeros_like(diagonal)], -1)
