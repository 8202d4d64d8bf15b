"""Converter noise at the output of a kernel: every rounding as white noise, propagated by the Lyapunov equation.

Every error of `ssmc.analysis.linear` is taken as white, uncorrelated with everything else, of the variance that a
uniform distribution over its residues has. With the observability Gramian W = sum_k (A^k)^T C^T C A^k per output,

    var y  =  sum_j var(e_R,j) (F_j^2 + G_j^T W G_j)  +  sum_i var(e_q,i) W_ii  +  var(e_y)

per quantizer; likewise fresh noise of every weight code (read noise), which enters like e_q and e_y with variance
``weight_power * rho^2 * sum_j E[v_j^2]``. Over T steps from rest the mean of the sums replaces W:
W - X / T with X = sum_(t<T) (A^t)^T W A^t. Whether "white" may be believed is for `ssmc.analysis.observe` to say.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ssmc.analysis.linear import LinearKernel
from ssmc.analysis.modes import summed_power
from ssmc.ir.rounding import FloatArray, round_half_even

MOST_DOUBLINGS = 64
CONVERGED = 2.0**-50
TINY = 1e-60
MOST_ADC_BITS = 16


@dataclass(frozen=True)
class OutputNoise:
    """Variance at every output, in squared output codes, by where it enters.

    Attributes:
        readout, state: (H, p, n), of each e_R and e_q.
        output: (H, p), of e_y.
        weights: (H, p), of noisy weights; 0 unless asked for.
    """

    readout: FloatArray
    state: FloatArray
    output: FloatArray
    weights: FloatArray

    @property
    def total(self) -> FloatArray:
        """(H, p)."""
        return np.asarray(self.readout.sum(-1) + self.state.sum(-1) + self.output + self.weights)


def output_noise(
    kernel: LinearKernel,
    steps: float | None = None,
    weight_power: float = 0.0,
    drive_power: FloatArray | None = None,
    unit_gain: tuple[FloatArray, FloatArray] | None = None,
) -> OutputNoise:
    """Predicted noise of every output; nan where the kernel is not stable.

    Args:
        kernel: the linear system.
        steps: mean over so many steps from rest; None: after infinitely many.
        weight_power: variance of every weight code, drawn anew each step.
        drive_power: E[v^2] of the rows v = [R; u], (H, n + m); needed with ``weight_power``.
        unit_gain: codes per unit of the sum (rho), (H, n) and (H, p); needed with ``weight_power``.
    """
    blocks = kernel.blocks
    A, G = blocks.square(kernel.A), blocks.square(kernel.G)
    W = observability(A, blocks.gather(kernel.C, 2).swapaxes(1, 2), steps)  # (H, K, p, b, b)
    W = np.where(np.isnan(W).any((1, 2, 3, 4), keepdims=True), np.nan, W)
    on_state = blocks.scatter(np.einsum("hkpii->hpki", W), 2)
    through = blocks.scatter(((W @ G[:, :, None]) * G[:, :, None]).sum(-2).swapaxes(1, 2), 2) + kernel.F**2
    weights = np.zeros(kernel.output_power.shape)
    if weight_power and drive_power is not None and unit_gain is not None:
        power = weight_power * drive_power.sum(-1, keepdims=True)
        weights = (on_state * (unit_gain[0] ** 2 * power)[:, None]).sum(-1) + unit_gain[1] ** 2 * power
    return OutputNoise(
        through * kernel.readout_power[:, None],
        on_state * kernel.state_power[:, None],
        kernel.output_power,
        weights,
    )


def flushed(x: FloatArray) -> FloatArray:
    """Without the tiny numbers that products of decaying matrices run into: denormal ones take 100 times as long."""
    return np.where(np.abs(x) < TINY, 0.0, x)


def sqnr_db(signal: FloatArray, noise: FloatArray) -> FloatArray:
    """Signal to noise in dB; inf without noise."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(10 * np.log10(signal / noise))


def fewest_adc_bits(
    kernel: LinearKernel,
    signal: FloatArray,
    bits: int,
    target_db: float,
    gain: OutputNoise | None = None,
) -> FloatArray:
    """Fewest ADC bits (H,) with the SQNR of every output at or above ``target_db``; nan where 16 do not reach it.

    The range of the converters stays, so one bit less doubles their step: 4 times the power of e_q and e_y, and a
    shift smaller by one, the step of the read-out staying as well. ``gain``: of `unit_noise`.
    """
    gain = unit_noise(kernel) if gain is None else gain
    found = np.full(len(signal), np.nan)
    for width in range(MOST_ADC_BITS, 0, -1):
        at = with_adc_bits(kernel, width - bits)
        noise = (gain.readout * at.readout_power[:, None]).sum(-1) + (gain.state * at.state_power[:, None]).sum(-1)
        reached = (sqnr_db(signal, noise + at.output_power) >= target_db).all(-1)
        found = np.where(reached, width, found)
    return found


def unit_noise(kernel: LinearKernel, steps: float | None = None) -> OutputNoise:
    """What errors of variance 1 at every read-out and state row leave at the outputs."""
    one = np.ones(kernel.inverse.shape)
    return output_noise(replace(kernel, readout_power=one, state_power=one), steps)


def scaled_noise(kernel: LinearKernel, gain: OutputNoise) -> OutputNoise:
    """The noise of the kernel's own errors: as `output_noise`, with the ``gain`` of `unit_noise` at hand."""
    readout, state = gain.readout * kernel.readout_power[:, None], gain.state * kernel.state_power[:, None]
    return replace(gain, readout=readout, state=state)


def with_adc_bits(kernel: LinearKernel, more: int) -> LinearKernel:
    """The kernel with converters of ``more`` bits, as far as noise goes; powers in codes of the kernel as it is."""
    step = 4.0**-more
    ratio = 1 / (kernel.inverse * 2.0**-more)
    readout = np.where(ratio > 1, (1 + 2 / ratio**2) / 12, 0.0)
    return replace(
        kernel,
        readout_power=np.where(kernel.readout_power > 0, readout, 0.0) if more else kernel.readout_power,
        state_power=np.where(kernel.state_power > 0, step / 12, 0.0) if more else kernel.state_power,
        output_power=np.where(kernel.output_power > 0, step / 12, 0.0) if more else kernel.output_power,
    )


def observability(A: FloatArray, C: FloatArray, steps: float | None = None) -> FloatArray:
    """W per output, (..., p, n, n), of A (..., n, n) and C (..., p, n): W_ii is the power gain from state i to it."""
    A = np.broadcast_to(A.swapaxes(-1, -2)[..., None, :, :], (*C.shape, C.shape[-1]))
    W = lyapunov(A, C[..., :, None] * C[..., None, :])
    if steps is None:
        return W
    count = max(int(round_half_even(steps)), 1)
    power = flushed(np.linalg.matrix_power(A, count))
    return np.asarray(W - lyapunov(A, W - power @ W @ power.swapaxes(-1, -2)) / count)


def power_at_output(kernel: LinearKernel, P: FloatArray, steps: float | None = None) -> FloatArray:
    """``sum_k C A^k P (A^k)^T C^T`` for a covariance P (H, n, n) of the states, (H, p); ``steps`` as there."""
    blocks, modes = kernel.blocks, kernel.modes
    inside = blocks.gather(blocks.gather(P, 1), 3)
    found = summed_power(modes, blocks.gather(kernel.C, 2), inside, steps)
    lost = np.flatnonzero(~modes.sound)
    if lost.size:
        found[lost] = (observability(kernel.A[lost], kernel.C[lost], steps) * P[lost, None]).sum((-1, -2))
    return np.asarray(np.where(modes.radius[:, None] < 1, found, np.nan))


def lyapunov(A: FloatArray, Q: FloatArray) -> FloatArray:
    """``sum_k A^k Q (A^k)^T`` for stacks (..., n, n), by doubling (Smith): nan where A is not stable.

    P_(j+1) = P_j + A_j P_j A_j^T, A_(j+1) = A_j^2: the error squares in every round.
    """
    stable = np.abs(np.linalg.eigvals(A)).max(-1) < 1
    power = np.where(stable[..., None, None], A, 0.0)
    P = np.where(stable[..., None, None], Q, np.nan)
    for _ in range(MOST_DOUBLINGS):
        P = P + power @ P @ power.swapaxes(-1, -2)
        power = flushed(power @ power)
        if np.abs(power).max(initial=0.0) < CONVERGED:
            break
    return np.asarray(P)
