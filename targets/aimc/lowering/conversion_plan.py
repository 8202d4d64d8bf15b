"""How one matrix meets the converters: slices, row splits, bit planes, and what each conversion loses.

Rounding a sum is not the sum of roundings (DESIGN §4). Four outcomes:

- ``single``: one conversion per output; the converter *is* the quantizer that follows the matrix;
- ``lossless``: several partial conversions, each with step 1 and a range that covers every reachable sum;
- ``lossy``: some conversion has a step above 1, so the result is BOUNDED, not exact;
- ``digital``: no conversion, multiply-accumulate in the digital unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from ssmc.errors import ModelError
from ssmc.hardware.model import Hardware
from ssmc.ir.connectivity import cut, live_columns, live_rows
from ssmc.ir.matrix import Matrix, PartialSum
from ssmc.ir.quant import bits_for
from ssmc.ir.requant import Requant, make_requant
from ssmc.ir.rounding import IntArray, round_divide
from ssmc.targets.aimc.lowering.ranges import Range, reach

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
        steps: tuple[object, ...] = tuple(part.step for part in self.matrix.parts)
        if self.kind == "single":
            live = np.flatnonzero(live_columns(self.matrix.codes[group, slice(*outputs)]))
            steps = tuple(self.requant.ratio[start + outputs[0] + k] for k in live.tolist())
        unlike = set(map(str, steps))
        return unlike.pop() if len(unlike) == 1 else (self.name, group, outputs)

    @property
    def conversions(self) -> int:
        """Conversions per output and product."""
        return len(self.rows) * len(self.slice_gains) * max(len(self.planes), 1)


def digital_plan(name: str, op: str, matrix: Matrix, requant: Requant) -> MatrixPlan:
    """A matrix in the digital unit."""
    return MatrixPlan(name, op, "digital", matrix, requant, requant)


def analog_plan(name: str, op: str, matrix: Matrix, requant: Requant, inputs: Range, hw: Hardware) -> MatrixPlan:
    """A matrix on crossbar arrays.

    Raises:
        ModelError: SSMC-A01 no array is wide enough for one output, SSMC-A02 inputs wider than the drivers,
            SSMC-R01 a lossy sum cannot be requantized.
    """
    rows = cut(live_rows(matrix.codes), hw.inputs_per_array)
    gains = slice_gains(matrix.codes, hw)
    planes = drive_planes(name, inputs, hw)
    if outputs_per_tile(len(gains), hw) < 1:
        need = len(gains) * hw.cells_per_code + hw.reference_columns
        fact = f"one output needs {need} columns, an array of '{hw.name}' has {hw.array.columns}"
        raise ModelError("SSMC-A01", fact, "use fewer weight bits or cells with more levels", name)
    why = why_not_single(matrix, requant, rows, gains, planes, hw)
    if not why:
        return MatrixPlan(name, op, "single", matrix, requant, requant, rows, gains, planes)
    parts = tuple(
        _part(digits, span, plane, gain * plane_gain, inputs, hw)
        for span in rows
        for gain, digits in zip(gains, slices(matrix.codes, gains), strict=True)
        for plane, plane_gain in planes or ((None, 1),)
    )
    split = Matrix(matrix.codes, parts)
    kind: Kind = "lossless" if all(part.step == 1 for part in parts) else "lossy"
    proven = prove_again(requant, split, inputs, name) if kind == "lossy" else requant
    return MatrixPlan(name, op, kind, split, proven, requant, rows, gains, planes, why)


def prove_again(requant: Requant, matrix: Matrix, inputs: Range, node: str) -> Requant:
    """The same rational map, realised over the sums that the matrix, through its conversions, can reach."""
    low, high = matrix.reach(*inputs)
    return make_requant(requant.ratio, requant.bias, requant.lo, requant.hi, (low.ravel(), high.ravel()), node)


def slice_gains(codes: IntArray, hw: Hardware) -> tuple[int, ...]:
    """Weights of the slices: one slice where a cell holds every code, else powers of the largest binary digit."""
    top = int(np.abs(codes).max(initial=0))
    if top <= hw.largest_digit:
        return (1,)
    bits = (hw.largest_digit + 1).bit_length() - 1
    return tuple(1 << (bits * k) for k in range(-(-top.bit_length() // bits)))


def slices(codes: IntArray, gains: tuple[int, ...]) -> list[IntArray]:
    """Digits of the codes, sign on every digit: ``codes == sum(gain * slice)``."""
    if len(gains) == 1:
        return [codes]
    base = gains[1]
    return [np.sign(codes) * (np.abs(codes) // gain % base) for gain in gains]


def drive_planes(name: str, inputs: Range, hw: Hardware) -> tuple[tuple[int, int], ...]:
    """Bits and gains of a serial drive; empty where the drivers take whole codes."""
    lo, hi = min(int(inputs[0].min(initial=0)), 0), max(int(inputs[1].max(initial=0)), 0)
    if hw.dac.bit_serial:
        signed = lo < 0
        width = max(hi.bit_length(), (-lo - 1).bit_length() if signed else 1) + signed
        return tuple((bit, -(1 << bit) if signed and bit == width - 1 else 1 << bit) for bit in range(width))
    if bits_for(lo, hi) > hw.dac.bits:
        fact = f"inputs {lo}..{hi} have {bits_for(lo, hi)} bits, a driver of '{hw.name}' takes {hw.dac.bits}"
        raise ModelError("SSMC-A02", fact, "retrain with narrower codes, or use hardware with dac.bit_serial", name)
    return ()


def outputs_per_tile(slice_count: int, hw: Hardware) -> int:
    """Outputs that fit the columns of one array."""
    return (hw.array.columns - hw.reference_columns) // (hw.cells_per_code * slice_count)


def converter_of(output: int, slice_index: int, slice_count: int, hw: Hardware, column: int = 0) -> int:
    """Converter, within its array, of an output counted from the tile's first, which starts at a physical column.

    Converters interleave the columns of an array, a pair being one: the next column goes to the next converter.
    """
    return (column // hw.cells_per_code + output * slice_count + slice_index) % hw.adcs_per_array


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
    wide = max(bits_for(int(lo), int(hi)) for lo, hi in zip(requant.lo, requant.hi, strict=True))
    if wide > hw.adc.bits:
        return f"{wide}-bit outputs, {hw.adc.bits}-bit converter"
    if not hw.adc.offset and (any(requant.bias) or not _natural_ranges(requant, hw)):
        return "converter without programmable offset"
    if not _steps_fit(matrix, requant, hw):
        return f"outputs with unlike steps, adc.step = {hw.adc.step}"
    return ""


def _natural_ranges(requant: Requant, hw: Hardware) -> bool:
    """Whether every code range lies in the signed or in the unsigned range of the converter."""
    half = 1 << (hw.adc.bits - 1)
    signed = (requant.lo >= -half) & (requant.hi < half)
    return bool((signed | ((requant.lo >= 0) & (requant.hi < 2 * half))).all())


def _steps_fit(matrix: Matrix, requant: Requant, hw: Hardware) -> bool:
    """Whether outputs that share a step, as ``adc.step`` says, have the same ratio."""
    if hw.adc.step == "per_column":
        return True
    live = live_columns(matrix.codes)
    ratios: dict[tuple[int, int, int], object] = {}
    for group, mask in enumerate(live):
        for start, stop in cut(live, outputs_per_tile(1, hw)):
            for local, output in enumerate((start + np.flatnonzero(mask[start:stop])).tolist()):
                ratio = requant.ratio[group * matrix.outputs + output]
                shared = converter_of(local, 0, 1, hw) if hw.adc.step == "per_adc" else 0
                if ratios.setdefault((group, start, shared), ratio) != ratio:
                    return False
    return True


def _part(
    digits: IntArray, span: tuple[int, int], plane: int | None, gain: int, inputs: Range, hw: Hardware
) -> PartialSum:
    codes = np.ascontiguousarray(digits[:, :, span[0] : span[1]])
    lo, hi = inputs[0][:, span[0] : span[1]], inputs[1][:, span[0] : span[1]]
    if plane is not None:
        lo, hi = np.zeros_like(lo), ((lo != 0) | (hi != 0)).astype(np.int64)
    low, high = reach(codes, lo, hi)
    step, first, last = window(int(low.min(initial=0)), int(high.max(initial=0)), hw)
    return PartialSum(codes, span, plane, gain, step, first, last)


def window(low: int, high: int, hw: Hardware) -> tuple[int, int, int]:
    """Smallest power-of-two step, and the code range, with which the converter covers sums low..high."""
    levels = 1 << hw.adc.bits
    step = 1
    while True:
        first, last = int(round_divide(low, step)), int(round_divide(high, step))
        if hw.adc.offset and last - first < levels:
            first -= (levels - 1 - (last - first)) // 2
            return step, first, first + levels - 1
        if first >= 0 and last < levels:
            return step, 0, levels - 1
        if -levels // 2 <= first and last < levels // 2:
            return step, -levels // 2, levels // 2 - 1
        step *= 2
