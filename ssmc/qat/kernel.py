"""The S4D kernel as one small real matrix, in float and in integer codes.

Per channel, N complex modes kept once (the conjugate doubles the output), in the textbook convention

    s[k+1] = lambda s[k] + b u[k]        lambda = exp(dt A),  b = (lambda - 1) / A        (zero-order hold, B = 1)
    y[k]   = 2 Re(c s[k]) + d u[k]

and as one matrix on [s; u] with n = 2N interleaved real states (Re_0, Im_0, Re_1, ...):

    M = | [[p, -q], [q, p]]  [br, bi]^T |       direct: lambda = p + iq       delta: lambda - 1 = p + iq
        | [2cr, -2ci]        d          |

In a block of two real poles (`ssmc.qat.poles`) the decay is diagonal and c is not doubled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ssmc.analysis import stable
from ssmc.ir.rounding import FloatArray
from ssmc.qat.config import Granularity, QuantConfig
from ssmc.qat.weights import WeightNoise, grid_scale, straight_to, weight_codes, weight_scale


@dataclass(frozen=True)
class Kinds:
    """What blocks hold: ``turning`` (H, N) a complex pair, else real poles; ``alive`` (H, N, 2), there is a state."""

    turning: Tensor
    alive: Tensor

    def wired(self, decay: Tensor) -> Tensor:
        """``decay`` (H, N, 2, 2), with 0 where a block of real poles has no cells."""
        return decay * torch.where(self.turning[..., None, None], 1.0, torch.eye(2, device=decay.device))


@dataclass(frozen=True)
class Kernel:
    """The blocks of M, or of W in codes: decay (H, N, 2, 2), b (H, N, 2), c (H, N, 2), d (H).

    ``kinds`` says which blocks hold two real poles, and which states there are; None: complex pairs only.
    """

    decay: Tensor
    b: Tensor
    c: Tensor
    d: Tensor
    kinds: Kinds | None = None

    def noisy(self, noise: WeightNoise, states: int, output: int) -> Kernel:
        """With noise on every cell; the largest codes of the state columns and of the output column."""
        decay, b, c = noise(self.decay, states), noise(self.b, states), noise(self.c, output)
        if self.kinds is not None:
            decay, b, c = self.kinds.wired(decay), b * self.kinds.alive, c * self.kinds.alive
        return Kernel(decay, b, c, noise(self.d, output), self.kinds)

    def dense(self) -> Tensor:
        """(H, n+1, n+1), rows are outputs."""
        heads, modes = self.b.shape[:2]
        eye = torch.eye(modes, dtype=self.b.dtype, device=self.b.device)
        blocks = self.decay[:, :, :, None, :] * eye[:, None, :, None]
        upper = torch.cat([blocks.reshape(heads, 2 * modes, 2 * modes), self.b.reshape(heads, -1, 1)], 2)
        lower = torch.cat([self.c.reshape(heads, 1, -1), self.d.reshape(heads, 1, 1)], 2)
        return torch.cat([upper, lower], 1)


@dataclass(frozen=True)
class Scales:
    """Steps of the converters: state_dac (H, N), shift p (H, N), keep (H, N), u (), y (H).

    The increments of a mode are converted in steps of ``state_dac / 2^p``. ``keep`` is 1 for a mode in delta form; in
    direct form it is 0 and p is 0. ``spread`` (H, N), from 1: omega over the least that holds all of a mode.
    """

    state_dac: Tensor
    shift: Tensor
    keep: Tensor
    u: Tensor
    y: Tensor
    spread: Tensor

    @property
    def dac_step(self) -> Tensor:
        """2^p, the DAC step in register codes, per real state: (H, n)."""
        return torch.exp2(self.shift).repeat_interleave(2, dim=1)


def discretise(log_dt: Tensor, log_a_real: Tensor, a_imag: Tensor) -> tuple[Tensor, Tensor]:
    """Complex lambda - 1 and b = (lambda - 1) / A of shape (H, N), for A = -exp(log_a_real) + i a_imag.

    exp(x + iy) - 1 = expm1(x) cos y - 2 sin^2(y/2) + i e^x sin y keeps its digits where lambda is near 1.
    """
    dt = torch.exp(log_dt)[:, None]
    a_real = -torch.exp(log_a_real)
    x, y = dt * a_real, dt * a_imag
    real = torch.expm1(x) * torch.cos(y) - 2 * torch.sin(y / 2) ** 2
    delta = torch.complex(real, torch.exp(x) * torch.sin(y))
    return delta, delta / torch.complex(a_real, a_imag)


def real_kernel(delta: Tensor, b: Tensor, c: Tensor, d: Tensor, keep: Tensor) -> Kernel:
    """Blocks of M; ``delta`` = lambda - 1, b, c complex (H, N), d (H), keep (H, N) as in ``Scales``, or one number."""
    p = delta.real + (1 - keep)
    q = delta.imag
    decay = torch.stack([torch.stack([p, -q], -1), torch.stack([q, p], -1)], -2)
    return Kernel(decay, torch.view_as_real(b), torch.stack([2 * c.real, -2 * c.imag], -1), d)


def convolution(delta: Tensor, b: Tensor, c: Tensor, d: Tensor, u: Tensor) -> Tensor:
    """Output (N, T, H) = k * u by FFT, with k[0] = d and k[l] = 2 Re(c lambda^(l-1) b)."""
    return convolve(torch.log(delta + 1), 2 * c * b, d, u)


def convolve(log_lambda: Tensor, gain: Tensor, d: Tensor, u: Tensor) -> Tensor:
    """Output (N, T, H) = k * u by FFT, with k[0] = d and k[l] = sum of Re(gain lambda^(l-1)), both (H, M)."""
    length = u.shape[1]
    powers = torch.exp(log_lambda[:, :, None] * torch.arange(length - 1, device=u.device))
    k = torch.cat([d[:, None], torch.einsum("hn,hnl->hl", gain, powers).real], 1)
    size = 1 << (2 * length - 1).bit_length()
    spectrum = torch.fft.rfft(u, n=size, dim=1) * torch.fft.rfft(k, n=size, dim=1).T
    y: Tensor = torch.fft.irfft(spectrum, n=size, dim=1)[:, :length]
    return y


def quantize_kernel(m: Kernel, scales: Scales, config: QuantConfig) -> tuple[Kernel, Tensor]:
    """Cell codes W and ``ratio`` = omega / sigma_out (H, n+1): M diag(sigma_in) ~ diag(omega) W (semantics.md §3).

    omega is one number per column, shared by Re and Im of a mode and as ``config.granularity`` says. The decay is a
    `ssmc.analysis.stable.block`. Gradients pass straight through to M and, where they are learned, to the steps.
    """
    grid, low_grid, pow2 = config.grid(config.kernel_bits), config.grid(config.readout), config.power_of_two
    limit = grid.limit
    sigma = scales.state_dac
    decay, b = m.decay * sigma[..., None, None], m.b * scales.u
    low = torch.cat([(m.c * sigma[..., None]).flatten(1), (m.d * scales.u)[:, None]], 1)
    with torch.no_grad():
        top = torch.maximum(decay.abs().amax((-1, -2)), b.abs().amax(-1))
        omega = grid_scale(_shared(top, config.granularity), limit, pow2) * scales.spread
        rows = low.flatten()[None] if config.granularity == "tensor" else low
        omega_y = weight_scale(rows, low_grid, pow2, config.clipping).expand(len(low))
        step = omega / sigma
        block = _decay_codes(m, step, scales.keep, limit, config.stable)
    ratio_s = omega / sigma * torch.exp2(scales.shift)
    ratio = torch.cat([ratio_s.repeat_interleave(2, 1), (omega_y / scales.y)[:, None]], 1)
    low = weight_codes(low / omega_y[:, None], low_grid)
    b = weight_codes(b / omega[..., None], grid)
    decay = straight_to(block, decay / omega[..., None, None])
    return Kernel(decay, b, low[:, :-1].reshape(m.c.shape), low[:, -1], m.kinds), ratio


def _decay_codes(m: Kernel, step: Tensor, keep: Tensor, limit: int, inside: bool) -> Tensor:
    """Codes (H, N, 2, 2) of the decay in steps (H, N); ``inside``: with poles inside the unit circle."""

    def codes(wanted: Tensor, steps: Tensor, forms: Tensor, halves: bool) -> Tensor:
        if inside:
            return stable_codes(wanted, steps, forms, limit, halves)
        return wanted.round().clamp(-limit, limit)

    point = codes(m.decay[..., :, 0] / step[..., None], step, keep, halves=True)
    block = torch.from_numpy(stable.block(_array(point))).to(point)
    if m.kinds is None:
        return block
    wanted = _real_points(m) / step[..., None, None]
    steps, forms = (x[..., None].expand(wanted.shape[:-1]) for x in (step, keep))
    real = codes(wanted, steps, forms, halves=False)[..., 0]
    return torch.where(m.kinds.turning[..., None, None], block, torch.diag_embed(real))


def _real_points(m: Kernel) -> Tensor:
    """The points (pole, 0) of the diagonal of the decay, (H, N, 2, 2)."""
    poles = torch.diagonal(m.decay, dim1=-2, dim2=-1)
    return torch.stack([poles, torch.zeros_like(poles)], -1)


def _shared(top: Tensor, granularity: Granularity) -> Tensor:
    """The largest of each group of (H, N) entries."""
    if granularity == "mode":
        return top
    return (top.amax(1, keepdim=True) if granularity == "channel" else top.amax()).expand_as(top)


def stable_codes(wanted: Tensor, step: Tensor, keep: Tensor, limit: int, halves: bool = True) -> Tensor:
    """`ssmc.analysis.stable.stable_codes` of ``wanted`` (..., 2) for steps and ``keep`` (...)."""
    arrays = _array(wanted), _array(step)
    delta, direct = (torch.from_numpy(stable.stable_codes(*arrays, limit, form, halves)) for form in (True, False))
    return torch.where(keep.cpu()[..., None].bool(), delta, direct).to(step)


def _array(x: Tensor) -> FloatArray:
    return np.asarray(x.double().cpu().numpy())


@torch.no_grad()
def best_spread(m: Kernel, scales: Scales, config: QuantConfig) -> Tensor:
    """`ssmc.analysis.stable.best_spread` (H, N) of omega; all 1 where modes share their omega."""
    limit = config.grid(config.kernel_bits).limit
    sigma, pair, b = scales.state_dac, m.decay[..., :, 0], m.b * scales.u
    top = torch.maximum(m.decay.abs().amax((-1, -2)) * sigma, b.abs().amax(-1))
    if config.granularity != "mode" or not config.stable:
        return torch.ones_like(top)
    omega = grid_scale(top, limit, config.power_of_two)
    step = omega / sigma
    inputs, grid = _array(b / omega[..., None]), _array(step)

    def spread(points: Tensor, halves: bool) -> Tensor:
        wanted = _array(points / step[..., None, None])
        delta, direct = (
            torch.from_numpy(stable.best_spread(wanted, inputs, grid, limit, form, config.power_of_two, halves))
            for form in (True, False)
        )
        return torch.where(scales.keep.cpu().bool(), delta, direct).to(top)

    turned = spread(pair[..., None, :], halves=True)
    return turned if m.kinds is None else torch.where(m.kinds.turning, turned, spread(_real_points(m), halves=False))
