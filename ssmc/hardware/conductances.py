"""What a memory cell holds after it was written, and later: conductances in code units (docs/noise.md).

A cell of level l is meant to have g_min + l u with u = (g_max - g_min) / (levels - 1). *Once per chip*: writable
levels, programming ``g -> max(0, g + sigma N(0, 1))``, stuck cells. *Per time since programming*: drift and 1/f noise
(`ssmc.hardware.devices`). Published 1/f noise is integrated up to the bandwidth of a read, so the fresh spread of a
product is a part of it: what stays during a run has the rest of its variance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssmc.hardware.components import Cell
from ssmc.hardware.devices import DEVICES
from ssmc.hardware.model import Hardware
from ssmc.ir.rounding import round_half_even

Real = NDArray[np.floating]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class NoiseModel:
    """What is not ideal; every number as in the hardware file's ``[noise]``.

    Attributes:
        programming, programming_off, proportional: spread / g_max of written cells and of cells at level 0, and
            spread / g, all of the ``gaussian`` device.
        read: fresh spread per product / g.
        device: ``gaussian``, or a name in `ssmc.hardware.devices.DEVICES`.
        writable_levels, stuck_low, stuck_high, wire_ohm: of cells and wires.
        stuck_mapping: what is written to the other cell of a differential pair where one is stuck (`pair_levels`).
        adc_offset, adc_gain, adc_inl: spreads between converters: codes, relative, codes.
        adc_dnl: spread of the widths of the codes of a converter, codes.
        adc_noise: fresh spread of every conversion, codes.
        compensation: of drift: ``tile`` or ``column``, what has a factor of its own at every time, or ``none``.
    """

    programming: float = 0.0
    programming_off: float = 0.0
    read: float = 0.0
    proportional: float = 0.0
    device: str = "gaussian"
    writable_levels: int = 0
    stuck_low: float = 0.0
    stuck_high: float = 0.0
    stuck_mapping: str = "none"
    wire_ohm: float = 0.0
    adc_offset: float = 0.0
    adc_gain: float = 0.0
    adc_inl: float = 0.0
    adc_dnl: float = 0.0
    adc_noise: float = 0.0
    compensation: str = "tile"

    @property
    def silent(self) -> bool:
        """Whether every device is ideal."""
        return replace(self, compensation="tile", stuck_mapping="none") == IDEAL

    @property
    def exact_converters(self) -> bool:
        """Whether all converters are alike."""
        return self.adc_offset == self.adc_gain == self.adc_inl == self.adc_dnl == 0


IDEAL = NoiseModel()


def noise_of(hardware: Hardware, **changes: Any) -> NoiseModel:
    """The nominal noise of a hardware file, with some fields of your own; digital macros have none."""
    if hardware.exact_cells:
        return IDEAL
    figures = hardware.noise
    model = NoiseModel(
        figures.programming_sigma_relative.value,
        figures.programming_sigma_off_relative.value,
        figures.read_sigma_relative.value,
        figures.programming_sigma_proportional.value,
        figures.device,
        figures.writable_levels,
        figures.stuck_low_fraction.value,
        figures.stuck_high_fraction.value,
        figures.stuck_mapping,
        figures.wire_ohm.value,
        figures.adc_offset_lsb.value,
        figures.adc_gain_relative.value,
        figures.adc_inl_lsb.value,
        figures.adc_dnl_lsb.value,
        converter_noise(hardware),
        figures.drift_compensation,
    )
    return replace(model, **changes)


def converter_noise(hardware: Hardware) -> float:
    """Fresh spread of a conversion in codes: as given, or what makes b bits effectively e (`noise.adc_enob`).

    Rounding of b bits alone is off by 1 / 12 of a squared code, the converter by that of e bits, 4^(b - e) / 12
    (IEEE 1241: ENOB = b - log2(rms error / rms of ideal rounding)); the difference is noise.
    """
    figures, bits = hardware.noise, hardware.adc.bits
    if not figures.adc_enob.value:
        return figures.adc_noise_lsb.value
    return float(np.sqrt((4.0 ** (bits - figures.adc_enob.value) - 1) / 12))


def tile_factor(first: Real, now: Real) -> float:
    """Global drift compensation (aihwkit): ``sum |W(0)| / sum |W(t)|`` over a tile, its rows read one by one."""
    return float(np.abs(first).sum() / max(np.abs(now).sum(), 1e-12))


def column_factors(first: Real, now: Real) -> Real:
    """What scales every column back to what was written: ``f`` of least ``|W(0) - f W(t)|^2`` over its rows.

    ``f = max(0, sum W(0) W(t) / sum W(t)^2)`` over the last axis, 1 where a column holds nothing. It goes into
    the scale that a column has anyway: the affine scaling of HERMES (Khaddam-Aljameh et al., JSSC 2022), or the
    converter's reference.
    """
    power = (now * now).sum(-1)
    factors = (first * now).sum(-1) / np.where(power > 0, power, 1)
    return np.where(power > 0, np.maximum(factors, 0), 1.0)


@dataclass(frozen=True)
class Draws:
    """Chance of one chip's cells, drawn once: the same cells at every time since programming."""

    written: Real
    exponent: Real
    stuck: Real
    flicker_seed: int


def draws_of(shape: tuple[int, ...], rng: np.random.Generator) -> Draws:
    """The chance of cells, in a fixed order of draws."""
    return Draws(rng.standard_normal(shape), rng.standard_normal(shape), rng.random(shape), int(rng.integers(1 << 62)))


def pair_levels(digits: Real, draws: tuple[Draws, Draws], hw: Hardware, noise: NoiseModel) -> tuple[Real, Real]:
    """Levels that the cells of differential pairs are meant to have: ``d = l+ - l-`` of every digit d.

    l+ = max(d, 0) and l- = max(-d, 0). With closest value mapping (Malhotra and Gupta, arXiv 2512.18459; of pairs: Jin
    et al., DATE 2020) the programmer knows which cells are stuck, at level s = 0 or L = levels - 1, and writes the
    other cell of the pair to the least error: l- = clip(s - d, 0, L) beside a stuck l+, l+ = clip(s + d, 0, L) beside a
    stuck l-. The error is 0, or the magnitude of d where the cell that holds d is stuck at 0, or its partner at L.
    """
    plus, minus = np.maximum(digits, 0), np.maximum(-digits, 0)
    if noise.stuck_mapping == "none":
        return plus, minus
    top = hw.cell.levels - 1
    low, high = zip(*(stuck(draw, noise) for draw in draws), strict=True)
    at = [np.where(cells, float(top), 0.0) for cells in high]
    beside_plus, beside_minus = np.clip(at[0] - digits, 0, top), np.clip(at[1] + digits, 0, top)
    return np.where(low[1] | high[1], beside_minus, plus), np.where(low[0] | high[0], beside_plus, minus)


def stuck(draws: Draws, noise: NoiseModel) -> tuple[Mask, Mask]:
    """The cells that stay at g_min, and those that stay at g_max."""
    high = draws.stuck >= 1 - noise.stuck_high if noise.stuck_high else np.zeros(draws.stuck.shape, np.bool_)
    return draws.stuck < noise.stuck_low, high


def conductance(levels: Real, draws: Draws, hw: Hardware, noise: NoiseModel, time_s: float) -> Real:
    """Conductance of cells written to ``levels``, ``time_s`` after programming, in code units."""
    base, unit, top = hw.cell.g_min_us.value, hw.level_us, hw.cell.g_max_us.value
    target = base + unit * _written_level(levels, hw.cell, noise)
    g = np.maximum(target + programming_sigma(levels, target / top, noise, time_s) * top * draws.written, 0.0)
    device = DEVICES.get(noise.device)
    if device is not None:
        drifted = g * device.drift(target / top, draws.exponent, time_s)
        if device.flicker is not None:
            seed = np.random.SeedSequence([draws.flicker_seed, int(1000 * time_s)])
            spread = np.sqrt(np.maximum(device.flicker.sigma(g / top, time_s + device.t0_s) ** 2 - noise.read**2, 0.0))
            drifted = drifted * (1 + spread * np.random.default_rng(seed).standard_normal(g.shape))
        g = np.maximum(drifted, 0.0)
    low, high = stuck(draws, noise)
    return np.asarray(np.where(high, top, np.where(low, base, g)) / unit)


def moments(levels: Real, cell: Cell, noise: NoiseModel) -> tuple[Real, Real]:
    """Mean and variance of `conductance` when programming ends, read once, in code units; stuck cells left out.

    Of max(0, g + sigma z) with p = P(z > -g / sigma) and f the density there: g p + sigma f, and the mean square
    (g^2 + sigma^2) p + g sigma f. 1/f noise and a read are off by a share of that: the share of its root.
    """
    unit, top = cell.level_us, cell.g_max_us.value
    g = cell.g_min_us.value + unit * _written_level(levels, cell, noise)
    sigma = programming_sigma(levels, g / top, noise) * top
    normal, ratio = NormalDist(), np.divide(g, sigma, out=np.full_like(g, np.inf), where=sigma > 0)
    above, density = (np.vectorize(f, otypes=[np.float64])(ratio) for f in (normal.cdf, normal.pdf))
    mean = g * above + sigma * density
    variance = sigma**2 * above + (g - mean) * mean
    fresh = np.full_like(g, noise.read**2)
    device = DEVICES.get(noise.device)
    if device is not None and device.flicker is not None:
        fresh = np.maximum(device.flicker.sigma(np.sqrt(variance + mean**2) / top, device.t0_s) ** 2, fresh)
    return mean / unit, (variance + fresh * (variance + mean**2)) / unit**2


def programming_sigma(levels: Real, relative: Real, noise: NoiseModel, time_s: float = 0.0) -> Real:
    """Spread / g_max of cells: ``sqrt(sigma^2 + (proportional g^)^2)``, or the device's fit."""
    if noise.device in DEVICES:
        return DEVICES[noise.device].programming_sigma(relative, time_s)
    independent = np.where(levels == 0, noise.programming_off, noise.programming)
    return np.asarray(np.hypot(independent, noise.proportional * relative))


def _written_level(levels: Real, cell: Cell, noise: NoiseModel) -> Real:
    """The nearest of the levels that can be written, equally spaced from g_min to g_max."""
    if noise.writable_levels < 2:
        return levels
    step = (cell.levels - 1) / (noise.writable_levels - 1)
    return np.asarray(round_half_even(levels / step) * step)
