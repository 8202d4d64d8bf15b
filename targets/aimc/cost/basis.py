"""What the figures of a cost rest on: how far assumed keys carry them, and how fast they are at best and at worst."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Literal

from ssmc.hardware.components import Quantity
from ssmc.hardware.model import Hardware, sections
from ssmc.targets.aimc.cost.area import Area
from ssmc.targets.aimc.cost.durations import terms
from ssmc.targets.aimc.cost.schedule import Timing
from ssmc.targets.aimc.tiles import instructions as isa
from ssmc.targets.aimc.tiles.instructions import TileProgram

#: times end in ``_ns``: the low end is fast; of these the high one is
RATES = ("adc.rate_msps", "digital.clock_mhz")


def at_pace(hw: Hardware, pace: Literal["fast", "slow"]) -> Hardware:
    """The hardware with every time and rate at the end of its interval that makes it fastest, or slowest."""
    tables = {}
    for section in sections():
        table = getattr(hw, section)
        changes = {
            field.name: replace(value, value=_end(value, pace))
            for field in fields(table)
            if isinstance(value := getattr(table, field.name), Quantity) and _is_time(value.key)
        }
        tables[section] = replace(table, **changes)
    return replace(hw, **tables)


def _is_time(key: str) -> bool:
    return key in RATES or key.endswith("_ns")


def _end(quantity: Quantity, pace: str) -> float:
    return quantity.low if (pace == "fast") != (quantity.key in RATES) else quantity.high


def assumed_share(parts: Iterable[tuple[float, tuple[str, ...]]], hw: Hardware) -> float:
    """Share of a sum whose parts rest on a key that is assumed.

    Args:
        parts: (value, keys that enter it) of every part.
        hw: whose origins say where the keys are from.
    """
    total = assumed = 0.0
    for value, keys in parts:
        total += value
        if any(hw.origins[key].startswith("assumed") for key in keys):
            assumed += value
    return assumed / total if total else 0.0


def area_parts(found: Iterable[Area]) -> Iterable[tuple[float, tuple[str, ...]]]:
    """The parts of an area."""
    return ((area.nominal, (area.key,)) for area in found)


def latency_parts(
    timing: Timing, code: tuple[isa.Instruction, ...], tiles: TileProgram, hw: Hardware
) -> Iterable[tuple[float, tuple[str, ...]]]:
    """The parts of a latency, with the keys that are times: a number of columns or lanes is no figure."""
    for k in timing.positions:
        for term in terms(code[k], tiles, hw):
            yield term.ns, tuple(key for key in term.keys if _is_time(key))
