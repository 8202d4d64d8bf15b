"""The cells of a chip, drawn for a matrix while a model is trained: the law of its hardware file (docs/noise.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ssmc.conversion.column_factors import Factors
from ssmc.conversion.cuts import slice_gains, slices
from ssmc.conversion.one_conversion import chosen_factors
from ssmc.hardware.conductances import (
    NoiseModel,
    Real,
    column_factors,
    conductance,
    draws_of,
    noise_of,
    pair_levels,
    tile_factor,
)
from ssmc.hardware.model import Hardware
from ssmc.ir.connectivity import Mask, live_columns, live_rows, on_paths
from ssmc.ir.rounding import FloatArray, IntArray
from ssmc.qat.config import QuantConfig


@dataclass(frozen=True)
class Written:
    """A matrix in cells, in code units.

    Attributes:
        weight: what a column multiplies a drive with, (G, out, in).
        variance: of a product per squared drive, same shape; None where reading is noiseless.
        gain, offset, bow: of the converters, (G, out) each: a factor, and codes.
        fresh: spread of every conversion, in codes.
    """

    weight: Tensor
    variance: Tensor | None
    gain: Tensor
    offset: Tensor
    bow: Tensor
    fresh: float = 0.0


class CellNoise(nn.Module):
    """Writes matrices into cells of ``config.hardware``, every time into another chip.

    What the simulator does to a chip (``ssmc.targets.aimc.simulation``), but wires, groups that share an array, and
    uneven codes of converters: programming, drift and its compensation (a factor a group, or a column), 1/f noise,
    stuck cells, the cells without a code, read noise, converters. The time since programming is 0 in half of the
    calls, else spread evenly up to ``config.drift_s``.
    """

    def __init__(self, config: QuantConfig) -> None:
        super().__init__()
        self.config = config
        self.always: bool | None = None

    @property
    def active(self) -> bool:
        """Whether the next call meets a chip: while training, or as `set_device_noise` says."""
        if not self.config.device_noise:
            return False
        return self.training if self.always is None else self.always

    @torch.no_grad()
    def write(self, codes: Tensor, behind: Behind, states: int = 0) -> Written:
        """Codes (G, out, in) in the cells of a new chip, in front of quantizers; torch's generator seeds it.

        The first ``states`` of outputs and inputs are those of a kernel: dead ones have no cells, and with
        ``config.digital_poles`` A is exact, B and [C | D] are banks of their own.
        """
        assert self.config.hardware is not None
        rng = np.random.default_rng(int(torch.randint(1 << 62, ())))
        whole = codes.detach().double().cpu().numpy().astype(np.int64)
        time_s = self._time(rng)
        live = lowered(whole, states)
        weight, variance = live.astype(np.float64), np.zeros(live.shape)
        poles = states if self.config.digital_poles else 0
        for outputs, inputs in banks(poles):
            at = slice(None), outputs, inputs
            following = behind.of_outputs(outputs, whole.shape[1])
            if outputs.stop == poles > 0:
                following = following.counting(live[at])
            held = Held.of(live[at], following, self.config.hardware)
            found = self._cells(held.cells, rng, time_s)
            weight[at], variance[at] = (x * held.worth**k for k, x in enumerate(found, 1))
        noise = noise_of(self.config.hardware)
        z = rng.standard_normal((3, *whole.shape[:2]))
        return Written(
            _tensor(weight, codes),
            _tensor(variance, codes) if noise.read else None,
            _tensor(1 + noise.adc_gain * z[0], codes),
            _tensor(noise.adc_offset * z[1], codes),
            _tensor(noise.adc_inl * z[2], codes),
            noise.adc_noise,
        )

    def _time(self, rng: np.random.Generator) -> float:
        if not self.config.drift_s or rng.random() < 0.5:
            return 0.0
        return float(rng.uniform(0, self.config.drift_s))

    def _cells(self, codes: IntArray, rng: np.random.Generator, time_s: float) -> tuple[Real, Real]:
        """Weight and variance (G, out, in) of codes; the digits of every slice have cells of their own."""
        hw = self.config.hardware
        assert hw is not None
        gains, noise = slice_gains(codes, hw), noise_of(hw)
        digits = np.stack(slices(codes, gains)).astype(np.float64)
        weights = np.array(gains, np.float64)[:, None, None, None]
        used = live_columns(codes)[..., None] & live_rows(codes)[:, None, :]
        if hw.cell.scheme == "differential_columns":
            draws = draws_of(digits.shape, rng), draws_of(digits.shape, rng)
            levels = pair_levels(digits, draws, hw, noise)
        else:
            zero = np.full((1, len(codes), 1, codes.shape[2]), float(hw.zero_level))
            draws = draws_of(digits.shape, rng), draws_of(zero.shape, rng)
            levels = digits + hw.zero_level, zero

        def pair(at: float) -> list[Real]:
            return [conductance(level, draw, hw, noise, at) for level, draw in zip(levels, draws, strict=True)]

        plus, minus = pair(time_s)
        weight = (weights * (plus - minus)).sum(0) * used
        variance = noise.read**2 * (weights**2 * (plus**2 + minus**2)).sum(0) * used
        if time_s > 0 and noise.compensation != "none":
            first = pair(0.0)
            written = (weights * (first[0] - first[1])).sum(0) * used
            factor = _compensation(noise, written, weight)
            weight, variance = weight * factor, variance * factor**2
        return weight, variance


def _compensation(noise: NoiseModel, first: Real, now: Real) -> Real:
    """Factors of what cells (G, out, in) weigh, of every column or of every group, (G, out or 1, 1)."""
    if noise.compensation == "column":
        return column_factors(first, now)[..., None]
    return np.array([tile_factor(*cells) for cells in zip(first, now, strict=True)])[:, None, None]


def banks(poles: int) -> tuple[tuple[slice, slice], ...]:
    """Outputs and inputs of what is written together: all, or, the ``poles`` apart, B and [C | D]."""
    before, behind, every = slice(poles), slice(poles, None), slice(None)
    return ((before, behind), (behind, every)) if poles else ((every, every),)


def live_states(codes: IntArray, n: int) -> Mask:
    """What of kernel codes (G, n+1, n+1) is lowered, (G, n+1): live states, and input or y."""
    wired = codes != 0
    live = on_paths(wired[:, :n, :n], wired[:, :n, n:].any(-1), wired[:, n:, :n].any(1))
    return np.concatenate([live, np.ones((len(codes), codes.shape[1] - n), np.bool_)], 1)


def lowered(codes: IntArray, n: int) -> IntArray:
    """Codes (G, out, in); of a kernel with n states without those of dead ones."""
    live = live_states(codes, n) if n else None
    return codes if live is None else np.where(live[:, :, None] & live[:, None, :], codes, 0)


class Behind(NamedTuple):
    """The quantizers behind columns in float (`ssmc.conversion.one_conversion.Following`), (G * out,) each."""

    ratio: list[float]
    bias: list[float]
    lo: IntArray
    hi: IntArray

    @classmethod
    def of(cls, ratio: Tensor, bias: Tensor, ends: tuple[int, int]) -> Behind:
        """Of ratio and bias (G, out), all with the same range."""
        r, b = (x.detach().double().cpu().ravel().tolist() for x in (ratio, bias))
        one = np.ones(len(r), np.int64)
        return cls(r, b, ends[0] * one, ends[1] * one)

    def counting(self, codes: IntArray) -> Behind:
        """Converters of B u alone: a code is the common divisor of its column of ``codes`` (G, out, in)."""
        divisor = np.maximum(np.gcd.reduce(np.abs(codes), axis=-1), 1)
        return self._replace(ratio=(1 / divisor).ravel().tolist())

    def of_outputs(self, some: slice, outputs: int) -> Behind:
        """Those of some of ``outputs`` columns of every group."""
        ratio, bias, lo, hi = (np.reshape(x, (-1, outputs))[:, some].ravel() for x in self)
        return Behind(ratio.tolist(), bias.tolist(), lo, hi)


class Held(NamedTuple):
    """Codes of a matrix as the compiler writes them into cells.

    Attributes:
        codes: without the common factor of every column, as the compiler reads them, (G, out, in).
        common: that factor, (G * out,).
        factor: what the cells hold of the codes without it, (G * out,).
        behind: the quantizers behind ``codes``.
        why: why the converters are not those quantizers; empty where they are.
    """

    codes: IntArray
    common: IntArray
    factor: IntArray
    behind: Behind
    why: str

    @classmethod
    def of(cls, codes: IntArray, behind: Behind, hw: Hardware) -> Held:
        """Of the codes (G, out, in) that a model is trained with."""
        common = np.maximum(np.gcd.reduce(np.abs(codes), axis=-1), 1)
        whole, ratio = codes // common[..., None], np.array(behind.ratio) * common.ravel()
        behind = behind._replace(ratio=ratio.tolist())
        factors = Factors.of(whole, behind.ratio, hw)
        parts = in_parts(whole, hw)
        why, factor = ("several conversions", factors.common) if parts else chosen_factors(factors, behind)
        return cls(whole, common.ravel(), factor, behind, why)

    @property
    def cells(self) -> IntArray:
        """What the cells of a column hold together, (G, out, in)."""
        return self.codes * self.factor.reshape(*self.codes.shape[:2], 1)

    @property
    def worth(self) -> FloatArray:
        """Codes that one level stands for, (G, out, 1)."""
        return np.asarray((self.common / self.factor).reshape(*self.codes.shape[:2], 1))


def in_parts(codes: IntArray, hw: Hardware) -> bool:
    """Whether a sum of codes (G, out, in) takes several conversions."""
    return (
        codes.shape[2] > hw.inputs_per_array or len(slice_gains(codes, hw)) > 1 or hw.dac.bit_serial or hw.exact_cells
    )


def _tensor(x: Real, like: Tensor) -> Tensor:
    return torch.from_numpy(np.asarray(x)).to(like)


def inside(codes: Tensor, written: Tensor, ratio: Tensor, dac_step: Tensor, keep: Tensor) -> Tensor:
    """``written`` (H, n+1, n+1), with no pole of a channel on or outside the unit circle where ``codes`` has none.

    A register follows r' = (keep + ratio W 2^-p) r. Where what is wrong about the cells of W puts an eigenvalue of that
    outside, the n x n cells of the states take the largest of 3/4, 1/2, 1/4 and 0 of it that does not.
    """
    n = dac_step.shape[1]
    scale, kept = (ratio[:, :n, None] / dac_step[:, None, :]).double(), torch.diag_embed(keep.repeat_interleave(2, 1))

    def outside(share: float, heads: Tensor) -> Tensor:
        cells = torch.lerp(codes[heads, :n, :n], written[heads, :n, :n], share).double()
        poles = torch.linalg.eigvals(kept[heads].double() + scale[heads] * cells)
        return torch.ge(poles.abs().amax(-1), 1)

    result, left = written.clone(), torch.arange(len(codes), device=codes.device)
    left = left[outside(1.0, left)]
    for share in (0.75, 0.5, 0.25, 0.0):
        if not len(left):
            break
        result[left, :n, :n] = torch.lerp(codes[left, :n, :n], written[left, :n, :n], share)
        left = left[outside(share, left)]
    return result


def set_device_noise(model: nn.Module, on: bool | None) -> None:
    """Whether every call meets a chip, in training and evaluation; None: in training, where it is configured."""
    for module in model.modules():
        if isinstance(module, CellNoise):
            module.always = on
