"""Energies that depend on data: how strongly rows are driven, and the conductances that they meet.

A cell that is read draws V^2 G t. The file's energy of a cell read, ``array.read_energy_fj_per_cell``, is for drives of
mean activity ``array.read_activity`` and cells of mean conductance ``array.read_g_us``; a product draws

    sum over driven rows i, connected columns j:  key (a_i / read_activity) (G_ij / read_g_us)

where a_i is the mean of (v / v_max)^2 for amplitudes, of |v| / v_max for pulses (time carries the code), of the bit for
serial drives, and of the share of magnitude bits that are 1 where each has a pulse. A driver's energy is
``dac.energy_pj`` a_i / ``dac.activity`` likewise. G is known: what the program writes. Data tell a
(`ssmc.targets.aimc.simulation.data_dependent_energy`); without them it lies between 0 and 1, and is nominally that of
codes uniform over their range: 1/3 for amplitudes, 1/2 for pulses and bits. Where a file leaves the activity or the
conductance of its figures out (0), they are used unchanged. Converters and digital work do not depend on the data.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssmc.hardware.model import Hardware
from ssmc.hardware.pulses import magnitude_bits
from ssmc.ir.rounding import FloatArray
from ssmc.targets.aimc.lowering.mapping import Bank
from ssmc.targets.aimc.tiles import instructions as isa

Span = tuple[float, float, float]
ONCE: Span = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Factors:
    """Energy of a bank's cells and of its drivers over the file's figures: low, nominal, high."""

    cells: Span = ONCE
    drivers: Span = ONCE


def activity_of(drive: NDArray[np.floating], i: isa.Drive, hw: Hardware) -> FloatArray:
    """Share of the full drive's energy that each code stands for."""
    if i.plane is not None:
        return np.asarray(drive, np.float64)
    if hw.dac.pulses == "bits":
        return np.asarray(np.bitwise_count(np.abs(drive).astype(np.int64)) / magnitude_bits(i.width), np.float64)
    share = np.abs(drive) / (1 << magnitude_bits(i.width))
    return np.asarray(share if hw.dac.pulses != "none" else share**2, np.float64)


def expected(bank: Bank, hw: Hardware) -> Factors:
    """Factors without data: the same activity on every driven row."""
    uniform = 1 / 2 if hw.dac.bit_serial or hw.dac.pulses != "none" else 1 / 3
    full = factors(bank, np.ones((bank.groups, bank.row_count)), hw)
    cells = _times((0.0, uniform, 1.0), full.cells[1]) if _known(hw) else ONCE
    return Factors(cells, _times((0.0, uniform, 1.0), full.drivers[1]) if hw.dac.activity.value else ONCE)


def factors(bank: Bank, mean: FloatArray, hw: Hardware) -> Factors:
    """Factors from the mean activity of its rows, (groups, rows)."""
    on = float(mean[bank.driven].mean()) if bank.driven.any() else 0.0
    drivers = on / hw.dac.activity.value if hw.dac.activity.value else 1.0
    cells, _ = bank.conducting(hw)
    if not _known(hw) or not cells:
        return Factors(ONCE, _times(ONCE, drivers))
    drawn = float((mean * conductance_seen(bank, hw)).sum()) / (hw.array.read_activity.value * hw.array.read_g_us.value)
    return Factors(_times(ONCE, drawn / cells), _times(ONCE, drivers))


def _known(hw: Hardware) -> bool:
    """Whether the file says what its energy of a cell read is for."""
    return bool(hw.array.read_activity.value and hw.array.read_g_us.value)


def _times(span: Span, factor: float) -> Span:
    low, nominal, high = span
    return low * factor, nominal * factor, high * factor


def conductance_seen(bank: Bank, hw: Hardware) -> FloatArray:
    """Microsiemens on each input, (groups, rows): connected columns of its blocks, code 0 in those driven with them.

    0 where an input is not driven.
    """
    base, unit = hw.cell.g_min_us.value, hw.level_us
    zero = base + unit * hw.zero_level  # of a cell at code 0
    digits = np.abs(bank.codes) if hw.cells_per_code == 2 else bank.codes
    columns = bank.columns.sum((1, 2)) * hw.cells_per_code
    own = columns[:, None] * zero + unit * digits.sum((1, 2))
    return np.asarray((own + _others(bank, hw)[:, None] * zero) * bank.driven, np.float64)


def _others(bank: Bank, hw: Hardware) -> FloatArray:
    """Connected columns (groups,) that are driven with a group and hold no code of it."""
    at_once: dict[tuple[int, int], dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for tile, count in zip(bank.tiles, bank.codes_of_tiles, strict=True):
        at_once[tile.array, tile.wave][tile.group] += count * hw.cells_per_code
    found = np.zeros(bank.groups)
    for held in at_once.values():
        every = sum(held.values()) + hw.reference_columns
        for group, mine in held.items():
            found[group] += every - mine
    return found
