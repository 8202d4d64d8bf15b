"""A and B of a kernel in any coordinates in integer codes, row by row: what each rounds off, the later codes make good.

Where no 2 x 2 blocks are to be kept, nothing ties a row to the others: the codes of row i are those with the least
|v (w_i - codes_i omega_i)|^2 over the v = [R; u] of the data, found as those of a read-out
(`ssmc.analysis.refit.rounded`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssmc.analysis.refit import least_rounded
from ssmc.ir.rounding import FloatArray
from ssmc.quantize.bases import Kernel
from ssmc.quantize.config import QuantizeConfig, weight_limit
from ssmc.quantize.runs import thinning
from ssmc.quantize.states import StateSteps, converter_steps, pooled, state_steps
from ssmc.quantize.steps import SHORT, grid_scale

ROUNDING_POWER = 1 / 12


@dataclass(frozen=True)
class Driven:
    """The float kernel on data.

    Attributes:
        before, after: states around every step, (S, G, n). inputs: (S, G, m).
    """

    before: FloatArray
    after: FloatArray
    inputs: FloatArray

    def turned(self, T: FloatArray) -> Driven:
        """The states in the coordinates z of s = T z."""
        before, after = (np.asarray(np.linalg.solve(T, x[..., None])[..., 0]) for x in (self.before, self.after))
        return Driven(before, after, self.inputs)

    def steps(self, config: QuantizeConfig) -> StateSteps:
        """Of states and increments."""
        return state_steps(self.after[:, None], (self.after - self.before)[:, None], config)

    @property
    def power(self) -> FloatArray:
        """E[s s^T], (G, n, n)."""
        x = self.before.transpose(1, 2, 0)
        return np.asarray(x @ x.swapaxes(1, 2) / len(self.before))


@dataclass(frozen=True)
class RowCodes:
    """All rows in one form: codes (G, n, n) and (G, n, m), steps (G, n), and which groups are stable (G,)."""

    A: FloatArray
    B: FloatArray
    omega: FloatArray
    sigma: FloatArray
    shift: FloatArray
    stable: NDArray[np.bool_]


def driven(kernel: Kernel, fed: list[FloatArray]) -> Driven:
    """Evenly chosen steps of the float kernel on inputs ``fed`` (T, G, m)."""
    every = thinning([len(u) for u in fed])
    before, after, first = [], [], 0
    for u in fed:
        drive = np.einsum("gnm,tgm->tgn", kernel.B, u)
        path = np.zeros((len(u) + 1, *drive.shape[1:]))
        for t in range(len(u)):
            path[t + 1] = (kernel.A @ path[t, ..., None])[..., 0] + drive[t]
        chosen = slice(-first % every, None, every)
        before.append(path[:-1][chosen])
        after.append(path[1:][chosen])
        first += len(u)
    inputs = np.concatenate(fed)[::every]
    return Driven(np.concatenate(before), np.concatenate(after), inputs)


def row_codes(
    kernel: Kernel,
    seen: Driven,
    steps: StateSteps,
    u_step: FloatArray,
    config: QuantizeConfig,
    form_delta: bool,
    coarser: float = 1.0,
) -> RowCodes:
    """All rows in delta form, or all in direct form; states in steps ``coarser`` than the data ask for."""
    limit, n = weight_limit(config.kernel_bits), kernel.A.shape[1]
    sigma, shift = converter_steps(steps, config, form_delta, coarser)
    M = kernel.A - np.eye(n) if form_delta else kernel.A
    rows = np.concatenate([M * sigma[:, None], kernel.B * u_step[:, None]], 2)
    omega = sigma * grid_scale(pooled(np.abs(rows).max(2) / sigma, config), limit, config.power_of_two)
    codes, omega = _least(rows, omega, _gram(seen, sigma, u_step), config)
    real_A = codes[..., :n] * (omega[..., None] / sigma[:, None]) + (np.eye(n) if form_delta else 0)
    stable = np.abs(np.linalg.eigvals(real_A)).max(1) < 1
    return RowCodes(codes[..., :n], codes[..., n:], omega, sigma, shift, stable)


def _gram(seen: Driven, sigma: FloatArray, u_step: FloatArray) -> FloatArray:
    """Mean of v v^T in codes, (G, n + m, n + m), with what rounding to codes adds."""
    v = np.concatenate([seen.before / sigma, seen.inputs / u_step], 2)
    gram = v.transpose(1, 2, 0) @ v.transpose(1, 0, 2) / len(v)
    return np.asarray(gram + ROUNDING_POWER * np.eye(v.shape[2]))


def _least(
    rows: FloatArray, omega: FloatArray, gram: FloatArray, config: QuantizeConfig
) -> tuple[FloatArray, FloatArray]:
    """Codes (G, n, n + m) and steps (G, n) of least error: ``omega`` or finer ones, to half of it."""
    limit = weight_limit(config.kernel_bits)
    finer = [0.5, *SHORT[1:] / 2] if config.granularity == "mode" else []
    return least_rounded(gram, rows, np.stack([omega * factor for factor in (1.0, *finer)], 1), limit)
