"""One chip instance: programmed banks, and the products they compute."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssmc.targets.aimc.hardware import Hardware
from ssmc.targets.aimc.mapping import Bank
from ssmc.targets.aimc.noise import IDEAL, Cells, NoiseModel, Real, program_cells, read_variance
from ssmc.targets.aimc.program import TileProgram


@dataclass(frozen=True)
class Programmed:
    """A bank after programming, ready for products with drives (groups, N, rows).

    Attributes:
        weight: (groups, rows, slices * outputs).
        variance: of a product, per squared drive, same shape; None where reading is noiseless.
        shared: variance common to the columns of a tile, (groups, rows, tiles); None where there is none.
        tile_of: tile, within its group, of every column in ``weight``.
    """

    weight: Real
    variance: Real | None
    shared: Real | None
    tile_of: np.ndarray[tuple[int], np.dtype[np.intp]]


class Chip:
    """Banks written once with programming noise; every product draws fresh read noise from ``rng``.

    Noiseless products are exact integers in float64; noisy ones are float32, whose rounding (1e-7) lies far
    below the noise.
    """

    def __init__(self, tiles: TileProgram, hardware: Hardware, noise: NoiseModel = IDEAL, seed: int = 0) -> None:
        self.noise = noise
        self.rng = np.random.default_rng(seed)
        self.banks = {name: self._write(bank, hardware) for name, bank in tiles.banks.items()}

    @property
    def ideal(self) -> bool:
        """Whether products are exact integers."""
        return self.noise.silent

    def product(self, bank: str, drive: Real) -> Real:
        """Held column sums (groups, N, slices * outputs) in units of one code times one drive step."""
        written = self.banks[bank]
        if self.ideal:
            exact: Real = np.matmul(drive, written.weight)
            return exact
        drive = drive.astype(np.float32)
        held: Real = np.matmul(drive, written.weight)
        if written.variance is not None:
            squared = drive * drive
            held += self._gauss(np.matmul(squared, written.variance))
            if written.shared is not None:
                held -= self._gauss(np.matmul(squared, written.shared))[..., written.tile_of]
        return held

    def _gauss(self, variance: Real) -> Real:
        spread: Real = np.sqrt(variance, out=variance)
        spread *= self.rng.standard_normal(variance.shape, np.float32)
        return spread

    def _write(self, bank: Bank, hardware: Hardware) -> Programmed:
        if self.ideal:
            return Programmed(_columns(bank.codes.astype(np.float64)), None, None, np.zeros(1, np.intp))
        cells = program_cells(bank, hardware, self.noise, self.rng)
        weight = _columns(cells.weight).astype(np.float32)
        tile_of, shared = _tiles(bank, cells, self.noise)
        variance = _columns(read_variance(cells, self.noise)[0]).astype(np.float32) if self.noise.read else None
        return Programmed(weight, variance, shared, tile_of)


def _columns(cells: Real) -> Real:
    """(groups, slices, outputs, rows) to (groups, rows, slices * outputs)."""
    groups, pieces, outputs, rows = cells.shape
    return np.ascontiguousarray(cells.reshape(groups, pieces * outputs, rows).transpose(0, 2, 1))


def _tiles(
    bank: Bank, cells: Cells, noise: NoiseModel
) -> tuple[np.ndarray[tuple[int], np.dtype[np.intp]], Real | None]:
    """Tile of every column, and the variance of each tile's offset column."""
    spans = [tile.outputs for tile in bank.tiles if tile.group == 0]
    first = np.array([start for start, _ in spans])
    tile_of = np.searchsorted(first, np.tile(np.arange(bank.outputs), len(bank.gains)), side="right") - 1
    if not (cells.shared_minus and noise.read):
        return tile_of, None
    shared = read_variance(cells, noise)[1][:, 0, first]
    return tile_of, np.ascontiguousarray(shared.transpose(0, 2, 1)).astype(np.float32)
