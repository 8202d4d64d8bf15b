"""What the schedule means for a stream of samples: margin, limit, and what one more converter would buy."""

from __future__ import annotations

from dataclasses import replace

from ssmc.hardware.model import Hardware
from ssmc.targets.aimc.cost.area import areas
from ssmc.targets.aimc.cost.explain import explain
from ssmc.targets.aimc.cost.schedule import schedule
from ssmc.targets.aimc.cost.static_costs import leakage, total
from ssmc.targets.aimc.cost.totals import Cost
from ssmc.targets.base import Json


def real_time(found: Cost, steps_per_s: float) -> Json:
    """How many times faster than the samples the program runs; below 1 it cannot keep up. Latency in samples too.

    Power: of the steps at that rate, and the leakage that the hardware file knows.
    """
    timing = found.step_timing
    interval, period = timing.initiation_interval_ns, 1e9 / steps_per_s
    leaks = total(leakage(found.tiles, found.hardware))["nominal"]
    return {
        "keeps_up": interval <= period,
        "latency_samples": timing.latency_ns / period,
        "limited_by": timing.limited_by,
        "margin": period / interval if interval else float("inf"),
        "leakage_uw": leaks,
        "power_uw": found.step_energy_pj * steps_per_s * 1e-6 + leaks,
        "steps_per_s": steps_per_s,
    }


def limit(found: Cost) -> Json:
    """The loop or resource that sets the pace, instruction by instruction."""
    stages = [
        {"how": row.how, "instruction": row.instruction, "ns": row.nominal, "op": row.op}
        for row in explain(found, "initiation_interval_ns")
    ]
    return {"limited_by": found.step_timing.limited_by, "stages": stages}


def one_more_adc(found: Cost) -> Json:
    """The same program with one converter more in every array: steps a second gained, area paid. Energy stays."""
    hw = found.hardware
    more = with_adcs(hw, hw.adcs_per_array + 1)
    before, after = found.step_timing, schedule(found.tiles.per_step, found.tiles, more)
    grown = sum(a.nominal for a in areas(found.tiles, more)) - sum(a.nominal for a in found.areas)
    fast, slow = after.initiation_interval_ns, before.initiation_interval_ns
    return {
        "adcs_per_array": more.adcs_per_array,
        "area_added_um2": grown,
        "limited_by": after.limited_by,
        "max_steps_per_s": 1e9 / fast if fast else 0.0,
        "times_faster": slow / fast if fast else 1.0,
    }


def with_adcs(hw: Hardware, count: int) -> Hardware:
    """The hardware with at least so many converters an array, evenly shared; as it is where every output has one."""
    shared = max(-(-hw.array.columns // count), hw.cells_per_code)
    return replace(hw, adc=replace(hw.adc, columns_per_adc=min(shared, hw.adc.columns_per_adc)))
