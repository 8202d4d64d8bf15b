"""A kernel in integer codes: first the states, in the form of less damage, then what reads them (DESIGN §2, §4)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ssmc.analysis.refit import fitted
from ssmc.ir.rounding import FloatArray, round_half_even
from ssmc.quantize.config import QuantizeConfig, signed_range, weight_limit
from ssmc.quantize.damage import spectrum
from ssmc.quantize.modes import Modes, dense
from ssmc.quantize.runs import QuantizedKernel, float_run, normal_equations, thinned
from ssmc.quantize.states import MOST_REGISTER_BITS, Seen, state_codes
from ssmc.quantize.steps import best_step, grid_scale


def quantize_kernel(modes: Modes, fed: list[FloatArray], u_step: float, config: QuantizeConfig) -> QuantizedKernel:
    """Quantize for inputs ``fed`` (T, G, m) that are converted in steps of ``u_step``."""
    states, increments, y = float_run(modes, fed)
    seen = Seen(thinned(states), thinned(increments), spectrum(fed), u_step)
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
        limits = signed_range(config.activation_bits)
        read_out = fitted(*normal_equations(states_only, fed, y, limits), read_out)
    return _with_outputs(states_only, read_out, thinned(np.concatenate(y)), config)


def _with_outputs(
    kernel: QuantizedKernel, read_out: FloatArray, y: FloatArray, config: QuantizeConfig
) -> QuantizedKernel:
    """The kernel with ``read_out`` (G, p, n + m) in codes and converters for outputs like ``y`` (S, G, p)."""
    together, limit = config.granularity == "tensor", weight_limit(config.kernel_bits)
    y_step = best_step(y.reshape(-1) if together else y, *kernel.adc, 0 if together else 2, config.power_of_two)
    top = np.abs(read_out).max(-1)
    omega = grid_scale(top.max() if together else top, limit, config.power_of_two)
    y_step, omega = (np.broadcast_to(x, top.shape) for x in (y_step, omega))
    codes = np.clip(round_half_even(read_out / omega[..., None]), -limit, limit).astype(np.int64)
    W, ratio = np.concatenate([kernel.W, codes], 1), np.concatenate([kernel.ratio, omega / y_step], 1)
    return replace(kernel, W=W, ratio=ratio, y_step=y_step)
