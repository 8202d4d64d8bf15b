"""Lowering to converters: insert the partial sums that the hardware makes into the program.

Before: a program of exact matrices. After: every analog matrix that is not converted once carries its partial
sums, and the requantization behind a lossy one is proven again over what can now reach it. With ``single`` and
``lossless`` matrices only, the program computes the same codes as before; refuses (ModelError) what does not fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from ssmc.conversion.column_sums import Inputs
from ssmc.conversion.ranges import input_range
from ssmc.errors import ModelError
from ssmc.hardware.model import Hardware
from ssmc.ir.matrix import Matrix
from ssmc.ir.operations import AnyOp, Linear, StateSpace
from ssmc.ir.program import Program
from ssmc.ir.requant import Requant
from ssmc.ir.rounding import IntArray
from ssmc.targets.aimc.lowering.conversion_plan import MatrixPlan, analog_plan, digital_plan
from ssmc.targets.aimc.lowering.kernel_places import INPUT, OUTPUT, Place, settled, split, with_poles_apart

Named = tuple[str, Matrix, Requant]
Seen = Mapping[str, IntArray]  # (S, G, in)


@dataclass(frozen=True)
class LoweredOp:
    """An operation with its matrices lowered, and their plans."""

    op: AnyOp
    plans: tuple[MatrixPlan, ...]


Known = dict[tuple[str, Place], LoweredOp]  # by the operation's name, and where it is placed


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
        joined = (replace(op, input_sum=None) if isinstance(op, StateSpace) else op for op in self.program.ops)
        return with_matrices(replace(self.program, ops=tuple(joined)), exact)

    @cached_property
    def places(self) -> dict[str, Place]:
        """Where every operation with a matrix runs."""
        found: dict[str, Place] = {}
        for op in self.program.ops:
            kinds = [self.plans[name].kind for name, _, _ in matrices(op)]
            if kinds:
                found[op.name] = _place(op, [kind == "digital" for kind in kinds])
        return found


def matrices(op: AnyOp) -> Iterator[Named]:
    """Name, matrix and requantization of every matrix of an op."""
    if isinstance(op, Linear | StateSpace):
        yield op.name, op.matrix, op.requant
    if isinstance(op, StateSpace) and op.output_matrix is not None:
        assert op.output_requant is not None
        yield op.name + OUTPUT, op.output_matrix, op.output_requant
    if isinstance(op, StateSpace) and op.input_sum is not None:
        yield op.name + INPUT, op.input_sum.matrix, op.input_sum.requant


def _place(op: AnyOp, digital: list[bool]) -> Place:
    """Of an operation whose matrices, in the order of `matrices`, are digital or not."""
    if all(digital):
        return "digital"
    if isinstance(op, StateSpace) and op.output_matrix is not None:
        poles: Place = "digital-poles" if op.input_sum is not None else "digital-states"
        return poles if digital[0] else "analog-split"
    return "analog"


def lower(
    program: Program,
    hardware: Hardware,
    place: Place | Mapping[str, Place] = "auto",
    known: Known | None = None,
    seen: Seen | None = None,
) -> Lowered:
    """Lower every matrix.

    Args:
        program: of exact matrices.
        hardware: where it shall run.
        place: for all operations, or by their names (others are auto). Lowering compares no costs: auto is analog here,
            `ssmc.targets.aimc.choices.place_and_pack` decides before.
        known: this program's operations on this hardware, which need not be lowered again; new ones are added.
        seen: recorded inputs of the matrices, by `MatrixPlan.name` (`recorded_inputs`): where conversions lose
            something, ranges are chosen for these; without them for white input codes.

    Raises:
        ModelError: SSMC-A01, SSMC-A02 or SSMC-R01 from `analog_plan`; SSMC-A04 where a matrix is lowered; SSMC-Q12
            where parts of its columns have scales of their own.
    """
    made: Known = {} if known is None else known
    ops: list[AnyOp] = []
    plans: dict[str, MatrixPlan] = {}
    for op in program.ops:
        key = op.name, settled(op, place if isinstance(place, str) else place.get(op.name, "auto"))
        if op.matrices():
            if key not in made:
                made[key] = _lowered(program, op, key[1], hardware, seen or {})
            op, plans = made[key].op, plans | {plan.name: plan for plan in made[key].plans}
        ops.append(op)
    return Lowered(replace(program, ops=tuple(ops)), plans)


def _lowered(program: Program, op: AnyOp, place: Place, hardware: Hardware, seen: Seen) -> LoweredOp:
    """One operation; it depends on no other."""
    for name, matrix, _ in matrices(op):
        _require_whole(name, matrix)
    ends = input_range(program, op)
    given = {name: Inputs(ends, seen.get(name, seen.get(op.name))) for name in (op.name, op.name + OUTPUT)}
    plans: list[MatrixPlan] = []
    if isinstance(op, StateSpace) and place not in ("analog", "digital"):
        op = split(op)
    if isinstance(op, StateSpace) and place == "digital-poles":
        op, *plans = with_poles_apart(op, given[op.name], hardware)
    digital = {"digital": ("", OUTPUT), "digital-states": ("",)}.get(place, ())
    for name, matrix, requant in matrices(op):
        if place == "digital-poles" and name != op.name + OUTPUT:
            continue
        if name.removeprefix(op.name) in digital:
            plans.append(digital_plan(name, op.name, matrix, requant))
        else:
            plans.append(analog_plan(name, op.name, matrix, requant, given[name], hardware))
    return LoweredOp(_with_matrices(op, {plan.name: (plan.matrix, plan.requant) for plan in plans}), tuple(plans))


def _require_whole(name: str, matrix: Matrix) -> None:
    """Refuse what is lowered already, or what no crossbar converts once."""
    if matrix.is_lowered:
        raise ModelError("SSMC-A04", "the matrix is lowered to partial sums already", "compile from the model", name)
    if matrix.multiplier is not None:
        fact = "parts of its columns have scales of their own, and a crossbar converts a column once"
        raise ModelError("SSMC-Q12", fact, "run the pass join-scales before, as AimcTarget().pipeline() does", name)


def with_matrices(program: Program, found: Mapping[str, tuple[Matrix, Requant]]) -> Program:
    """The program with every matrix and its requantization replaced by those ``found`` under its name."""
    return replace(program, ops=tuple(_with_matrices(op, found) for op in program.ops))


def _with_matrices(op: AnyOp, found: Mapping[str, tuple[Matrix, Requant]]) -> AnyOp:
    new: dict[str, object] = {}
    for name, _, _ in matrices(op):
        matrix, requant = found[name]
        if isinstance(op, StateSpace) and op.input_sum is not None and name == op.name + INPUT:
            new["input_sum"] = replace(op.input_sum, matrix=matrix, requant=requant)
        else:
            prefix = "" if name == op.name else "output_"
            new |= {f"{prefix}matrix": matrix, f"{prefix}requant": requant}
    return replace(op, **new) if new else op  # type: ignore[arg-type]
