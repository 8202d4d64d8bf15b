"""Device noise of a crossbar, on conductances, so that what a column adds up follows by physics (docs/noise.md).

A digit d of a slice is the pair g+ = g_min + max(d, 0) u, g- = g_min + max(-d, 0) u with u = (g_max - g_min) /
(levels - 1); the column pair carries (g+ - g-) / u. With an offset column, g = g_min + (d + z) u in the column
and g_ref = g_min + z u in the last one, z = (levels - 1) // 2.

*Once per chip*: writable levels, programming ``g -> max(0, g + sigma N(0, 1))``, stuck cells. *Per time since
programming*: drift and 1/f noise (`ssmc.hardware.devices`), wires (`wires`). *Per product*: every
cell has fresh spread read_sigma_relative g. The column sum then is Gaussian with variance ``sum_i v_i^2 (sigma_r / u)^2
(g+_i^2 + g-_i^2)``: exact, one more product, no copies of the matrix. An offset column's share is common to the columns
of its tile. Published 1/f noise is integrated up to the bandwidth of a read, so the fresh spread is a part of it: what
stays during a run has the rest of its variance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssmc.hardware.devices import DEVICES
from ssmc.hardware.model import Hardware
from ssmc.ir.rounding import round_half_even
from ssmc.targets.aimc.lowering.mapping import Bank
from ssmc.targets.aimc.simulation.wires import with_wires

Real = NDArray[np.floating]


@dataclass(frozen=True)
class NoiseModel:
    """What is not ideal; every number as in the hardware file's ``[noise]``.

    Attributes:
        programming, programming_off, proportional: spread / g_max of written cells and of cells at level 0, and
            spread / g, all of the ``gaussian`` device.
        read: fresh spread per product / g.
        device: ``gaussian``, or a name in `ssmc.hardware.devices.DEVICES`.
        writable_levels, stuck_low, stuck_high, wire_ohm: of cells and wires.
        adc_offset, adc_gain, adc_inl: spreads between converters: codes, relative, codes.
        compensate: global drift compensation, one factor per tile and time.
    """

    programming: float = 0.0
    programming_off: float = 0.0
    read: float = 0.0
    proportional: float = 0.0
    device: str = "gaussian"
    writable_levels: int = 0
    stuck_low: float = 0.0
    stuck_high: float = 0.0
    wire_ohm: float = 0.0
    adc_offset: float = 0.0
    adc_gain: float = 0.0
    adc_inl: float = 0.0
    compensate: bool = True

    @property
    def silent(self) -> bool:
        """Whether every device is ideal."""
        return replace(self, compensate=True) == IDEAL

    @property
    def exact_converters(self) -> bool:
        """Whether all converters are alike."""
        return self.adc_offset == self.adc_gain == self.adc_inl == 0


IDEAL = NoiseModel()


def noise_of(hardware: Hardware, **changes: Any) -> NoiseModel:
    """The nominal noise of a hardware file, with some fields of your own."""
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
        figures.wire_ohm.value,
        figures.adc_offset_lsb.value,
        figures.adc_gain_relative.value,
        figures.adc_inl_lsb.value,
    )
    return replace(model, **changes)


@dataclass(frozen=True)
class Cells:
    """Conductances of a bank in code units (u = 1), each (groups, slices, outputs, rows).

    Attributes:
        plus: cells that add to the column.
        minus: cells that subtract: the pair's other column, or the offset column seen by every output.
        shared_minus: ``minus`` is one physical column per tile.
    """

    plus: Real
    minus: Real
    shared_minus: bool

    @property
    def weight(self) -> Real:
        """What the column multiplies the drive with."""
        return self.plus - self.minus


@dataclass(frozen=True)
class Draws:
    """Chance of one chip's cells, drawn once: the same cells at every time since programming."""

    written: Real
    exponent: Real
    stuck: Real
    flicker_seed: int


def program_cells(bank: Bank, hw: Hardware, noise: NoiseModel, rng: np.random.Generator, time_s: float = 0.0) -> Cells:
    """Write a bank and wait: conductances in code units, ``time_s`` after programming."""
    digits = bank.codes.astype(np.float64)
    if hw.cell.scheme == "differential_columns":
        levels = np.maximum(digits, 0), np.maximum(-digits, 0)
        plus, minus = (conductance(x, draws_of(x.shape, rng), hw, noise, time_s) for x in levels)
        return _wired(Cells(plus, minus, False), bank, hw, noise)
    zero = (hw.cell.levels - 1) // 2
    plus = conductance(digits + zero, draws_of(digits.shape, rng), hw, noise, time_s)
    minus = np.empty_like(plus)
    columns: dict[tuple[int, int], Real] = {}
    for tile in bank.tiles:
        key = tile.array, tile.row
        if key not in columns:
            level = np.full((1, 1, bank.row_count), float(zero))
            columns[key] = conductance(level, draws_of(level.shape, rng), hw, noise, time_s)
        minus[tile.group, :, tile.outputs[0] : tile.outputs[1]] = columns[key]
    return _wired(Cells(plus, minus, True), bank, hw, noise)


def draws_of(shape: tuple[int, ...], rng: np.random.Generator) -> Draws:
    """The chance of cells, in a fixed order of draws."""
    return Draws(rng.standard_normal(shape), rng.standard_normal(shape), rng.random(shape), int(rng.integers(1 << 62)))


def conductance(levels: Real, draws: Draws, hw: Hardware, noise: NoiseModel, time_s: float) -> Real:
    """Conductance of cells written to ``levels``, ``time_s`` after programming, in code units."""
    base, unit, top = hw.cell.g_min_us.value, hw.level_us, hw.cell.g_max_us.value
    target = base + unit * _written_level(levels, hw, noise)
    g = np.maximum(target + programming_sigma(levels, target / top, noise, time_s) * top * draws.written, 0.0)
    device = DEVICES.get(noise.device)
    if device is not None:
        drifted = g * device.drift(target / top, draws.exponent, time_s)
        if device.flicker is not None:
            seed = np.random.SeedSequence([draws.flicker_seed, int(1000 * time_s)])
            spread = np.sqrt(np.maximum(device.flicker.sigma(g / top, time_s + device.t0_s) ** 2 - noise.read**2, 0.0))
            drifted = drifted * (1 + spread * np.random.default_rng(seed).standard_normal(g.shape))
        g = np.maximum(drifted, 0.0)
    g = np.where(draws.stuck < noise.stuck_low, base, g)
    g = np.where(draws.stuck >= 1 - noise.stuck_high, top, g) if noise.stuck_high else g
    return np.asarray(g / unit)


def programming_sigma(levels: Real, relative: Real, noise: NoiseModel, time_s: float = 0.0) -> Real:
    """Spread / g_max of cells: ``sqrt(sigma^2 + (proportional g^)^2)``, or the device's fit."""
    if noise.device in DEVICES:
        return DEVICES[noise.device].programming_sigma(relative, time_s)
    independent = np.where(levels == 0, noise.programming_off, noise.programming)
    return np.asarray(np.hypot(independent, noise.proportional * relative))


def _written_level(levels: Real, hw: Hardware, noise: NoiseModel) -> Real:
    """The nearest of the levels that can be written, equally spaced from g_min to g_max."""
    if noise.writable_levels < 2:
        return levels
    step = (hw.cell.levels - 1) / (noise.writable_levels - 1)
    return np.asarray(round_half_even(levels / step) * step)


def _wired(cells: Cells, bank: Bank, hw: Hardware, noise: NoiseModel) -> Cells:
    """IR drop of every tile, its columns in physical order."""
    if noise.wire_ohm == 0:
        return cells
    plus, minus = cells.plus.copy(), cells.minus.copy()
    for tile in bank.tiles:
        outputs, inputs = bank.outputs_in(tile), bank.inputs_in(tile)
        at = np.ix_(np.array([tile.group]), np.arange(len(bank.gains)), outputs, inputs)
        p, m = (x[at][0].transpose(1, 0, 2).reshape(-1, len(inputs)).T * hw.level_us for x in (plus, minus))
        below = max(hw.array.rows - tile.row - len(inputs), 0)
        if cells.shared_minus:
            drawn = with_wires(np.concatenate([p, m[:, :1]], 1), noise.wire_ohm, tile.column, below)
            p, m = drawn[:, :-1], np.repeat(drawn[:, -1:], p.shape[1], 1)
        else:
            both = with_wires(np.stack([p, m], 2).reshape(len(p), -1), noise.wire_ohm, tile.column, below)
            p, m = both[:, ::2], both[:, 1::2]
        shape = len(outputs), len(bank.gains), len(inputs)
        plus[at], minus[at] = (x.T.reshape(shape).transpose(1, 0, 2)[None] / hw.level_us for x in (p, m))
    return replace(cells, plus=plus, minus=minus)


def read_variance(cells: Cells, noise: NoiseModel) -> tuple[Real, Real]:
    """Variance of a column per squared drive: of its own cells, and of cells common to its array."""
    plus, minus = (noise.read * cells.plus) ** 2, (noise.read * cells.minus) ** 2
    return (plus, minus) if cells.shared_minus else (plus + minus, np.zeros_like(minus))
