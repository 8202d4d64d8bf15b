"""The converters of lowered matrices as constants of a graph node, so that reading them gives the same rationals."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import numpy as np

from ssmc.ir.parts import Constants, parts_to_constants
from ssmc.ir.requant import Requant
from ssmc.ir.rounding import FloatArray
from ssmc.targets.aimc.lowering.conversion_plan import MatrixPlan


def lowered_constants(plan: MatrixPlan, node: Mapping[str, FloatArray], suffix: str) -> Constants:
    """What a node needs to evaluate a plan's matrix, by input name.

    Args:
        plan: of the matrix.
        node: constants of the node before, with the quantizer's gain, step and offset.
        suffix: ``_y`` for the second matrix of a kernel.
    """
    matrix = plan.matrix
    if matrix.converter is None:
        return parts_to_constants(matrix, suffix)
    shape, size = (matrix.groups, matrix.outputs), matrix.groups * matrix.outputs
    given = {key: np.broadcast_to(node[f"{key}{suffix}"].ravel(), (size,)) for key in ("gain", "step", "offset")}
    columns = [
        _column(matrix.converter, plan.requant, plan.exact, k, *(float(given[key][k]) for key in given))
        for k in range(size)
    ]
    numbers = np.array(columns).T
    names = ("part_gain", "part_step", "part_offset", "worth")
    converter = {key: row.reshape(shape) for key, row in zip(names, numbers, strict=False)}
    behind = {f"{key}{suffix}": row.reshape(shape) for key, row in zip(given, numbers[4:], strict=True)}
    if f"W{suffix}" in node and node[f"W{suffix}"].ndim == 2:  # a Linear node: one group
        behind = {key: row.ravel() for key, row in behind.items()}
    return parts_to_constants(matrix, suffix, converter) | behind


def _column(
    converter: Requant, requant: Requant, exact: Requant, k: int, gain: float, step: float, offset: float
) -> tuple[float, ...]:
    """Gain, step, offset of the converter, accumulator units that its code is worth; gain, step, offset behind it.

    Either the code counts steps of the quantizer, or accumulator units: then the quantizer behind it stays as it is.
    """
    unit = 1 / converter.ratio[k] if converter.ratio[k] else Fraction(0)
    if not converter.bias[k] and requant.bias[k] == exact.bias[k] and unit and Fraction(float(unit)) == unit:
        return 1.0, float(unit), 0.0, float(unit), gain, step, offset
    coarser = float(requant.ratio[k])
    moved = offset / coarser if converter.bias[k] else 0.0
    return gain, step * coarser, moved, 1.0, coarser, 1.0, float(requant.bias[k])
