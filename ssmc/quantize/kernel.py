"""A kernel in integer codes: steps from data, forms by predicted noise, stable grid points (DESIGN §2, §4).

Rows are driven by codes v = [R; u] of steps sigma_in, columns deliver codes of steps sigma_out:
``M diag(sigma_in) ~ diag(omega) W`` with W integer, ``ratio = omega / sigma_out``; a state's sigma_out is sigma / 2^p
in delta form, where M holds A - I, and sigma in direct form (p = 0).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssmc.analysis.noise import lyapunov
from ssmc.analysis.stable import stable_codes
from ssmc.ir.rounding import FloatArray, IntArray, round_half_even
from ssmc.quantize.config import QuantizeConfig, signed_range, weight_limit
from ssmc.quantize.modes import Modes, dense
from ssmc.quantize.steps import best_step, grid_scale

LARGEST_SHIFT = 14
MOST_REGISTER_BITS = 24
FREQUENCIES = 256
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class QuantizedKernel:
    """Integer matrix and converters of G groups with n = 2K states, m inputs, p outputs.

    Attributes:
        W: (G, n + p, n + m). ratio: (G, n + p). shift, keep: (G, n).
        u_step: real value of one input code. y_step: (G, p), of one output code.
        dac, adc, register: code ranges.
    """

    W: IntArray
    ratio: FloatArray
    shift: IntArray
    keep: IntArray
    u_step: float
    y_step: FloatArray
    dac: tuple[int, int]
    adc: tuple[int, int]
    register: tuple[int, int]


@dataclass(frozen=True)
class _Option:
    """All modes in one form: codes of blocks, steps, and the predicted damage at the output, (G, K)."""

    A: FloatArray
    B: FloatArray
    omega: FloatArray
    sigma: FloatArray
    shift: FloatArray
    damage: FloatArray


def quantize_kernel(modes: Modes, fed: list[FloatArray], u_step: float, config: QuantizeConfig) -> QuantizedKernel:
    """Quantize for inputs ``fed`` (T, G, m) that are converted in steps of ``u_step``."""
    states, increments, y = _trajectories(modes, fed)
    spectrum = _spectrum(fed)
    delta = _option(modes, states, increments, spectrum, u_step, config, form_delta=True)
    direct = _option(modes, states, increments, spectrum, u_step, config, form_delta=False)
    chosen = {"delta": np.ones(delta.damage.shape, bool), "direct": np.zeros(delta.damage.shape, bool)}.get(
        config.form, delta.damage < direct.damage
    )
    A, B, omega, sigma, shift = (
        np.where(chosen.reshape(*chosen.shape, *[1] * (x.ndim - 2)), x, z)
        for x, z in zip(_fields(delta), _fields(direct), strict=True)
    )
    adc = signed_range(config.adc_bits)
    limit = weight_limit(config.kernel_bits)
    y_step = best_step(y, *adc, 2, config.power_of_two)
    if config.granularity == "tensor":
        y_step = np.broadcast_to(best_step(y.reshape(-1), *adc, 0, config.power_of_two), y_step.shape)
    C, D = modes.C * sigma[:, None, :, None], modes.D * u_step
    top = np.maximum(np.abs(C).max((-1, -2)), np.abs(D).max(-1))
    omega_y = grid_scale(top.max() if config.granularity == "tensor" else top, limit, config.power_of_two)
    omega_y = np.broadcast_to(omega_y, top.shape)
    C = np.clip(round_half_even(C / omega_y[..., None, None]), -limit, limit)
    D = np.clip(round_half_even(D / omega_y[..., None]), -limit, limit)
    step = np.repeat(omega / sigma * np.exp2(shift), 2, 1)
    widest = min(MOST_REGISTER_BITS, config.state_bits + int((shift * chosen).max(initial=0)))
    return QuantizedKernel(
        W=dense(A, B, C, D).astype(np.int64),
        ratio=np.concatenate([step, omega_y / y_step], 1),
        shift=np.repeat(shift, 2, 1).astype(np.int64),
        keep=np.repeat(chosen, 2, 1).astype(np.int64),
        u_step=u_step,
        y_step=np.asarray(y_step),
        dac=signed_range(config.state_bits),
        adc=adc,
        register=signed_range(max(widest, config.adc_bits)),
    )


def _fields(option: _Option) -> tuple[FloatArray, ...]:
    return option.A, option.B, option.omega, option.sigma, option.shift


def _option(
    modes: Modes,
    states: FloatArray,
    increments: FloatArray,
    spectrum: FloatArray,
    u_step: float,
    config: QuantizeConfig,
    form_delta: bool,
) -> _Option:
    limit, pow2 = weight_limit(config.kernel_bits), config.power_of_two
    adc, dac = signed_range(config.adc_bits), signed_range(config.state_bits)
    narrow = dac if form_delta else signed_range(min(config.adc_bits, config.state_bits))
    sigma = _shared_step(states, narrow, config)
    shift = np.zeros(sigma.shape)
    if form_delta:
        increment = _shared_step(increments, adc, config)
        sigma = np.maximum(sigma, increment)
        shift = np.clip(round_half_even(np.log2(sigma / increment)), 0, LARGEST_SHIFT)
        shift = np.minimum(shift, MOST_REGISTER_BITS - config.state_bits)
    M = modes.A - np.eye(2) if form_delta else modes.A
    A, B = M * sigma[..., None, None], modes.B * u_step
    top = np.maximum(np.abs(A).max((-1, -2)), np.abs(B).max((-1, -2)))
    omega = grid_scale(_pooled(top, config), limit, pow2)
    grid = omega / sigma
    codes = stable_block(M / grid[..., None, None], grid, modes.turning, limit, form_delta)
    b = np.clip(round_half_even(B / omega[..., None, None]), -limit, limit)
    real_A = codes * grid[..., None, None] + (np.eye(2) if form_delta else 0)
    real_B = b * (omega / u_step)[..., None, None]
    damage = _mismatch(modes, real_A, real_B, spectrum)
    damage = damage + _converter_noise(modes, real_A, sigma, shift, form_delta)
    return _Option(codes, b, omega, sigma, shift, damage)


def _shared_step(x: FloatArray, limits: tuple[int, int], config: QuantizeConfig) -> FloatArray:
    """Step of values (S, 2, G, K), broadcast to (G, K), of what shares one."""
    kept = {"mode": 2, "channel": 1, "tensor": 0}[config.granularity]
    pooled = np.moveaxis(x, -1, 0) if kept == 1 else x
    step = best_step(pooled, *limits, kept, config.power_of_two)
    return np.broadcast_to(step[:, None] if kept == 1 else step, x.shape[2:])


def _pooled(top: FloatArray, config: QuantizeConfig) -> FloatArray:
    if config.granularity == "mode":
        return top
    return np.broadcast_to(top.max(-1, keepdims=True) if config.granularity == "channel" else top.max(), top.shape)


def stable_block(wanted: FloatArray, grid: FloatArray, turning: Mask, limit: int, delta: bool) -> FloatArray:
    """Integer blocks (G, K, 2, 2) near ``wanted`` whose poles lie inside the unit circle."""
    pair = stable_codes(wanted[..., :, 0], grid, limit, delta)
    turned = np.stack([pair, np.stack([-pair[..., 1], pair[..., 0]], -1)], -1)
    diagonal = np.zeros_like(wanted)
    for i in range(2):
        alone = np.stack([wanted[..., i, i], np.zeros(grid.shape)], -1)
        diagonal[..., i, i] = stable_codes(alone, grid, limit, delta)[..., 0]
    return np.where(turning[..., None, None], turned, diagonal)


def _trajectories(modes: Modes, fed: list[FloatArray]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """States and increments (S, 2, G, K) and outputs (S, G, p) of the float kernel."""
    kept: tuple[list[FloatArray], list[FloatArray], list[FloatArray]] = ([], [], [])
    for u in fed:
        drive = np.einsum("gkim,tgm->tgki", modes.B, u)
        s = np.zeros(drive.shape[1:])
        feed = np.einsum("gpm,tgm->tgp", modes.D, u)
        for t in range(len(u)):
            kept[2].append(np.einsum("gpki,gki->gp", modes.C, s) + feed[t])
            new = (modes.A @ s[..., None])[..., 0] + drive[t]
            kept[1].append(new - s)
            s = new
            kept[0].append(s)
    every = max(len(kept[0]) // MOST_STEPS, 1)
    states, increments, y = (np.stack(rows[::every]) for rows in kept)
    return np.moveaxis(states, -1, 1), np.moveaxis(increments, -1, 1), y


MOST_STEPS = 1500


def _spectrum(fed: list[FloatArray]) -> FloatArray:
    """Mean periodogram of the inputs, (F, G, m): its mean over F is their power."""
    total, count = np.zeros((FREQUENCIES, *fed[0].shape[1:])), 0
    for u in fed:
        for start in range(0, len(u), FREQUENCIES):
            total += np.abs(np.fft.fft(u[start : start + FREQUENCIES], FREQUENCIES, 0)) ** 2
        count += len(u)
    return total / max(count, 1)


def _mismatch(modes: Modes, A: FloatArray, B: FloatArray, spectrum: FloatArray) -> FloatArray:
    """Power at the output by coefficients off their value: mean over frequency of |H_quantized - H|^2 S_u, (G, K)."""
    z = np.exp(2j * np.pi * np.arange(FREQUENCIES) / FREQUENCIES)
    out = np.moveaxis(modes.C, 2, 1)  # (G, K, p, 2)
    total = np.zeros(A.shape[:2])
    for point, power in zip(z, spectrum, strict=True):
        resolvents = [np.linalg.inv(point * np.eye(2) - a) @ b for a, b in ((A, B), (modes.A, modes.B))]
        total += (np.abs(out @ (resolvents[0] - resolvents[1])) ** 2 * power[:, None, None, :]).sum((-1, -2))
    return total / FREQUENCIES


def _converter_noise(modes: Modes, A: FloatArray, sigma: FloatArray, shift: FloatArray, delta: bool) -> FloatArray:
    """Noise power at the output by the white-noise model (`ssmc.analysis.noise`), in real units, (G, K)."""
    out = np.moveaxis(modes.C, 2, 1)
    W = lyapunov(A.swapaxes(-1, -2), out.swapaxes(-1, -2) @ out)
    noise = (sigma / np.exp2(shift)) ** 2 / 12 * np.trace(W, axis1=-2, axis2=-1)
    if not delta:
        return np.asarray(noise)
    change = A - np.eye(2)
    through = np.trace(change.swapaxes(-1, -2) @ W @ change, axis1=-2, axis2=-1) + (out**2).sum((-1, -2))
    return np.asarray(noise + np.where(shift > 0, sigma**2 / 12 * through, 0.0))
