"""Device noise of a crossbar: Gaussian, on conductances, so that what a column adds up follows by physics.

A digit d of a slice is the pair g+ = g_min + max(d, 0) u, g- = g_min + max(-d, 0) u with u = (g_max - g_min) /
(levels - 1); the column pair carries (g+ - g-) / u. With an offset column, g = g_min + (d + z) u in the column
and g_ref = g_min + z u in the last one, z = (levels - 1) // 2.

*Programming* (once per chip): ``g -> max(0, g + sigma N(0, 1))``, sigma = programming_sigma_relative g_max, or
programming_sigma_off_relative g_max for cells at level 0.
*Read* (fresh per product): every cell g has spread read_sigma_relative g. The column sum then is Gaussian with
variance ``sum_i v_i^2 (sigma_r / u)^2 (g+_i^2 + g-_i^2)``: exact, one more product, no copies of the matrix
(facts/aimc.md §2.2). An offset column's share is common to the columns of its array.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssmc.targets.aimc.hardware import Hardware
from ssmc.targets.aimc.mapping import Bank

Real = NDArray[np.floating]


@dataclass(frozen=True)
class NoiseModel:
    """Standard deviations, relative as in the hardware file's ``[noise]``."""

    programming: float
    programming_off: float
    read: float

    @property
    def silent(self) -> bool:
        """Whether every device is ideal."""
        return self.programming == self.programming_off == self.read == 0


IDEAL = NoiseModel(0.0, 0.0, 0.0)


def noise_of(hardware: Hardware) -> NoiseModel:
    """The nominal noise of a hardware file."""
    figures = hardware.noise
    return NoiseModel(
        figures.programming_sigma_relative.value,
        figures.programming_sigma_off_relative.value,
        figures.read_sigma_relative.value,
    )


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


def program_cells(bank: Bank, hw: Hardware, noise: NoiseModel, rng: np.random.Generator) -> Cells:
    """Write a bank: target conductances plus programming noise, in code units."""
    unit, base = hw.level_us, hw.cell.g_min_us.value / hw.level_us
    digits = bank.codes.astype(np.float64)
    if hw.cell.scheme == "differential_columns":
        levels = np.maximum(digits, 0), np.maximum(-digits, 0)
        plus, minus = (_written(level, base, unit, hw, noise, rng) for level in levels)
        return Cells(plus, minus, False)
    zero = (hw.cell.levels - 1) // 2
    plus = _written(digits + zero, base, unit, hw, noise, rng)
    minus = np.empty_like(plus)
    for tile in bank.tiles:
        column = _written(np.full((1, 1, bank.row_count), float(zero)), base, unit, hw, noise, rng)
        minus[tile.group, :, tile.outputs[0] : tile.outputs[1]] = column
    return Cells(plus, minus, True)


def _written(levels: Real, base: float, unit: float, hw: Hardware, noise: NoiseModel, rng: np.random.Generator) -> Real:
    target = base + levels
    if noise.programming == noise.programming_off == 0:
        return target
    relative = np.where(levels == 0, noise.programming_off, noise.programming)
    sigma = relative * hw.cell.g_max_us.value / unit
    return np.maximum(target + sigma * rng.standard_normal(levels.shape), 0.0)


def read_variance(cells: Cells, noise: NoiseModel) -> tuple[Real, Real]:
    """Variance of a column per squared drive: of its own cells, and of cells common to its array."""
    plus, minus = (noise.read * cells.plus) ** 2, (noise.read * cells.minus) ** 2
    return (plus, minus) if cells.shared_minus else (plus + minus, np.zeros_like(minus))
