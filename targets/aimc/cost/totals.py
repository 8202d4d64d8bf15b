"""Costs of a tile program: every figure is a count of executed instructions times a key of the hardware file.

Per step is one pass over the per-step list; per sequence is T such passes and one over the per-sequence list. What
runs at a lower rate, once every k steps, counts a k-th per step; the worst step is the one at which all of it runs.
Latency, initiation interval and totals are three kinds of number and are never multiplied into each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any

import numpy as np

from ssmc.hardware.model import Hardware
from ssmc.hardware.not_modelled import costs_not_modelled, effects_not_modelled
from ssmc.ir.rates import period, seen_at_end
from ssmc.targets.aimc.cost.activity import Factors, Span, expected
from ssmc.targets.aimc.cost.area import CHIP, Area, areas
from ssmc.targets.aimc.cost.basis import area_parts, assumed_share, at_pace, latency_parts
from ssmc.targets.aimc.cost.energy_events import Charge, charges, step_charges
from ssmc.targets.aimc.cost.schedule import Timing, schedule
from ssmc.targets.aimc.cost.static_costs import leakage, leaked_pj, programming, programming_ns, total
from ssmc.targets.aimc.tiles import instructions as isa
from ssmc.targets.aimc.tiles.instructions import TileProgram
from ssmc.targets.base import Json

SCHEMA = "ssmc.cost.aimc/1"
BITS = ("register", "buffer", "weights")


@dataclass(frozen=True)
class Line:
    """Events of one component for one op, in one pass over a list.

    Attributes:
        op, component, unit, key: as in `ssmc.targets.aimc.cost.energy_events.Charge`.
        count: events.
        bits: events times converted bits for converters, else 0.
        low, nominal, high: picojoule.
    """

    op: str
    component: str
    unit: str
    key: str
    count: int
    bits: int
    low: float
    nominal: float
    high: float


@dataclass(frozen=True)
class Cost:
    """Everything that is charged for a tile program on its hardware; ``factors``: what data decide, by bank."""

    hardware: Hardware
    tiles: TileProgram
    per_step: tuple[Line, ...]
    finish: tuple[Line, ...]
    areas: tuple[Area, ...]
    step_timing: Timing
    finish_timing: Timing
    factors: Mapping[str, Factors]

    def rates(self, steps: int) -> dict[str, int]:
        """How often the instructions of each op run in a sequence of ``steps`` steps, those of the list of a step."""
        ops = dict.fromkeys(i.op for i in self.tiles.per_step)
        return {CHIP: steps, **{op: int(seen_at_end(self.tiles.clocks.get(op, ()), np.array(steps))) for op in ops}}

    @property
    def step_energy_pj(self) -> float:
        """Nominal energy per step of the input, in the mean."""
        return sum(line.nominal / period(self.tiles.clocks.get(line.op, ())) for line in self.per_step)

    def to_json(self, steps: int) -> Json:
        """Costs of one inference of ``steps`` steps: key-sorted plain numbers, units in the keys."""
        data: Json = _json(self, steps)
        return data

    def headline(self, steps: int) -> Json:
        """Those of `to_json` that are compared between programs."""
        data: Json = key_sorted(_headline(self, steps))
        return data


def cost(tiles: TileProgram, hw: Hardware, measured: Mapping[str, Factors] | None = None) -> Cost:
    """Charge every instruction; ``measured``: factors of the data at hand, else `expected`."""
    factors = {name: expected(bank, hw) for name, bank in tiles.banks.items()} if measured is None else measured
    return Cost(
        hw,
        tiles,
        lines(tiles.per_step, tiles, hw, factors, step_charges(hw)),
        lines(tiles.per_sequence, tiles, hw, factors),
        tuple(areas(tiles, hw)),
        schedule(tiles.per_step, tiles, hw),
        schedule(_at_the_end(tiles), tiles, hw),
        factors,
    )


def _at_the_end(tiles: TileProgram) -> tuple[isa.Instruction, ...]:
    """The per-sequence list, and before it the lower rates, where a group may be incomplete."""
    if not any(isinstance(i, isa.Group) and i.operation.group.rest for i in tiles.per_step):
        return tiles.per_sequence
    slower = (i for i in tiles.per_step if i.op in tiles.clocks or isinstance(i, isa.Group))
    return (*slower, *tiles.per_sequence)


def lines(
    code: Iterable[isa.Instruction],
    tiles: TileProgram,
    hw: Hardware,
    factors: Mapping[str, Factors],
    once: Iterable[Charge] = (),
) -> tuple[Line, ...]:
    """Charges of one pass, those of no instruction ``once``, summed per op, component and key."""
    counts: dict[tuple[str, str, str, str, float, Span], int] = {}
    every = chain(((i.op, charges(i, tiles, hw, factors)) for i in code), [(CHIP, once)])
    for op, found in every:
        for charge in found:
            slot = (op, charge.component, charge.unit, charge.key, charge.scale, charge.spread)
            counts[slot] = counts.get(slot, 0) + charge.count
    out = []
    for (op, component, unit, key, scale, spread), count in counts.items():
        each, bits = hw.quantity(key), count * hw.adc.bits if component == "adc" else 0
        values = zip((each.low, each.value, each.high), spread, strict=True)
        out.append(Line(op, component, unit, key, count, bits, *(count * scale * v * factor for v, factor in values)))
    return tuple(out)


def _json(c: Cost, steps: int) -> Any:
    worst = _totals([(line, 1) for line in c.per_step]) if c.tiles.clocks else {}
    data = {
        **_headline(c, steps),
        **{f"worst_step_{key}": value for key, value in worst.items()},
        "schema": SCHEMA,
        "hardware": c.hardware.name,
        "steps": steps,
        "assumed_share": _assumed(c),
        "not_modelled": {
            "costs": list(costs_not_modelled(c.hardware)),
            "noise": list(effects_not_modelled(c.hardware)),
        },
        "feedback_loops_ns": dict(sorted(c.step_timing.loops_ns.items())),
        "occupancy_ns": c.step_timing.occupancy_ns,
        "critical_path": _path(c.step_timing),
        "components": _components(c, steps),
        **_standing(c, steps),
    }
    return key_sorted(data)


def _headline(c: Cost, steps: int) -> Json:
    """Totals, arrays, area and times: what is compared between programs."""
    every, rates = c.tiles.clocks, c.rates(steps)
    counts = {
        "per_step": _totals([(line, 1 / period(every[line.op]) if line.op in every else 1) for line in c.per_step]),
        "per_sequence": _totals([*((line, rates[line.op]) for line in c.per_step), *((line, 1) for line in c.finish)]),
    }
    return {
        **{key: {span: totals[key] for span, totals in counts.items()} for key in counts["per_step"]},
        **_allocation(c),
        "area_um2": _interval(c.areas),
        **_times(c),
        "limited_by": c.step_timing.limited_by,
    }


def _times(c: Cost) -> Json:
    """Latency, interval and pace: nominal, and with every time of the file at its fast or its slow end."""
    ends = {"nominal": (c.step_timing, c.finish_timing)}
    for name, pace in (("low", "fast"), ("high", "slow")):
        hw = at_pace(c.hardware, pace)  # type: ignore[arg-type]
        ends[name] = schedule(c.tiles.per_step, c.tiles, hw), schedule(_at_the_end(c.tiles), c.tiles, hw)
    interval = {name: step.initiation_interval_ns for name, (step, _) in ends.items()}
    slowest = {"low": "high", "nominal": "nominal", "high": "low"}
    return {
        "initiation_interval_ns": interval,
        "latency_ns": {
            "finish": {name: finish.latency_ns for name, (_, finish) in ends.items()},
            "per_step": {name: step.latency_ns for name, (step, _) in ends.items()},
        },
        "max_steps_per_s": {name: 1e9 / interval[of] if interval[of] else 0.0 for name, of in slowest.items()},
    }


def _assumed(c: Cost) -> Json:
    """Share of each nominal figure that rests on a key without a source."""
    energies = [(line.nominal / period(c.tiles.clocks.get(line.op, ())), (line.key,)) for line in c.per_step]
    times = latency_parts(c.step_timing, c.tiles.per_step, c.tiles, c.hardware)
    return {
        "area_um2": assumed_share(area_parts(c.areas), c.hardware),
        "energy_pj": assumed_share(energies, c.hardware),
        "latency_ns": assumed_share(times, c.hardware),
    }


def _standing(c: Cost, steps: int) -> Json:
    """Programming and leakage, where the hardware file has them; leakage of a step at the highest pace."""
    found: Json = {}
    written, leaks = programming(c.tiles, c.hardware), leakage(c.tiles, c.hardware)
    if written:
        found["programming_energy_pj"] = total(written)
    if c.hardware.cell.write_ns.value:
        found["programming_ns"] = programming_ns(c.tiles, c.hardware)
    if leaks:
        step = c.step_timing.initiation_interval_ns
        inference = steps * step + c.finish_timing.latency_ns
        found["leakage_uw"] = total(leaks)
        found["leakage_energy_pj"] = {"per_step": leaked_pj(leaks, step), "per_sequence": leaked_pj(leaks, inference)}
    return found


def key_sorted(data: Any) -> Any:
    """The same JSON with the keys of every object in order."""
    if isinstance(data, dict):
        return {key: key_sorted(data[key]) for key in sorted(data)}
    return [key_sorted(item) for item in data] if isinstance(data, list) else data


def _path(timing: Timing) -> list[Json]:
    """The critical path, runs of the same instruction of an op taken together."""
    runs = [(key, list(run)) for key, run in groupby(timing.path, key=lambda s: (s.op, s.instruction))]
    return [
        {"count": len(run), "instruction": name, "ns": sum(s.ns for s in run), "op": op} for (op, name), run in runs
    ]


def _totals(lines: Sequence[tuple[Line, float]]) -> Json:
    """Sums of the figures of lines, each times how often it counts."""

    def total(components: tuple[str, ...], field: str) -> float:
        found: float = sum(times * getattr(line, field) for line, times in lines if line.component in components)
        return found

    every = tuple({line.component for line, _ in lines})
    return {
        "energy_pj": {name: total(every, name) for name in ("high", "low", "nominal")},
        "adc_conversions": total(("adc",), "count"),
        "adc_conversion_bits": total(("adc",), "bits"),
        "dac_drives": total(("dac",), "count"),
        "cell_reads": total(("array",), "count"),
        "digital_macs": total(("mac",), "count"),
        "memory_bits": total(BITS, "count"),
    }


def _allocation(c: Cost) -> Json:
    banks, hw = c.tiles.banks.values(), c.hardware
    used = sum(bank.cells_used(hw) for bank in banks)
    allocated = c.tiles.arrays * hw.array.rows * hw.array.columns
    return {
        "arrays": c.tiles.arrays,
        "cells_allocated": allocated,
        "cells_used": used,
        "cells_nonzero": int(sum(np.count_nonzero(bank.codes) for bank in banks)),
        "utilisation": used / allocated if allocated else 0.0,
    }


def _interval(found: Iterable[Area]) -> Json:
    found = list(found)
    return {name: sum(getattr(area, name) for area in found) for name in ("high", "low", "nominal")}


def _components(c: Cost, steps: int) -> list[Json]:
    """One row per op and component: counts per step and sequence, energy of the sequence, area."""
    rows: dict[tuple[str, str], Json] = {}
    rates = c.rates(steps)
    for line, times, per_step in [*((x, rates[x.op], True) for x in c.per_step), *((x, 1, False) for x in c.finish)]:
        row = rows.setdefault((line.op, line.component), _row(line.op, line.component))
        row.update(unit=line.unit, energy_key=line.key)
        row["count_per_step"] += line.count if per_step else 0
        row["count"] += line.count * times
        for name in ("low", "nominal", "high"):
            row[f"energy_pj_{name}"] += getattr(line, name) * times
    for area in c.areas:
        row = rows.setdefault((area.op, area.component), _row(area.op, area.component))
        row.update(area_um2=row["area_um2"] + area.nominal, area_key=area.key, instances=row["instances"] + area.count)
    order = [*dict.fromkeys(i.op for i in (*c.tiles.per_step, *c.tiles.per_sequence)), CHIP]
    ranked = sorted(rows.items(), key=lambda item: (order.index(item[0][0]), item[0][1]))
    return [row for _, row in ranked]


def _row(op: str, component: str) -> Json:
    energies = {f"energy_pj_{name}": 0.0 for name in ("low", "nominal", "high")}
    keys = {"unit": "", "energy_key": "", "area_key": ""}
    return (
        {"op": op, "component": component, "count": 0, "count_per_step": 0, "instances": 0, "area_um2": 0.0}
        | energies
        | keys
    )
