"""How one matrix meets the converters: slices, row splits, bit planes, and what each conversion loses.

Rounding a sum is not the sum of roundings (semantics.md §3). Four outcomes:

- ``single``: one conversion per output; the converter *is* the quantizer that follows the matrix;
- ``lossless``: partial conversions, each with step 1 and a range that covers every reachable sum;
- ``lossy``: some conversion rounds or clips, so the result is BOUNDED, not exact;
- ``digital``: no conversion, multiply-accumulate in the digital unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

from ssmc.conversion.column_sums import Inputs
from ssmc.conversion.cuts import drive_planes, outputs_per_tile, slice_gains, slices
from ssmc.conversion.one_conversion import one_conversion, realised_over, why_not_quantizer
from ssmc.errors import ModelError
from ssmc.hardware.model import Hardware
from ssmc.ir.connectivity import cut, live_columns, live_rows
from ssmc.ir.matrix import Matrix
from ssmc.ir.requant import Requant
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

    @cached_property
    def digits(self) -> IntArray:
        """What the cells hold: signed digits, (groups, slices, outputs, inputs)."""
        return np.stack(slices(self.matrix.codes, self.slice_gains), 1)

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
        steps: list[object] = [step for part in self.matrix.parts for step in part.step.ravel()[columns].tolist()]
        if not self.matrix.parts:
            ratio = (self.matrix.converter or self.requant).ratio
            steps = [ratio[column] for column in columns]
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
    why = why_not_single(matrix, requant, rows, gains, planes, hw)
    if not why:
        return MatrixPlan(name, op, "single", matrix, requant, requant, rows, gains, planes)
    parts = lossless_parts(cuts, inputs.ends, hw)
    if parts:
        return MatrixPlan(name, op, "lossless", Matrix(matrix.codes, parts), requant, requant, rows, gains, planes, why)
    if len(cuts) == 1:
        lowered, behind = one_conversion(matrix, requant, inputs, hw, name)
    else:
        lowered = Matrix(matrix.codes, lossy_parts(cuts, requant, inputs, hw))
        behind = realised_over(requant, lowered, inputs, name)
    return MatrixPlan(name, op, "lossy", lowered, behind, requant, rows, gains, planes, why)


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


def why_not_single(
    matrix: Matrix,
    requant: Requant,
    rows: tuple[tuple[int, int], ...],
    gains: tuple[int, ...],
    planes: tuple[tuple[int, int], ...],
    hw: Hardware,
) -> str:
    """The first reason why the converter cannot be the quantizer itself; empty where it can."""
    if len(rows) > 1:
        return f"{matrix.inputs} inputs, {hw.inputs_per_array} rows"
    if len(gains) > 1:
        return f"{matrix.weight_bits}-bit weights, {hw.cell.levels} cell levels"
    if planes:
        return "bit-serial drive"
    return why_not_quantizer(matrix.codes, requant, hw)
