"""Lowering to converters: insert the partial sums that the hardware makes into the program.

Before: a program of exact matrices. After: every analog matrix that is not converted once carries its partial
sums, and the requantization behind a lossy one is proven again over what can now reach it. With ``single`` and
``lossless`` matrices only, the program computes the same codes as before; refuses (ModelError) what does not fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from ssmc.hardware.model import Hardware
from ssmc.ir.program import Linear, Matrix, Op, Program, StateSpace
from ssmc.ir.requant import Requant, make_requant
from ssmc.targets.aimc.lowering.conversion_plan import MatrixPlan, analog_plan, digital_plan
from ssmc.targets.aimc.lowering.ranges import Range, input_range

Place = Literal["auto", "analog", "digital"]
OUTPUT = ".output"


@dataclass(frozen=True)
class Lowered:
    """The lowered program, and the plan of every matrix, by `MatrixPlan.name`."""

    program: Program
    plans: dict[str, MatrixPlan]

    @property
    def exact(self) -> bool:
        """Whether the lowered program computes the codes of the program before."""
        return all(plan.kind != "lossy" for plan in self.plans.values())


def matrices(op: Op) -> Iterator[tuple[str, Matrix, Requant]]:
    """Name, matrix and requantization of every matrix of an op."""
    if isinstance(op, Linear | StateSpace):
        yield op.name, op.matrix, op.requant
    if isinstance(op, StateSpace) and op.output_matrix is not None:
        assert op.output_requant is not None
        yield op.name + OUTPUT, op.output_matrix, op.output_requant


def lower(program: Program, hardware: Hardware, place: Place | Mapping[str, Place] = "auto") -> Lowered:
    """Lower every matrix.

    Args:
        program: of exact matrices.
        hardware: where it shall run.
        place: for all matrices, or by `MatrixPlan.name` (others are auto). Lowering compares no costs: auto is
            analog here, `ssmc.targets.aimc.choices.place_and_pack` decides before.

    Raises:
        ModelError: SSMC-A01, SSMC-A02 from `analog_plan`; SSMC-R01 where a lossy sum cannot be requantized.
    """
    plans: dict[str, MatrixPlan] = {}
    ops = []
    for op in program.ops:
        for name, matrix, requant in matrices(op):
            where = place if isinstance(place, str) else place.get(name, "auto")
            digital = where == "digital"
            inputs = input_range(program, op)
            plans[name] = (
                digital_plan(name, op.name, matrix)
                if digital
                else analog_plan(name, op.name, matrix, requant, inputs, hardware)
            )
        ops.append(_with_plans(op, plans, program))
    return Lowered(replace(program, ops=tuple(ops)), plans)


def unlowered(program: Program) -> Program:
    """The program of exact matrices behind a lowered one, requantizations proven over the exact sums again."""
    ops = []
    for op in program.ops:
        new: dict[str, Matrix | Requant] = {}
        for name, matrix, requant in matrices(op):
            if matrix.parts:
                prefix = "output_" if name.endswith(OUTPUT) and name != op.name else ""
                exact = Matrix(matrix.codes)
                proven = prove_again(requant, exact, input_range(program, op), name)
                new |= {f"{prefix}matrix": exact, f"{prefix}requant": proven}
        ops.append(replace(op, **new) if new else op)  # type: ignore[arg-type]
    return replace(program, ops=tuple(ops))


def _with_plans(op: Op, plans: dict[str, MatrixPlan], program: Program) -> Op:
    new: dict[str, Matrix | Requant] = {}
    for name, _, requant in matrices(op):
        plan = plans[name]
        prefix = "output_" if name.endswith(OUTPUT) and name != op.name else ""
        new[f"{prefix}matrix"] = plan.matrix
        if plan.kind == "lossy":
            new[f"{prefix}requant"] = prove_again(requant, plan.matrix, input_range(program, op), plan.name)
    return replace(op, **new) if new else op  # type: ignore[arg-type]


def prove_again(requant: Requant, matrix: Matrix, inputs: Range, node: str) -> Requant:
    """The same rational map, realised over the sums that the matrix, through its conversions, can reach."""
    low, high = matrix.reach(*inputs)
    return make_requant(requant.ratio, requant.bias, requant.lo, requant.hi, (low.ravel(), high.ravel()), node)
