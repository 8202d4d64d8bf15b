"""One array by itself: codes on the rows, converter codes from the columns, as fast as this machine goes.

For studies of a single crossbar, and what benchmarks/crossbar_speed.py measures. The arithmetic is that of the
simulator: column sums, fresh read noise with the exact output-referred variance, one conversion

    code = clip(round_half_even(ratio (sum_i W[j,i] v_i + sqrt(sum_i V[j,i] v_i^2) z)), lo, hi)

Lanes are columns here (the simulator's are sequences): one vector at a time is fast as well.
"""
# mypy: disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any

import numpy as np
from numba import uint64
from numpy.typing import NDArray

from ssmc.hardware.conductances import NoiseModel
from ssmc.hardware.model import Hardware
from ssmc.targets.aimc.lowering.mapping import Bank, Tile
from ssmc.targets.aimc.simulation.gauss import compiled, derive, lane_keys, normal_pairs
from ssmc.targets.aimc.simulation.noise import program_cells, read_variance

Codes = NDArray[np.float32]
SMALL_BATCH = 4
PADDING = 32


class Crossbar:
    """A programmed array (outputs, inputs).

    Args:
        weight: what a column multiplies the drive with, in code units.
        variance: of a product per squared drive, same shape; None for noiseless reading.
        ratio: converter codes per unit of the column sum.
        lo, hi: range of the converter.
        seed: of the read noise.
    """

    def __init__(
        self,
        weight: NDArray[Any],
        variance: NDArray[Any] | None = None,
        ratio: float | np.float32 = 1.0,
        lo: int = -128,
        hi: int = 127,
        seed: int = 0,
    ) -> None:
        self.outputs, self.inputs = weight.shape
        self.wide = -(-self.outputs // PADDING) * PADDING
        self.weight = self._rows(weight)
        self.variance = None if variance is None else self._rows(variance)
        self.dense = [np.ascontiguousarray(cells.T, np.float32) for cells in (weight, variance) if cells is not None]
        self.numbers = np.float32(ratio), np.float32(lo), np.float32(hi)
        self.keys = lane_keys(derive(seed), np.arange(self.wide // 2))
        self.products = 0

    @classmethod
    def programmed(
        cls,
        codes: NDArray[Any],
        hw: Hardware,
        noise: NoiseModel,
        ratio: float = 1.0,
        *,
        seed: int = 0,
        time_s: float = 0,
    ) -> Crossbar:
        """Codes (outputs, inputs) written to one array of a hardware file; converters as wide as the file says."""
        outputs, inputs = codes.shape
        bank = Bank("", "", (0, inputs), (1,), (Tile(0, 0, (0, outputs)),), codes[None, None])
        cells = program_cells(bank, hw, noise, np.random.default_rng(seed), time_s)
        own, common = (part[0, 0] for part in read_variance(cells, noise))
        half = 1 << (hw.adc.bits - 1)
        variance = own + common if noise.read else None
        return cls(cells.weight[0, 0], variance, ratio, -half, half - 1, seed)

    def convert(self, drive: Codes) -> Codes:
        """Drive codes (N, inputs) float32 to converter codes (N, outputs) float32."""
        counter = self.products
        self.products += len(drive)
        if len(drive) <= SMALL_BATCH:
            out: Codes = np.empty((len(drive), self.outputs), np.float32)
            if self.variance is None:
                _convert_each(self.weight, drive, *self.numbers, out)
            else:
                _convert_each_noisy(self.weight, self.variance, drive, *self.numbers, self.keys, counter, out)
            return out
        out = np.matmul(drive, self.dense[0])
        if self.variance is None:
            _round(out, *self.numbers)
        else:
            variance = np.matmul(drive * drive, self.dense[1])
            _round_noisy(out, variance, *self.numbers, self.keys, counter)
        return out

    def feedback(self, state: Codes, inputs: Codes) -> Codes:
        """``x <- clip(convert(x) + u_t)`` for every row u_t of ``inputs`` (T, outputs); the last state."""
        x = np.zeros(self.wide, np.float32)
        x[: self.outputs] = state
        counter = self.products
        self.products += len(inputs)
        variance = np.zeros((0, 0), np.float32) if self.variance is None else self.variance
        _feedback(self.weight, variance, x, inputs, *self.numbers, self.keys, counter)
        return x[: self.outputs]

    def _rows(self, cells: NDArray[Any]) -> Codes:
        """(inputs, outputs), columns padded to whole vectors."""
        rows = np.zeros((self.inputs, self.wide), np.float32)
        rows[:, : self.outputs] = cells.T
        return rows


@compiled
def _add_rows(weight, v, total):  # type: ignore[no-untyped-def]
    """``total = v @ weight``."""
    inputs = weight.shape[0]
    whole = inputs - inputs % 8
    total[:] = 0
    for i in range(0, whole, 8):
        x0, x1, x2, x3 = v[i], v[i + 1], v[i + 2], v[i + 3]
        x4, x5, x6, x7 = v[i + 4], v[i + 5], v[i + 6], v[i + 7]
        w0, w1, w2, w3 = weight[i], weight[i + 1], weight[i + 2], weight[i + 3]
        w4, w5, w6, w7 = weight[i + 4], weight[i + 5], weight[i + 6], weight[i + 7]
        for j in range(len(total)):
            first = x0 * w0[j] + x1 * w1[j] + x2 * w2[j] + x3 * w3[j]
            total[j] += first + (x4 * w4[j] + x5 * w5[j] + x6 * w6[j] + x7 * w7[j])
    for i in range(whole, inputs):
        x0, w0 = v[i], weight[i]
        for j in range(len(total)):
            total[j] += x0 * w0[j]


@compiled
def _digitize(total, ratio, lo, hi, out):  # type: ignore[no-untyped-def]
    for j in range(len(out)):
        out[j] = min(max(np.rint(total[j] * ratio), lo), hi)


@compiled
def _convert_each(weight, drive, ratio, lo, hi, out):  # type: ignore[no-untyped-def]
    total = np.empty(weight.shape[1], np.float32)
    for n in range(len(drive)):
        _add_rows(weight, drive[n], total)
        _digitize(total, ratio, lo, hi, out[n])


@compiled
def _draw(keys, counter, z, high, low):  # type: ignore[no-untyped-def]
    """One draw per column: pair k serves columns k and half + k."""
    half = len(keys)
    normal_pairs(keys, counter, z[:half], z[half:], high, low)


@compiled
def _noisy_total(weight, variance, v, square, total, spread, z):  # type: ignore[no-untyped-def]
    for i in range(len(v)):
        square[i] = v[i] * v[i]
    _add_rows(weight, v, total)
    _add_rows(variance, square, spread)
    for j in range(len(total)):
        total[j] += np.sqrt(spread[j]) * z[j]


@compiled
def _convert_each_noisy(weight, variance, drive, ratio, lo, hi, keys, counter, out):  # type: ignore[no-untyped-def]
    wide = weight.shape[1]
    total, spread, z = np.empty(wide, np.float32), np.empty(wide, np.float32), np.empty(wide, np.float32)
    high, low, square = np.empty(len(keys), np.int32), np.empty(len(keys), np.int32), np.empty_like(drive[0])
    for n in range(len(drive)):
        _draw(keys, uint64(counter + n), z, high, low)
        _noisy_total(weight, variance, drive[n], square, total, spread, z)
        _digitize(total, ratio, lo, hi, out[n])


@compiled
def _round(held, ratio, lo, hi):  # type: ignore[no-untyped-def]
    flat = held.reshape(-1)
    for k in range(len(flat)):
        flat[k] = min(max(np.rint(flat[k] * ratio), lo), hi)


@compiled
def _round_noisy(held, variance, ratio, lo, hi, keys, counter):  # type: ignore[no-untyped-def]
    z = np.empty(2 * len(keys), np.float32)
    high, low = np.empty(len(keys), np.int32), np.empty(len(keys), np.int32)
    for n in range(len(held)):
        _draw(keys, uint64(counter + n), z, high, low)
        h, s = held[n], variance[n]
        for j in range(len(h)):
            h[j] = min(max(np.rint((h[j] + np.sqrt(s[j]) * z[j]) * ratio), lo), hi)


@compiled
def _feedback(weight, variance, x, inputs, ratio, lo, hi, keys, counter):  # type: ignore[no-untyped-def]
    wide, rows, outputs = weight.shape[1], weight.shape[0], inputs.shape[1]
    total, spread, z = np.empty(wide, np.float32), np.empty(wide, np.float32), np.empty(wide, np.float32)
    high, low, square = np.empty(len(keys), np.int32), np.empty(len(keys), np.int32), np.empty(rows, np.float32)
    for t in range(len(inputs)):
        u = inputs[t]
        if variance.size:
            _draw(keys, uint64(counter + t), z, high, low)
            _noisy_total(weight, variance, x[:rows], square, total, spread, z)
        else:
            _add_rows(weight, x[:rows], total)
        for j in range(outputs):
            code = min(max(np.rint(total[j] * ratio), lo), hi)
            x[j] = min(max(code + u[j], lo), hi)
