"""How one matrix meets the converters: slices, row splits, bit planes, and what each conversion loses.

Rounding a sum is not the sum of roundings (semantics.md §3). Four outcomes:

- ``single``: one conversion per output; the converter *is* the quantizer that follows the matrix;
- ``lossless``: partial conversions, each with step 1 and a range that covers every reachable sum;
- ``lossy``: some conversion rounds or clips, so the result is BOUNDED, not exact;
- ``digital``: no conversion, multiply-accumulate in the digital unit.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np

from ssmc.conversion.column_factors import Factors, multiplied
from ssmc.conversion.column_sums import Inputs
from ssmc.conversion.cuts import drive_planes, outputs_per_tile, slice_gains, slices
from ssmc.conversion.one_conversion import chosen_factors, one_conversion, realised_over
from ssmc.errors import ModelError
from ssmc.hardware.model import Hardware
from ssmc.ir.connectivity import cut, live_columns, live_rows
from ssmc.ir.matrix import Matrix
from ssmc.ir.requant import Requant, rescaled
from ssmc.ir.rounding import IntArray
from ssmc.targets.aimc.lowering.partial_conversions import Cut, every_cut, lossless_parts, lossy_parts

Kind = Literal["single", "lossless", "lossy", "digital"]


@dataclass(frozen=True)
class MatrixPlan:
    """How one matrix is evaluated by the hardware.

    Attributes:
        name: the op, with ``.output`` for the read-out matrix of an unfused kernel.
        op: name of the op.
        kind: see the module.
        matrix: the matrix, with its partial sums where it has any.
        requant: requantization of the sum that the matrix, through its conversions, gives.
        exact: requantization of the exact sum; differs from ``requant`` only where a conversion is lossy.
        rows: input ranges of the row splits.
        slice_gains: integer weight of each slice.
        planes: (bit, gain) of each serial drive; empty where whole codes are driven.
        why: why the matrix is not converted once; empty where it is.
        factor: what the cells of every column hold, over its codes, G * out entries; empty where all are 1
            (`ssmc.conversion.column_factors`).
        held: requantization, by the converter, of what such columns add up to; None where they hold their codes, or
            are converted in parts.
    """

    name: str
    op: str
    kind: Kind
    matrix: Matrix
    requant: Requant
    exact: Requant
    rows: tuple[tuple[int, int], ...] = ()
    slice_gains: tuple[int, ...] = ()
    planes: tuple[tuple[int, int], ...] = ()
    why: str = ""
    factor: tuple[Fraction, ...] = ()
    held: Requant | None = None

    @property
    def cells(self) -> IntArray:
        """What the cells of a column hold together, (groups, outputs, inputs): its codes times its factor."""
        return self.matrix.codes if not self.factor else multiplied(self.matrix.codes, self.factor)

    @cached_property
    def digits(self) -> IntArray:
        """What the cells hold: signed digits, (groups, slices, outputs, inputs)."""
        return np.stack(slices(self.cells, self.slice_gains), 1)

    @cached_property
    def found(self) -> dict[Hashable, Any]:
        """Its banks and blocks (`ssmc.targets.aimc.lowering.mapping`): every packing that is weighed asks again."""
        return {}

    @property
    def steps(self) -> tuple[IntArray, ...]:
        """Of every part, held units that a converter code counts, (G, out)."""
        if not self.factor:
            return tuple(part.step for part in self.matrix.parts)
        return tuple(multiplied(part.step[..., None], self.factor)[..., 0] for part in self.matrix.parts)

    @property
    def at_converter(self) -> Requant:
        """Requantization, by the converter of a matrix that is converted once, of what a column holds."""
        return self.held or self.matrix.converter or self.requant

    def with_factor(self, factor: Sequence[Fraction], inputs: Inputs) -> MatrixPlan:
        """The same codes from columns that are multiplied, (C,)."""
        if all(one == 1 for one in factor):
            return self
        plan = replace(self, factor=tuple(factor))
        if plan.matrix.parts:
            return plan
        ends = tuple(end.ravel() for end in Matrix(plan.cells).reach(*inputs.ends))
        return replace(plan, held=rescaled(self.at_converter, plan.factor, (ends[0], ends[1]), self.name))

    def step_of(self, group: int, outputs: tuple[int, int], hw: Hardware) -> object:
        """The step settings of these outputs' converters, equal for all blocks of an array; None where they may differ.

        A step per column, or a converter per output, may be set anew for every block that is driven.
        """
        own = hw.adc.columns_per_adc <= hw.cells_per_code
        if hw.adc.step == "per_column" or (hw.adc.step == "per_adc" and own):
            return None
        start = group * self.matrix.outputs
        columns = (
            start + outputs[0] + np.flatnonzero(live_columns(self.matrix.codes[group, slice(*outputs)]))
        ).tolist()
        steps: list[object] = [step for each in self.steps for step in each.ravel()[columns].tolist()]
        if not self.matrix.parts:
            steps = [self.at_converter.ratio[column] for column in columns]
        unlike = set(map(str, steps))
        return unlike.pop() if len(unlike) == 1 else (self.name, group, outputs)

    @property
    def conversions(self) -> int:
        """Conversions per output and product."""
        return len(self.rows) * len(self.slice_gains) * max(len(self.planes), 1)


def digital_plan(name: str, op: str, matrix: Matrix, requant: Requant) -> MatrixPlan:
    """A matrix in the digital unit."""
    return MatrixPlan(name, op, "digital", matrix, requant, requant)


def analog_plan(name: str, op: str, matrix: Matrix, requant: Requant, inputs: Inputs, hw: Hardware) -> MatrixPlan:
    """A matrix on crossbar arrays.

    Raises:
        ModelError: SSMC-A01 no array is wide enough for one output, SSMC-A02 inputs wider than the drivers,
            SSMC-R01 a lossy sum cannot be requantized.
    """
    rows, gains, planes, cuts = cuts_of(name, matrix, inputs, hw)
    why = why_in_parts(matrix, rows, gains, planes, hw)
    factors = Factors.of(matrix.codes, requant.ratio, hw)
    why, factor = (why, factors.common) if why else chosen_factors(factors, requant)
    parts = lossless_parts(cuts, inputs.ends, hw) if why else ()
    kind: Kind = "lossless" if parts else "lossy" if why else "single"
    lowered, behind = Matrix(matrix.codes, parts), requant
    if parts:
        factor = factors.common
    elif why and len(cuts) == 1:
        lowered, behind = one_conversion(matrix, requant, factor, inputs, hw, name)
    elif why:
        lowered = Matrix(matrix.codes, lossy_parts(cuts, requant, inputs, hw))
        behind = realised_over(requant, lowered, inputs, name)
    plan = MatrixPlan(name, op, kind, lowered, behind, requant, rows, gains, planes, why)
    return plan.with_factor(list(map(Fraction, factor.tolist())), inputs)


class Cuts(NamedTuple):
    """Row splits, weights of the slices, bit planes, and the conversions that they make of a sum."""

    rows: tuple[tuple[int, int], ...]
    gains: tuple[int, ...]
    planes: tuple[tuple[int, int], ...]
    every: tuple[Cut, ...]


def cuts_of(name: str, matrix: Matrix, inputs: Inputs, hw: Hardware) -> Cuts:
    """How a matrix is cut to fit arrays, cells and drivers.

    Raises:
        ModelError: SSMC-A01 no array is wide enough for one output, SSMC-A02 inputs wider than the drivers.
    """
    rows = cut(live_rows(matrix.codes), hw.inputs_per_array)
    gains = slice_gains(matrix.codes, hw)
    planes = drive_planes(name, inputs.ends, hw)
    if outputs_per_tile(len(gains), hw) < 1:
        need = len(gains) * hw.cells_per_code + hw.reference_columns
        fact = f"one output needs {need} columns, an array of '{hw.name}' has {hw.array.columns}"
        raise ModelError("SSMC-A01", fact, "use fewer weight bits or cells with more levels", name)
    return Cuts(rows, gains, planes, every_cut(matrix.codes, rows, gains, planes))


def why_in_parts(
    matrix: Matrix,
    rows: tuple[tuple[int, int], ...],
    gains: tuple[int, ...],
    planes: tuple[tuple[int, int], ...],
    hw: Hardware,
) -> str:
    """The first reason why a sum takes several conversions; empty where it takes one."""
    if len(rows) > 1:
        return f"{matrix.inputs} inputs, {hw.inputs_per_array} rows"
    if len(gains) > 1:
        return f"{matrix.weight_bits}-bit weights, {hw.cell.levels} cell levels"
    if planes:
        return "bit-serial drive"
    return "digital cells, no converter" if hw.exact_cells else ""
