"""One chip instance: programmed banks, and the products they compute."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ssmc.conversion.cuts import converter_of
from ssmc.hardware.conductances import IDEAL, NoiseModel, Real, column_factors, tile_factor
from ssmc.hardware.model import Hardware
from ssmc.ir.rounding import round_half_even
from ssmc.targets.aimc.lowering.mapping import Bank
from ssmc.targets.aimc.simulation.coupled import Coupling, coupling_of, whole_bank
from ssmc.targets.aimc.simulation.noise import Cells, program_cells, read_variance
from ssmc.targets.aimc.simulation.transitions import uneven_codes
from ssmc.targets.aimc.tiles.instructions import TileProgram

STREAMS = 8
WORTH_CUTTING = 1 << 15


@dataclass(frozen=True)
class Converters:
    """How the converters of a bank's columns deviate, each (groups, slices * outputs).

    ``code = clip(round_half_even(gain * x + offset + bow (1 - relative^2)))``, ``relative`` from -1 at the lowest to 1
    at the highest code: a gain error, an offset, and an integral nonlinearity of one arc. Drift compensation is part
    of the gain. ``key`` names the converter, whose codes' widths have spread ``uneven`` (`transitions`).
    """

    gain: Real
    offset: Real
    bow: Real
    key: NDArray[np.uint32]
    uneven: float = 0.0

    def of(self, columns: slice) -> Converters:
        """Those of some columns."""
        gain, offset, bow = (part[:, columns] for part in (self.gain, self.offset, self.bow))
        return Converters(gain, offset, bow, self.key[:, columns], self.uneven)

    def distort(self, x: Real, bias: Real | float, lo: Real | float, hi: Real | float) -> Real:
        """Unrounded codes of ideal ones ``x`` (groups, N, columns) without their ``bias``."""
        gain, offset, bow = (part[:, None, :] for part in (self.gain, self.offset, self.bow))
        real = x * gain + bias + offset
        relative = (2 * real - (lo + hi)) / np.maximum(np.subtract(hi, lo), 1)
        return np.asarray(real + bow * (1 - relative * relative))

    def codes(self, x: Real) -> Real:
        """Codes (groups, N, columns) of unrounded ones, before they are clipped."""
        return uneven_codes(x, self.key[:, None], self.uneven) if self.uneven else round_half_even(x)


@dataclass(frozen=True)
class Programmed:
    """A bank after programming, ready for products with drives (groups, N, rows).

    Attributes:
        weight: (groups, rows, slices * outputs); rows twice where ``signed``.
        variance: of a product, per squared drive, same shape; None where reading is noiseless.
        shared: variance common to the columns of a tile, (groups, rows, tiles); None where there is none.
        tile_of: tile, within its group, of every column in ``weight``.
        converters: None where they are all ideal.
        signed: rows for positive and for negative drives apart (`cell.quadrants` = 4).
        coupling: where groups are driven together; then groups above means those.
        pieces: weight slices.
    """

    weight: Real
    variance: Real | None
    shared: Real | None
    tile_of: np.ndarray[tuple[int], np.dtype[np.intp]]
    converters: Converters | None = None
    signed: bool = False
    coupling: Coupling | None = None
    pieces: int = 1

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
    """Banks written once with programming noise, ``time_s`` ago; every product draws fresh read noise.

    Noiseless products are exact integers in float64; noisy ones are float32, whose rounding (1e-7) lies far
    below the noise. Large noisy products are cut into `STREAMS` pieces with a generator each, computed by as many
    threads as there are cores: the result depends on the seed, not on the machine. One seed is one chip: its cells at
    two times since programming are the same cells.
    """

    def __init__(
        self, tiles: TileProgram, hardware: Hardware, noise: NoiseModel = IDEAL, seed: int = 0, time_s: float = 0.0
    ) -> None:
        self.noise, self.hardware, self.time_s = IDEAL if hardware.exact_cells else noise, hardware, time_s
        self.key = int(np.random.SeedSequence([seed, int(1000 * time_s)]).generate_state(1, np.uint64)[0])
        self.rng = np.random.default_rng(seed)
        self.streams = self.rng.spawn(STREAMS)
        self.errors = int(np.random.SeedSequence([seed, 1]).generate_state(1)[0])
        self.banks = {name: self._write(bank) for name, bank in tiles.banks.items()}

    @property
    def ideal(self) -> bool:
        """Whether products are exact integers."""
        return self.noise.silent

    def conversion_noise(self, codes: Real) -> Real | float:
        """Fresh noise of the converters that these unrounded codes are of."""
        return self.noise.adc_noise * self.rng.standard_normal(codes.shape) if self.noise.adc_noise else 0.0

    def product(self, bank: str, drive: Real) -> Real:
        """Held column sums (groups, N, slices * outputs) in units of one code times one drive step."""
        written = self.banks[bank]
        if self.ideal:
            exact: Real = np.matmul(drive, written.weight)
            return exact
        if written.coupling is not None:
            return self._together(written, written.coupling, drive)
        return self._noisy_product(written, drive)

    def _together(self, written: Programmed, coupling: Coupling, drive: Real) -> Real:
        """Groups driven at once: their rows side by side, their columns apart again."""
        whole = coupling.gather(drive.transpose(0, 2, 1)).transpose(0, 2, 1)
        return coupling.columns_apart(self._noisy_product(written, whole), written.pieces)

    def _noisy_product(self, written: Programmed, drive: Real) -> Real:
        if written.signed:
            drive = np.concatenate([np.maximum(drive, 0), np.maximum(-drive, 0)], -1)
        held: Real = np.empty((*drive.shape[:2], written.weight.shape[2]), np.float32)
        if held.size < WORTH_CUTTING:
            _noisy(written, drive, held, self.streams[0])
            return held
        by_group = drive.shape[0] >= STREAMS
        banks = [written.groups(part) for part in _cuts(drive.shape[0])] if by_group else [written] * STREAMS
        drives, helds = (_pieces(x, by_group) for x in (drive, held))
        list(_threads().map(_noisy, banks, drives, helds, self.streams))
        return held

    def _write(self, bank: Bank) -> Programmed:
        if self.ideal:
            exact = _columns(bank.codes.astype(np.float64))
            return Programmed(exact, None, None, np.zeros(1, np.intp), pieces=len(bank.gains))
        coupling = coupling_of(bank)
        whole = bank if coupling is None else whole_bank(bank, coupling)
        signed = self.hardware.rows_per_input == 2 and not self.hardware.dac.bit_serial
        own = 1.0 if coupling is None else coupling.spread(np.ones(bank.codes.shape))
        signs = [self._cells(whole, sign, own) for sign in ((1, -1) if signed else (1,))]
        parts = list(zip(*signs, strict=True))
        weight, variance, shared = (None if x[0] is None else np.concatenate(x, 1) for x in parts[:3])
        factors = np.mean(parts[3], 0)
        if coupling is not None:
            factors = coupling.columns_apart(factors[:, None], len(bank.gains))[:, 0]
        assert weight is not None
        converters = self._converters(bank, factors)
        return Programmed(weight, variance, shared, _tile_of(whole), converters, signed, coupling, len(bank.gains))

    def _cells(self, bank: Bank, sign: int, own: Real | float) -> tuple[Real, Real | None, Real | None, Real]:
        """Weight, variance, shared variance of the rows of one sign, and the compensation of every column."""
        bank = replace(bank, codes=sign * bank.codes)
        start = self.rng.bit_generator.state
        cells = used(bank, program_cells(bank, self.hardware, self.noise, self.rng, self.time_s))
        factors: Real = np.ones((bank.groups, len(bank.gains) * bank.outputs))
        if self.time_s > 0 and self.noise.compensation != "none":
            self.rng.bit_generator.state = start
            first = used(bank, program_cells(bank, self.hardware, self.noise, self.rng))
            factors = self._compensation(bank, own * first.weight, own * cells.weight)
        weight = _columns(cells.weight).astype(np.float32)
        if not self.noise.read:
            return weight, None, None, factors
        own, common = read_variance(cells, self.noise)
        shared = _shared(bank, common) if cells.shared_minus else None
        return weight, _columns(own).astype(np.float32), shared, factors

    def _compensation(self, bank: Bank, first: Real, now: Real) -> Real:
        """Factors of all columns, (groups, slices * outputs), from their cells as written and now."""
        if self.noise.compensation == "column":
            return column_factors(first, now).reshape(bank.groups, -1)
        factors = np.ones((bank.groups, len(bank.gains), bank.outputs))
        for tile in bank.tiles:
            at = tile.group, slice(None), slice(*tile.outputs)
            factors[at] = tile_factor(first[at], now[at])
        return factors.reshape(bank.groups, -1)

    def _converters(self, bank: Bank, gain: Real) -> Converters | None:
        noise, hw = self.noise, self.hardware
        if noise.exact_converters and (gain == 1).all():
            return None
        count = hw.adcs_per_array
        draws = {a: np.random.default_rng([self.errors, a]).standard_normal((3, count)) for a in bank.arrays}
        keys = {a: np.random.default_rng([self.errors, a, 1]).integers(1 << 32, size=count) for a in bank.arrays}
        z, key = np.zeros((3, *gain.shape)), np.zeros(gain.shape, np.uint32)
        slices = len(bank.gains)
        for tile in bank.tiles:
            for position, output in enumerate(bank.outputs_in(tile).tolist()):
                for piece in np.flatnonzero(bank.columns[tile.group, :, output]).tolist():
                    adc = converter_of(position, piece, slices, hw, tile.column)
                    column = tile.group, piece * bank.outputs + output
                    z[:, *column] = draws[tile.array][:, adc]
                    key[column] = keys[tile.array][adc]
        gain = gain * (1 + noise.adc_gain * z[0])
        return Converters(gain, noise.adc_offset * z[1], noise.adc_inl * z[2], key, noise.adc_dnl)


def used(bank: Bank, cells: Cells) -> Cells:
    """Cells on rows and columns that hold a code; the others (pruned states) are neither driven nor converted."""
    used = bank.driven[:, None, None, :] & bank.columns[..., None]
    return replace(cells, plus=cells.plus * used, minus=cells.minus * used)


def _columns(cells: Real) -> Real:
    """(groups, slices, outputs, rows) to (groups, rows, slices * outputs)."""
    groups, pieces, outputs, rows = cells.shape
    return np.ascontiguousarray(cells.reshape(groups, pieces * outputs, rows).transpose(0, 2, 1))


def _tile_of(bank: Bank) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Tile, within its group, of every column."""
    return np.searchsorted(bank.starts, np.tile(np.arange(bank.outputs), len(bank.gains)), side="right") - 1


def _shared(bank: Bank, variance: Real) -> Real:
    """Variance of each tile's offset column, (groups, rows, tiles): that of any of its columns that is read."""
    seen = np.maximum.reduceat(variance.max(1), bank.starts, 1)
    return np.ascontiguousarray(seen.transpose(0, 2, 1)).astype(np.float32)
