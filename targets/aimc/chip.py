"""One chip instance: programmed banks, and the products they compute."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np

from ssmc.targets.aimc.hardware import Hardware
from ssmc.targets.aimc.mapping import Bank
from ssmc.targets.aimc.noise import IDEAL, Cells, NoiseModel, Real, program_cells, read_variance
from ssmc.targets.aimc.program import TileProgram

STREAMS = 8
WORTH_CUTTING = 1 << 15


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

    def groups(self, part: slice) -> Programmed:
        """Some of the groups."""
        variance, shared = (None if x is None else x[part] for x in (self.variance, self.shared))
        return Programmed(self.weight[part], variance, shared, self.tile_of)


def _noisy(written: Programmed, drive: Real, held: Real, rng: np.random.Generator) -> None:
    """Column sums with fresh read noise, into ``held``."""
    drive = drive.astype(np.float32)
    np.matmul(drive, written.weight, out=held)
    if written.variance is None:
        return
    squared = drive * drive
    held += _gauss(np.matmul(squared, written.variance), rng)
    if written.shared is not None:
        held -= _gauss(np.matmul(squared, written.shared), rng)[..., written.tile_of]


def _gauss(variance: Real, rng: np.random.Generator) -> Real:
    spread: Real = np.sqrt(variance, out=variance)
    spread *= rng.standard_normal(variance.shape, np.float32)
    return spread


def _cuts(size: int) -> list[slice]:
    """``STREAMS`` even pieces of an axis."""
    edges = [size * k // STREAMS for k in range(STREAMS + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def _pieces(x: Real, by_group: bool) -> list[Real]:
    """Views of (groups, N, columns), cut along groups or along samples."""
    return [x[cut] for cut in _cuts(x.shape[0])] if by_group else [x[:, cut] for cut in _cuts(x.shape[1])]


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(STREAMS, os.cpu_count() or 1))


class Chip:
    """Banks written once with programming noise; every product draws fresh read noise from ``rng``.

    Noiseless products are exact integers in float64; noisy ones are float32, whose rounding (1e-7) lies far
    below the noise. Large noisy products are cut into `STREAMS` pieces with a generator each, computed by as many
    threads as there are cores: the result depends on the seed, not on the machine.
    """

    def __init__(self, tiles: TileProgram, hardware: Hardware, noise: NoiseModel = IDEAL, seed: int = 0) -> None:
        self.noise = noise
        self.rng = np.random.default_rng(seed)
        self.streams = self.rng.spawn(STREAMS)
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
        held: Real = np.empty((*drive.shape[:2], written.weight.shape[2]), np.float32)
        if held.size < WORTH_CUTTING:
            _noisy(written, drive, held, self.streams[0])
            return held
        by_group = drive.shape[0] >= STREAMS
        banks = [written.groups(part) for part in _cuts(drive.shape[0])] if by_group else [written] * STREAMS
        drives, helds = (_pieces(x, by_group) for x in (drive, held))
        list(_threads().map(_noisy, banks, drives, helds, self.streams))
        return held

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
