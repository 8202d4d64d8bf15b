"""Lowering to converters: insert the partial sums that the hardware makes into the program.

Before: a program of exact matrices. After: every analog matrix that is not converted once carries its partial
sums, and the requantization behind a lossy one is proven again over what can now reach it. With ``single`` and
``lossless`` matrices only, the program computes the same codes as before; refuses (ModelError) what does not fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from ssmc.errors import ModelError
from ssmc.hardware.model import Hardware
from ssmc.ir.matrix import Matrix
from ssmc.ir.operations import AnyOp, Linear, StateSpace
from ssmc.ir.program import Program
from ssmc.ir.requant import Requant
from ssmc.ir.rounding import IntArray
from ssmc.targets.aimc.lowering.column_sums import Inputs
from ssmc.targets.aimc.lowering.conversion_plan import MatrixPlan, analog_plan, digital_plan
from ssmc.targets.aimc.lowering.ranges import input_range

Place = Literal["auto", "analog", "digital"]
Named = tuple[str, Matrix, Requant]
Plans = dict[tuple[str, bool], MatrixPlan]  # by name, and whether it is digital
Seen = Mapping[str, IntArray]  # (S, G, in)
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

    @cached_property
    def source(self) -> Program:
        """The program before lowering: every matrix without partial sums, requantized as its exact sum."""
        exact = {name: (Matrix(plan.matrix.codes), plan.exact) for name, plan in self.plans.items()}
        return with_matrices(self.program, exact)


def matrices(op: AnyOp) -> Iterator[Named]:
    """Name, matrix and requantization of every matrix of an op."""
    if isinstance(op, Linear | StateSpace):
        yield op.name, op.matrix, op.requant
    if isinstance(op, StateSpace) and op.output_matrix is not None:
        assert op.output_requant is not None
        yield op.name + OUTPUT, op.output_matrix, op.output_requant


def lower(
    program: Program,
    hardware: Hardware,
    place: Place | Mapping[str, Place] = "auto",
    known: Plans | None = None,
    seen: Seen | None = None,
) -> Lowered:
    """Lower every matrix.

    Args:
        program: of exact matrices.
        hardware: where it shall run.
        place: for all matrices, or by `MatrixPlan.name` (others are auto). Lowering compares no costs: auto is
            analog here, `ssmc.targets.aimc.choices.place_and_pack` decides before.
        known: plans of this program's matrices on this hardware, which need not be made again; new ones are added.

        seen: recorded inputs of the matrices, by `MatrixPlan.name` (`recorded_inputs`): where conversions lose
            something, ranges are chosen for these; without them for white input codes.

    Raises:
        ModelError: SSMC-A01, SSMC-A02 or SSMC-R01 from `analog_plan`; SSMC-A04 where a matrix is lowered; SSMC-Q12
            where parts of its columns have scales of their own.
    """
    made: Plans = {} if known is None else known
    plans: dict[str, MatrixPlan] = {}
    for op in program.ops:
        for matrix in matrices(op):
            where = place if isinstance(place, str) else place.get(matrix[0], "auto")
            key = matrix[0], where == "digital"
            if key not in made:
                made[key] = _plan(program, op, matrix, hardware, where == "digital", seen)
            plans[matrix[0]] = made[key]
    found = {name: (plan.matrix, plan.requant) for name, plan in plans.items()}
    return Lowered(with_matrices(program, found), plans)


def _plan(
    program: Program, op: AnyOp, named: Named, hardware: Hardware, digital: bool, seen: Seen | None
) -> MatrixPlan:
    """The plan of one matrix of an op; it depends on no other matrix."""
    name, matrix, requant = named
    if matrix.is_lowered:
        raise ModelError("SSMC-A04", "the matrix is lowered to partial sums already", "compile from the model", name)
    if matrix.multiplier is not None:
        fact = "parts of its columns have scales of their own, and a crossbar converts a column once"
        raise ModelError("SSMC-Q12", fact, "run the pass join-scales before, as AimcTarget().pipeline() does", name)
    if digital:
        return digital_plan(name, op.name, matrix, requant)
    inputs = Inputs(input_range(program, op), (seen or {}).get(name))
    return analog_plan(name, op.name, matrix, requant, inputs, hardware)


def with_matrices(program: Program, found: Mapping[str, tuple[Matrix, Requant]]) -> Program:
    """The program with every matrix and its requantization replaced by those ``found`` under its name."""
    return replace(program, ops=tuple(_with_matrices(op, found) for op in program.ops))


def _with_matrices(op: AnyOp, found: Mapping[str, tuple[Matrix, Requant]]) -> AnyOp:
    new: dict[str, Matrix | Requant] = {}
    for name, _, _ in matrices(op):
        prefix = "" if name == op.name else "output_"
        new[f"{prefix}matrix"], new[f"{prefix}requant"] = found[name]
    return replace(op, **new) if new else op  # type: ignore[arg-type]
