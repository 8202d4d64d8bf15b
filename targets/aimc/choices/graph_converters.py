"""The converters of lowered matrices as constants of a graph node, so that reading them gives the same rationals."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import numpy as np

from ssmc.ir.operations import AnyOp, StateSpace
from ssmc.ir.operations.state_space import InputSum
from ssmc.ir.parts import Constants, parts_to_constants
from ssmc.ir.requant import Requant
from ssmc.ir.rounding import FloatArray
from ssmc.targets.aimc.lowering.conversion_plan import MatrixPlan

PER_OUTPUT = ("W", "gain", "step", "offset", "lo", "hi")


def pair_constants(node: Mapping[str, FloatArray]) -> Constants:
    """The constants of a fused kernel as those of two matrices: the state's rows, and under ``_y`` those of y."""
    n = node["keep"].shape[1]
    rows = {key: np.broadcast_to(node[key], (*node["W"].shape[:2], *node[key].shape[2:])) for key in PER_OUTPUT}
    return {key: row[:, :n] for key, row in rows.items()} | {f"{key}_y": row[:, n:] for key, row in rows.items()}


def converter_constants(plans: Mapping[str, MatrixPlan], node: Mapping[str, FloatArray], op: AnyOp) -> Constants:
    """What a node needs to evaluate the converters of its matrices, by input name.

    Args:
        plans: of its matrices by the suffix of their constants: ``_y`` of y, ``_b`` of an input that is converted
            apart; then the state, which is digital, has none.
        node: constants of the node before.
        op: the lowered operation.
    """
    found: Constants = {}
    for suffix, plan in plans.items():
        if suffix == "_b" and isinstance(op, StateSpace) and op.input_sum is not None:
            found |= parts_to_constants(plan.matrix, suffix) | _input_constants(op.input_sum)
        elif suffix or "_b" not in plans:
            found |= lowered_constants(plan, node, suffix)
    return found


def _input_constants(apart: InputSum) -> Constants:
    """``per_code_b * clip(round(acc / step_b), lo_b, hi_b)``, (G, n) each."""
    shape, requant = apart.step.shape, apart.requant
    return {
        "gain_b": np.ones(shape),
        "step_b": np.array([float(1 / ratio) for ratio in requant.ratio]).reshape(shape),
        "offset_b": np.zeros(shape),
        "lo_b": requant.lo.reshape(shape).astype(np.float64),
        "hi_b": requant.hi.reshape(shape).astype(np.float64),
        "per_code_b": apart.step.astype(np.float64),
    }


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
    factors = plan.factor or (Fraction(1),) * size
    columns = [
        _column(matrix.converter, plan.requant, plan.exact, k, factors[k], *(float(given[key][k]) for key in given))
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
    converter: Requant,
    requant: Requant,
    exact: Requant,
    k: int,
    factor: Fraction,
    gain: float,
    step: float,
    offset: float,
) -> tuple[float, ...]:
    """Gain, step, offset of the converter, accumulator units that its code is worth; gain, step, offset behind it.

    Either the code counts steps of the quantizer, or accumulator units. Then the quantizer behind it stays as it is;
    where a code is no float64 number of units, since cells hold a multiple of the codes, it is the one of the plan.
    """
    unit = 1 / converter.ratio[k] if converter.ratio[k] else Fraction(0)
    if not converter.bias[k] and requant.bias[k] == exact.bias[k] and unit and Fraction(float(unit)) == unit:
        return 1.0, float(unit), 0.0, float(unit), gain, step, offset
    counted, behind = unit * factor, (requant.ratio[k], requant.bias[k])
    if not converter.bias[k] and counted and all(Fraction(float(x)) == x for x in (counted, *behind)):
        return float(factor), float(counted), 0.0, 1.0, float(behind[0]), 1.0, float(behind[1])
    coarser = float(requant.ratio[k])
    moved = offset / coarser if converter.bias[k] else 0.0
    return gain, step * coarser, moved, 1.0, coarser, 1.0, float(requant.bias[k])
