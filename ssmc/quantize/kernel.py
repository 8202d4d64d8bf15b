"""A kernel in integer codes: first the states, in the form of less damage, then what reads them (DESIGN §2, §4)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ssmc.analysis.refit import fitted, rounded, squared_error
from ssmc.ir.rounding import FloatArray, round_half_even
from ssmc.quantize.config import QuantizeConfig, signed_range, weight_limit
from ssmc.quantize.damage import spectrum
from ssmc.quantize.modes import Modes, dense
from ssmc.quantize.runs import QuantizedKernel, float_run, normal_equations, thinning
from ssmc.quantize.states import MOST_REGISTER_BITS, Seen, state_codes
from ssmc.quantize.steps import best_step, grid_scale


def quantize_kernel(modes: Modes, fed: list[FloatArray], u_step: float, config: QuantizeConfig) -> QuantizedKernel:
    """Quantize for inputs ``fed`` (T, G, m) that are converted in steps of ``u_step``."""
    states, increments, y = float_run(modes, fed)
    seen = Seen(states, increments, spectrum(fed), u_step)
    delta, direct = (state_codes(modes, seen, config, form_delta=form) for form in (True, False))
    chosen = {"delta": np.ones(delta.damage.shape, bool), "direct": np.zeros(delta.damage.shape, bool)}.get(
        config.form, delta.damage < direct.damage
    )
    A, B, omega, sigma, shift = (
        np.where(chosen.reshape(*chosen.shape, *[1] * (x.ndim - 2)), x, z)
        for x, z in zip(delta.codes, direct.codes, strict=True)
    )
    widest = min(MOST_REGISTER_BITS, config.state_bits + int((shift * chosen).max(initial=0)))
    states_only = QuantizedKernel(
        W=dense(A, B, modes.C[:, :0], modes.D[:, :0]).astype(np.int64),
        ratio=np.repeat(omega / sigma * np.exp2(shift), 2, 1),
        shift=np.repeat(shift, 2, 1).astype(np.int64),
        keep=np.repeat(chosen, 2, 1).astype(np.int64),
        u_step=u_step,
        y_step=np.zeros((len(modes.D), 0)),
        dac=signed_range(config.state_bits),
        adc=signed_range(config.adc_bits),
        register=signed_range(max(widest, config.adc_bits)),
    )
    C = (modes.C * sigma[:, None, :, None]).reshape(*modes.D.shape[:2], -1)
    read_out = np.concatenate([C, modes.D * u_step], 2)
    if config.refit:
        gram, moment = normal_equations(states_only, fed, y, signed_range(config.activation_bits))
        codes, steps = _refitted(gram, fitted(gram, moment, read_out), config)
    else:
        codes, steps = _nearest(read_out, config)
    return _with_outputs(states_only, codes, steps, np.concatenate(y)[:: thinning([len(u) for u in fed])], config)


def _nearest(read_out: FloatArray, config: QuantizeConfig) -> tuple[FloatArray, FloatArray]:
    """Codes of ``read_out`` (G, p, n + m), each by itself, and steps (G, p) that clip nothing."""
    steps, limit = _widest(read_out, config), weight_limit(config.kernel_bits)
    return np.clip(round_half_even(read_out / steps[..., None]), -limit, limit), steps


def _refitted(gram: FloatArray, read_out: FloatArray, config: QuantizeConfig) -> tuple[FloatArray, FloatArray]:
    """Codes of ``read_out`` (G, p, n + m) and steps (G, p), up to 8 times finer than what clips nothing."""
    limit = weight_limit(config.kernel_bits)
    steps = [_widest(read_out, config) / f for f in np.exp2(np.arange(0, 3.25, 1 if config.power_of_two else 0.25))]
    codes = [rounded(gram, read_out, step, limit) for step in steps]
    left = np.stack([squared_error(gram, w * s[..., None] - read_out) for w, s in zip(codes, steps, strict=True)])
    if config.granularity == "tensor":
        left = np.broadcast_to(left.sum((1, 2), keepdims=True), left.shape)
    best = left.argmin(0)[None]
    return np.take_along_axis(np.stack(codes), best[..., None], 0)[0], np.take_along_axis(np.stack(steps), best, 0)[0]


def _widest(read_out: FloatArray, config: QuantizeConfig) -> FloatArray:
    """The step (G, p) of what reads the states that clips nothing."""
    top = np.abs(read_out).max(-1)
    shared = top.max() if config.granularity == "tensor" else top
    return np.broadcast_to(grid_scale(shared, weight_limit(config.kernel_bits), config.power_of_two), top.shape)


def _with_outputs(
    kernel: QuantizedKernel, codes: FloatArray, omega: FloatArray, y: FloatArray, config: QuantizeConfig
) -> QuantizedKernel:
    """The kernel read by ``codes`` (G, p, n + m) in steps ``omega`` (G, p), with converters for outputs like ``y``."""
    together = config.granularity == "tensor"
    y_step = best_step(y.reshape(-1) if together else y, *kernel.adc, 0 if together else 2, config.power_of_two)
    y_step = np.broadcast_to(y_step, omega.shape)
    W = np.concatenate([kernel.W, codes.astype(np.int64)], 1)
    return replace(kernel, W=W, ratio=np.concatenate([kernel.ratio, omega / y_step], 1), y_step=y_step)
