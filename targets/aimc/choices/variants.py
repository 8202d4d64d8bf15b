"""The same program three ways: fused kernels, unfused kernels (two crossbar operations), all digital."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ssmc.errors import SsmcError
from ssmc.ir.matrix import Matrix
from ssmc.ir.operations import AnyOp, StateSpace
from ssmc.ir.program import Program
from ssmc.targets.aimc.choices.candidates import Candidates
from ssmc.targets.aimc.lowering.partial_sums import Lowered, Place, matrices
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
    """Costs of the fused, the unfused and the digital placement, one block an array; of 0 steps, see `at_steps`.

    A variant that does not fit the hardware is ``{"refused": why}``.
    """
    unfused = Candidates(unfuse(candidates.program), candidates.hardware)
    return {
        "digital": _variant(candidates, "digital"),
        "fused": _variant(candidates, "analog"),
        "unfused": _variant(unfused, "analog"),
    }


def _variant(candidates: Candidates, place: Place) -> Json:
    places = {name: place for op in candidates.program.ops for name, _, _ in matrices(op)}
    try:
        placed = candidates.placed(places)
        return figures_of(placed.cost.to_json(0), placed.lowered)
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


def unfuse(program: Program) -> Program:
    """Every fused kernel as two crossbar operations: ``[A | B]`` and ``[C | D]`` in arrays of their own."""
    return replace(program, ops=tuple(_unfuse(op) for op in program.ops))


def _unfuse(op: AnyOp) -> AnyOp:
    if not isinstance(op, StateSpace) or op.output_matrix is not None:
        return op
    n, codes = op.n_state, op.matrix.codes
    index = np.arange(len(op.requant)).reshape(codes.shape[:2])
    return replace(
        op,
        matrix=Matrix(codes[:, :n]),
        requant=op.requant.take(index[:, :n].ravel()),
        output_matrix=Matrix(codes[:, n:]),
        output_requant=op.requant.take(index[:, n:].ravel()),
    )
