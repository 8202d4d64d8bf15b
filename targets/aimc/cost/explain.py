"""Where a cost figure comes from: instruction, how often, which key of the hardware file, and where that is from.

The rows of a figure add up to it: they are the charges the cost is made of, one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ssmc.errors import UsageError
from ssmc.targets.aimc.cost.activity import Span
from ssmc.targets.aimc.cost.area import CHIP
from ssmc.targets.aimc.cost.durations import duration_ns, terms
from ssmc.targets.aimc.cost.energy_events import charges, step_charges
from ssmc.targets.aimc.cost.schedule import dataflow, loop_paths, resources, sites_of
from ssmc.targets.aimc.cost.static_costs import leakage, programming
from ssmc.targets.aimc.cost.totals import BITS, Cost
from ssmc.targets.aimc.tiles import instructions as isa

COUNTED = {
    "adc_conversions": ("adc",),
    "cell_reads": ("array",),
    "dac_drives": ("dac",),
    "digital_macs": ("mac",),
    "memory_bits": BITS,
}
STANDING = {"leakage_uw": leakage, "programming_energy_pj": programming}
METRICS = ("energy_pj", "area_um2", "latency_ns", "initiation_interval_ns", "max_steps_per_s", *STANDING, *COUNTED)


@dataclass(frozen=True)
class Row:
    """One contribution.

    Attributes:
        op, instruction: whose it is.
        how: ``count x value``, in words.
        low, nominal, high: the contribution, in the metric's unit.
        keys: keys of the hardware file.
        origins: where each of them is from.
    """

    op: str
    instruction: str
    how: str
    low: float
    nominal: float
    high: float
    keys: tuple[str, ...]
    origins: tuple[str, ...]


def explain(found: Cost, metric: str, steps: int = 1, op: str = "") -> tuple[Row, ...]:
    """Contributions to a metric of one inference of ``steps`` steps, largest first; times in order.

    Args:
        found: of the program.
        metric: one of `METRICS`, or a key such as ``adc.energy_pj`` for everything priced by it.
        steps: of the inference; latency, interval and steps a second are those of one step.
        op: only this op's.

    Raises:
        UsageError: SSMC-U13 for another metric.
    """
    match metric:
        case "latency_ns" | "initiation_interval_ns" | "max_steps_per_s":
            rows = list(_timed(found, metric))
        case "area_um2":
            rows = _ranked(_areas(found))
        case "energy_pj":
            rows = _ranked(_charged(found, steps))
        case _ if metric in STANDING:
            rows = _ranked(_stands(found, metric))
        case _ if metric in COUNTED:
            rows = _ranked(_counted(found, steps, COUNTED[metric]))
        case _ if metric in found.hardware.origins:
            rows = _ranked(r for r in (*_charged(found, steps), *_areas(found)) if metric in r.keys)
        case _:
            fact = f"no figure is called '{metric}'"
            raise UsageError("SSMC-U13", fact, f"use one of {', '.join(METRICS)}, or a key such as adc.energy_pj")
    return tuple(row for row in rows if not op or row.op == op)


def _ranked(rows: Iterator[Row]) -> list[Row]:
    return sorted(rows, key=lambda r: (-r.nominal, r.op, r.instruction, r.keys))


def _origins(found: Cost, *keys: str) -> tuple[str, ...]:
    return tuple(found.hardware.origins[key] for key in keys)


def _lists(found: Cost, steps: int) -> Iterator[tuple[isa.Instruction, int]]:
    """Every instruction with how often an inference runs it."""
    rates = found.rates(steps)
    yield from ((i, rates[i.op]) for i in found.tiles.per_step)
    yield from ((i, 1) for i in found.tiles.per_sequence)


Slot = tuple[str, str, str, str, float, Span]


def _events(found: Cost, steps: int) -> dict[Slot, int]:
    """(op, instruction, unit, key, scale, spread) to events of an inference."""
    counts: dict[Slot, int] = {}
    for i, times in _lists(found, steps):
        for c in charges(i, found.tiles, found.hardware, found.factors):
            slot = i.op, type(i).__name__, c.unit, c.key, c.scale, c.spread
            counts[slot] = counts.get(slot, 0) + c.count * times
    for c in step_charges(found.hardware):
        counts[CHIP, "(step)", c.unit, c.key, c.scale, c.spread] = c.count * steps
    return counts


def _charged(found: Cost, steps: int) -> Iterator[Row]:
    for (op, instruction, unit, key, scale, spread), count in _events(found, steps).items():
        each = found.hardware.quantity(key)
        values = zip((each.low, each.value, each.high), spread, strict=True)
        low, nominal, high = (count * scale * value * factor for value, factor in values)
        by = "" if scale * spread[1] == 1 else f" x {scale * spread[1]:g}"
        how = f"{count} {unit} x {each.value:g}{by}"
        yield Row(op, instruction, how, low, nominal, high, (key,), _origins(found, key))


def _counted(found: Cost, steps: int, components: tuple[str, ...]) -> Iterator[Row]:
    counts: dict[tuple[str, str, str], int] = {}
    for i, times in _lists(found, steps):
        for c in charges(i, found.tiles, found.hardware, found.factors):
            if c.component in components:
                slot = i.op, type(i).__name__, c.unit
                counts[slot] = counts.get(slot, 0) + c.count * times
    for (op, instruction, unit), count in counts.items():
        yield Row(op, instruction, f"{count} {unit}", count, count, count, (), ())


def _stands(found: Cost, metric: str) -> Iterator[Row]:
    instruction = {"leakage_uw": "(leakage)", "programming_energy_pj": isa.ProgramArray.__name__}[metric]
    for share in STANDING[metric](found.tiles, found.hardware):
        how = f"{share.count} x {found.hardware.quantity(share.key).value:g}"
        origins = _origins(found, share.key)
        yield Row(share.op, instruction, how, share.low, share.nominal, share.high, (share.key,), origins)


def _areas(found: Cost) -> Iterator[Row]:
    for a in found.areas:
        each = found.hardware.quantity(a.key)
        how = f"{a.count} x {each.value:g}"
        yield Row(a.op, a.component, how, a.low, a.nominal, a.high, (a.key,), _origins(found, a.key))


def _timed(found: Cost, metric: str) -> Iterator[Row]:
    """The instructions whose durations add up to the latency, or to the loop or occupancy that limits."""
    tiles, hw = found.tiles, found.hardware
    code = tiles.per_step
    for k in _critical(found) if metric == "latency_ns" else _limiting(found):
        ns = duration_ns(code[k], tiles, hw)
        parts = terms(code[k], tiles, hw)
        keys = tuple(dict.fromkeys(key for part in parts for key in part.keys))
        how = " + ".join(part.how for part in parts)
        if ns:
            yield Row(code[k].op, type(code[k]).__name__, how, ns, ns, ns, keys, _origins(found, *keys))


def _critical(found: Cost) -> list[int]:
    """Positions on the critical path, as `schedule` finds it."""
    return list(found.step_timing.positions)


def _limiting(found: Cost) -> list[int]:
    """Positions of the instructions in the limiting loop, or on the limiting resource."""
    code, tiles, hw = found.tiles.per_step, found.tiles, found.hardware
    ns, sites = [duration_ns(i, tiles, hw) for i in code], sites_of(tiles.banks)
    limit = found.step_timing.limited_by
    if limit.startswith("loop of "):
        return loop_paths(code, dataflow(code, sites), ns)[limit.removeprefix("loop of ")]
    return [k for k, i in enumerate(code) if limit in resources(i, ns[k], sites)]
