"""The same program three ways: fused kernels, unfused kernels (two crossbar operations), all digital."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ssmc.errors import SsmcError
from ssmc.hardware.model import Hardware
from ssmc.ir.matrix import Matrix
from ssmc.ir.operations import AnyOp, StateSpace
from ssmc.ir.program import Program
from ssmc.targets.aimc.cost.totals import cost
from ssmc.targets.aimc.lowering.partial_sums import Lowered, Place, lower
from ssmc.targets.aimc.tiles.assemble import assemble
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


def compare(program: Program, hardware: Hardware, steps: int = 1) -> Json:
    """Costs of the fused, the unfused and the digital placement, side by side.

    A variant that does not fit the hardware is ``{"refused": why}``.
    """
    return {
        "digital": _variant(program, hardware, "digital", steps),
        "fused": _variant(program, hardware, "analog", steps),
        "unfused": _variant(unfuse(program), hardware, "analog", steps),
    }


def _variant(program: Program, hardware: Hardware, place: Place, steps: int) -> Json:
    try:
        lowered = lower(program, hardware, place)
        full = cost(assemble(lowered, hardware), hardware).to_json(steps)
    except SsmcError as cause:
        return {"refused": str(cause)}
    return figures_of(full, lowered)


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
