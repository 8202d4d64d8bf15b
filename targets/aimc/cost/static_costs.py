"""Costs of a program that do not belong to a step: writing the cells once, and leakage while it is on.

    programming:  cells x cell.write_energy_pj;  cells / cell.write_parallel x cell.write_ns, one array after the other
    leakage:      arrays x array.leakage_uw + digital.leakage_uw + instances x power_uw of the file's own components

A step leaks that power for its initiation interval.

A key missing from the hardware file omits the figure; it is not reported as zero.
"""

from __future__ import annotations

from dataclasses import dataclass

from ssmc.hardware.components import Quantity
from ssmc.hardware.custom import key_of
from ssmc.hardware.model import Hardware
from ssmc.targets.aimc.lowering.mapping import Bank
from ssmc.targets.aimc.tiles.instructions import TileProgram

ENDS = ("low", "nominal", "high")
PJ_PER_UW_NS = 1e-3


@dataclass(frozen=True)
class Share:
    """``count`` times a key: low, nominal, high in picojoule or microwatt."""

    op: str
    count: int
    key: str
    low: float
    nominal: float
    high: float


def programming(tiles: TileProgram, hw: Hardware) -> tuple[Share, ...]:
    """Energy of writing every bank."""
    key = "cell.write_energy_pj"
    if not hw.quantity(key).high:
        return ()
    return tuple(_share(bank.op, written_cells(bank, hw), key, hw) for bank in tiles.banks.values())


def programming_ns(tiles: TileProgram, hw: Hardware) -> float:
    """Time of writing every bank."""
    cells = sum(-(-written_cells(bank, hw) // hw.cell.write_parallel) for bank in tiles.banks.values())
    return cells * hw.cell.write_ns.value


def written_cells(bank: Bank, hw: Hardware) -> int:
    """Cells of its blocks, and of the reference column of every array."""
    return bank.cells_used(hw)


def leakage(tiles: TileProgram, hw: Hardware) -> tuple[Share, ...]:
    """Power of the arrays in use, of the digital unit, and of the file's own components."""
    own = [
        (1 if one.on == "chip" else tiles.arrays * hw.per_array(one.on), key_of(one.name, "power_uw"))
        for one in hw.customs
        if one.power_uw and one.on
    ]
    parts = ((tiles.arrays, "array.leakage_uw"), (1, "digital.leakage_uw"), *own)
    return tuple(_share("(chip)", count, key, hw) for count, key in parts if hw.quantity(key).high)


def _share(op: str, count: int, key: str, hw: Hardware) -> Share:
    each: Quantity = hw.quantity(key)
    return Share(op, count, key, count * each.low, count * each.value, count * each.high)


def total(shares: tuple[Share, ...]) -> dict[str, float]:
    """Their sum."""
    return {end: sum(getattr(share, end) for share in shares) for end in sorted(ENDS)}


def leaked_pj(shares: tuple[Share, ...], ns: float) -> dict[str, float]:
    """Energy that leaks during a number of nanoseconds."""
    return {end: uw * ns * PJ_PER_UW_NS for end, uw in total(shares).items()}
