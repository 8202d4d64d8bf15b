"""The same program in every placement of its kernels: fused, in two operations, poles, states or all digital."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ssmc.errors import SsmcError
from ssmc.targets.aimc.choices.candidates import Candidates
from ssmc.targets.aimc.lowering.kernel_places import PLACES, Place, places_of
from ssmc.targets.aimc.lowering.partial_sums import Lowered
from ssmc.targets.base import Json

SHOWN = (
    "adc_conversion_bits",
    "adc_conversions",
    "area_um2",
    "arrays",
    "cell_reads",
    "dac_drives",
    "digital_macs",
    "energy_pj",
    "initiation_interval_ns",
    "latency_ns",
    "limited_by",
    "max_steps_per_s",
    "memory_bits",
    "utilisation",
)


def compare(candidates: Candidates) -> dict[str, Json]:
    """Costs of every placement of all kernels, one block an array; of 0 steps, see `at_steps`.

    The other matrices are analog, except in ``digital``. A variant that does not fit the hardware is
    ``{"refused": why}``; one that names no other program than ``analog`` is left out.
    """
    ops = [op for op in candidates.program.ops if op.matrices()]
    offered = {place for op in ops for place in places_of(op)}
    return {place: _variant(candidates, place) for place in PLACES if place in offered}


def _variant(candidates: Candidates, place: Place) -> Json:
    places = {op.name: place for op in candidates.program.ops if op.matrices()}
    try:
        placed = candidates.placed(places)
        return figures_of(placed.cost.headline(0), placed.lowered)
    except SsmcError as cause:
        return {"refused": str(cause)}


def at_steps(variants: Mapping[str, Json], steps: int) -> Json:
    """The same figures for an inference of ``steps`` steps."""
    return {
        name: {key: _at(value, steps) if key in SHOWN else value for key, value in figures.items()}
        for name, figures in variants.items()
    }


def _at(figure: Any, steps: int) -> Any:
    """Per sequence: ``steps`` times what a step takes, and once what the end of a sequence takes."""
    if not isinstance(figure, dict) or "per_sequence" not in figure:
        return figure
    each, once = figure["per_step"], figure["per_sequence"]
    if isinstance(each, dict):
        return {"per_sequence": {key: steps * each[key] + once[key] for key in each}, "per_step": each}
    return {"per_sequence": steps * each + once, "per_step": each}


def figures_of(full: Json, lowered: Lowered) -> Json:
    """What is shown of one variant."""
    kinds = {name: plan.kind for name, plan in sorted(lowered.plans.items())}
    return {**{key: full[key] for key in SHOWN}, "conversions": kinds}
