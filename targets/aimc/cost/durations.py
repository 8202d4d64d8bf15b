"""How long an instruction takes, term by term, each with the keys it comes from. The schedule adds them up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssmc.conversion.cuts import converter_of
from ssmc.hardware.model import Hardware
from ssmc.hardware.pulses import conversion_steps, pulse_steps, samplings
from ssmc.targets.aimc.cost.energy_events import LANE_WORK, charges, converted_bits
from ssmc.targets.aimc.lowering.mapping import Bank
from ssmc.targets.aimc.tiles import instructions as isa
from ssmc.targets.aimc.tiles.instructions import TileProgram

NS_PER_US = 1e3


@dataclass(frozen=True)
class Term:
    """Part of a duration: ``how`` in words, and the keys that enter."""

    how: str
    ns: float
    keys: tuple[str, ...]


def duration_ns(i: isa.Instruction, tiles: TileProgram, hw: Hardware) -> float:
    """How long one instruction takes."""
    return sum(term.ns for term in terms(i, tiles, hw))


def terms(i: isa.Instruction, tiles: TileProgram, hw: Hardware) -> list[Term]:
    """The terms whose sum is its duration, without those of 0."""
    return [term for term in _terms(i, tiles, hw) if term.ns]


def _terms(i: isa.Instruction, tiles: TileProgram, hw: Hardware) -> list[Term]:
    match i:
        case isa.Drive():
            return _drive(i, tiles.banks[i.bank].waves * hw.array.phases, hw)
        case isa.Integrate():
            times = tiles.banks[i.bank].waves * hw.array.phases
            return [_times(times, "product", hw.array.read_latency_ns.value, "array.read_latency_ns")]
        case isa.Convert() | isa.ConvertQuantize():
            return _convert(i, tiles, hw)
        case isa.Accumulate():
            return [_times(1, "shift-add", hw.shift_add.latency_ns.value, "shift_add.latency_ns")]
        case isa.ReadOut() | isa.Update():
            return [_cycles(1, "register", hw)]
    operations = sum(charge.count for charge in charges(i, tiles, hw) if charge.component in LANE_WORK)
    return [_cycles(-(-operations // hw.digital.lanes), f"{operations} operations", hw)]


def _drive(i: isa.Drive, times: int, hw: Hardware) -> list[Term]:
    pulses = times * pulse_steps(i.width, hw)
    sampled = times * samplings(i.width, hw)
    return [
        _times(times, "set-up", hw.dac.latency_ns.value, "dac.latency_ns"),
        _times(pulses, "pulse", hw.dac.pulse_ns.value, "dac.pulse_ns"),
        _times(sampled, "sampling", hw.dac.phase_ns.value, "dac.phase_ns"),
    ]


def _convert(i: isa.Convert | isa.ConvertQuantize, tiles: TileProgram, hw: Hardware) -> list[Term]:
    """Conversions of the busiest converter, one after the other."""
    bank, piece = tiles.banks[i.bank], i.slice if isinstance(i, isa.Convert) else 0
    count = busiest_converter(bank, piece, hw) * hw.array.phases
    steps = count * conversion_steps(converted_bits(i), tiles.drive_widths[i.bank], hw)
    each = NS_PER_US / hw.adc.rate_msps.value
    rate = Term(
        f"{count} conversions at {hw.adc.rate_msps.value:g} MS/s",
        count * each,
        ("adc.rate_msps", "adc.columns_per_adc"),
    )
    return [rate, _times(steps, "step", hw.adc.step_ns.value, "adc.step_ns")]


def _times(count: int, what: str, ns: float, key: str) -> Term:
    return Term(f"{count} {what} x {ns:g} ns", count * ns, (key,))


def _cycles(count: int, what: str, hw: Hardware) -> Term:
    cycle = NS_PER_US / hw.digital.clock_mhz.value
    return Term(f"{what}: {count} clocks x {cycle:g} ns", count * cycle, ("digital.clock_mhz", "digital.lanes"))


def busiest_converter(bank: Bank, piece: int, hw: Hardware) -> int:
    """Conversions, one after the other, of the converter with most outputs of one slice, waves one by one."""
    key = piece, hw.adcs_per_array, hw.cells_per_code
    if key not in bank.busiest:
        bank.busiest[key] = _busiest(bank, piece, hw)
    return bank.busiest[key]


def _busiest(bank: Bank, piece: int, hw: Hardware) -> int:
    held, place = bank.seats
    on = bank.columns[:, piece]
    column, wave, array = np.array([(tile.column, tile.wave, tile.array) for tile in bank.tiles]).T
    tile = held[on]
    converter = converter_of(place[on], piece, len(bank.gains), hw, column[tile])
    loads = np.zeros((wave.max() + 1, np.ptp(array) + 1, hw.adcs_per_array), np.int64)
    np.add.at(loads, (wave[tile], array[tile] - array.min(), converter), 1)
    return int(loads.max((1, 2)).sum())
