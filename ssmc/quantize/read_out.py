"""What reads the quantized states, in integer codes: fitted to them on the data, or the float one rounded."""

from __future__ import annotations

import numpy as np

from ssmc.analysis.refit import fitted, least_rounded, squared_error
from ssmc.ir.rounding import FloatArray, round_half_even
from ssmc.quantize.candidates import InCodes
from ssmc.quantize.config import QuantizeConfig, weight_limit
from ssmc.quantize.steps import SHORT, grid_scale


def read_out_codes(
    states: InCodes, gram: FloatArray, moment: FloatArray, config: QuantizeConfig
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Codes (G, p, n + m), steps (G, p), and |X w - y|^2 - |y|^2 of them, (G, p).

    ``gram`` X^T X and ``moment`` Y^T X of the rows X that drive the kernel and its float outputs Y.
    """
    if config.refit:
        codes, steps = _refitted(gram, fitted(gram, moment, states.read_out), config)
    else:
        codes, steps = _nearest(states.read_out, config)
    w = codes * steps[..., None]
    return codes, steps, squared_error(gram, w) - 2 * (w * moment).sum(-1)


def _nearest(read_out: FloatArray, config: QuantizeConfig) -> tuple[FloatArray, FloatArray]:
    """Codes of ``read_out`` (G, p, n + m), each by itself, and steps (G, p) that clip nothing."""
    steps, limit = _widest(read_out, config), weight_limit(config.kernel_bits)
    return np.clip(round_half_even(read_out / steps[..., None]), -limit, limit), steps


def _refitted(gram: FloatArray, read_out: FloatArray, config: QuantizeConfig) -> tuple[FloatArray, FloatArray]:
    """Codes of ``read_out`` (G, p, n + m) and steps (G, p), up to 8 times finer than what clips nothing."""
    limit = weight_limit(config.kernel_bits)
    octave = SHORT if config.power_of_two else np.exp2(np.arange(4) / 4)
    factors = np.outer(np.exp2(np.arange(-3.0, 0)), octave).ravel()
    steps = np.stack([_widest(read_out, config) * factor for factor in (1.0, *factors)], 1)
    return least_rounded(gram, read_out, steps, limit, (0, 2) if config.granularity == "tensor" else ())


def _widest(read_out: FloatArray, config: QuantizeConfig) -> FloatArray:
    """The step (G, p) of what reads the states that clips nothing."""
    top = np.abs(read_out).max(-1)
    shared = top.max() if config.granularity == "tensor" else top
    return np.broadcast_to(grid_scale(shared, weight_limit(config.kernel_bits), config.power_of_two), top.shape)
