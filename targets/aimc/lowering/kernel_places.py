"""Where the parts of a kernel run: A, B and C apart (semantics.md §4).

    analog          [[A, B], [C, D]] is one crossbar operation; of a kernel whose y reads the new state, two
    analog-split    two operations: [A | B], and [C | D] on the read-out
    digital-poles   A in the digital unit, B and [C | D] on crossbars
    digital-states  [A | B] in the digital unit, [C | D] on crossbars
    digital         no crossbar

With the poles digital, B u has converters of its own. Their code counts ``step`` accumulator units, and the state's
code is one rounding of ``ratio (A R + step q_B)``: N + p conversions a channel. The step is the greatest common divisor
of a column's weights where the converters that share a step then cover every sum (nothing is lost: with one input the
code is that of the input), else 2^e of least squared error. The cells hold the weights over that divisor, times what
`ssmc.conversion.column_factors` says. Where a sum takes several conversions they are added up as they are.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple, get_args

import numpy as np

from ssmc.conversion.column_factors import Factors
from ssmc.conversion.column_sums import Inputs
from ssmc.conversion.converter_steps import Columns, step_sets, window_error
from ssmc.hardware.model import Hardware
from ssmc.ir.connectivity import live_columns
from ssmc.ir.matrix import Matrix
from ssmc.ir.operations import AnyOp, StateSpace
from ssmc.ir.operations.state_space import InputSum
from ssmc.ir.requant import Requant, make_requant
from ssmc.ir.rounding import IntArray
from ssmc.passes.place import Policy
from ssmc.targets.aimc.lowering.conversion_plan import Kind, MatrixPlan, cuts_of
from ssmc.targets.aimc.lowering.partial_conversions import (
    lossless_parts,
    lossy_parts,
    whole_window,
)
from ssmc.targets.aimc.lowering.shared_exponents import shared_exponents

Place = Policy
PLACES: tuple[Place, ...] = get_args(Place)
INPUT = ".input"
OUTPUT = ".output"


def places_of(op: AnyOp) -> tuple[Place, ...]:
    """What can be asked for, the most analog first; a kernel in two operations has no other analog placement."""
    if not isinstance(op, StateSpace):
        return ("analog", "digital")
    return PLACES[1:] if op.output_matrix is None else ("analog", *PLACES[3:])


def settled(op: AnyOp, place: Place) -> Place:
    """The placement that a request means for an operation; lowering compares no costs, so auto is analog."""
    return place if place in places_of(op) else "analog"


def split(op: StateSpace) -> StateSpace:
    """The same codes from two matrices: [A | B] and [C | D]."""
    if op.output_matrix is not None:
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


def with_poles_apart(op: StateSpace, inputs: Inputs, hw: Hardware) -> tuple[StateSpace, MatrixPlan, MatrixPlan]:
    """A kernel in two operations with B u converted apart; the plan of its state, digital, and that of B.

    Args:
        op: of two matrices, neither lowered.
        inputs: of [R; u].
        hw: the chip.

    Raises:
        ModelError: SSMC-A01, SSMC-A02 where B does not fit the hardware, SSMC-R01 where no requantization fits.
    """
    n, m = op.n_state, op.n_input
    fed = inputs.of((n, n + m))
    plan, step = _input_plan(op, fed, hw)
    apart = InputSum.of(plan.matrix, plan.requant, step, fed.ends)
    if apart.lost.any():
        plan = replace(plan, kind="lossy", why=plan.why or f"input sums, {hw.adc.bits}-bit converter")
    poles = Matrix(op.matrix.codes[..., :n]).reach(*inputs.of((0, n)).ends)
    low, high = ((a + b).ravel() for a, b in zip(poles, apart.reach(*fed.ends), strict=True))
    old = op.requant
    requant = make_requant(old.ratio, old.bias, old.lo, old.hi, (low, high), op.name)
    state = MatrixPlan(op.name, op.name, "digital", op.matrix, requant, old)
    return replace(op, requant=requant, input_sum=apart), state, plan


def _input_plan(op: StateSpace, fed: Inputs, hw: Hardware) -> tuple[MatrixPlan, IntArray]:
    """How B is converted, and the accumulator units of a code (H, n)."""
    name = op.name + INPUT
    matrix = Matrix(np.ascontiguousarray(op.matrix.codes[..., op.n_state :]))
    rows, gains, planes, cuts = cuts_of(name, matrix, fed, hw)
    live = live_columns(matrix.codes)
    why = f"{len(cuts)} conversions a sum" if len(cuts) > 1 else ""
    if len(cuts) == 1:
        window = _converter(matrix, op.requant, fed, hw)
        requant, step, factor = _as_requant(window, matrix, fed, name), np.where(live, window.step, 0), window.factor
    else:
        parts = lossless_parts(cuts, fed.ends, hw) or lossy_parts(cuts, op.requant, fed, hw)
        factor = tuple(map(Fraction, Factors.of(matrix.codes, op.requant.ratio, hw).common.tolist()))
        matrix = Matrix(matrix.codes, parts)
        low, high = (end.ravel() for end in matrix.reach(*fed.ends))
        one = [Fraction(1)] * len(low)
        requant, step = make_requant(one, [Fraction(0)] * len(low), low, high, (low, high), name), live.astype(np.int64)
    kind: Kind = "lossless" if matrix.parts else "single"
    plan = MatrixPlan(name, op.name, kind, matrix, requant, requant, rows, gains, planes, why)
    return plan.with_factor(factor, fed), step


class _Window(NamedTuple):
    """Converters of B: accumulator units of a code, the first and the last code, (H, n) each; factors (H * n,)."""

    step: IntArray
    first: IntArray
    last: IntArray
    factor: tuple[Fraction, ...]


def _as_requant(window: _Window, matrix: Matrix, fed: Inputs, name: str) -> Requant:
    """``clip(round(acc / step), first, last)``."""
    steps = window.step.ravel().tolist()
    one_of = {step: Fraction(1, step) for step in set(steps)}
    ratio = [one_of[step] for step in steps]  # equal ones are looked at once
    low, high = (end.ravel() for end in matrix.reach(*fed.ends))
    ends = window.first.ravel(), window.last.ravel()
    return make_requant(ratio, [Fraction(0)] * len(ratio), *ends, (low, high), name)


def _converter(matrix: Matrix, requant: Requant, fed: Inputs, hw: Hardware) -> _Window:
    """Steps and ranges: with the common divisor of each column where that loses nothing, else of least error."""
    sets = step_sets(live_columns(matrix.codes), 1, hw).ravel()
    low, high = (end.ravel() for end in matrix.reach(*fed.ends))
    step = np.maximum(np.gcd.reduce(matrix.codes, axis=-1).ravel(), 1)
    found = [
        whole_window(lo // by, hi // by, hw)
        for lo, hi, by in zip(low.tolist(), high.tolist(), step.tolist(), strict=True)
    ]
    short = np.zeros(int(sets.max(initial=0)) + 1, np.bool_)
    np.logical_or.at(short, sets, [window is None for window in found])
    first, divisor = np.array([window[0] if window else 0 for window in found], np.int64), step
    if short.any():
        coarse, at = _coarse(matrix, requant, fed, hw, sets)
        step, first = (np.where(short[sets], b, a) for a, b in ((step, coarse), (first, at)))
        divisor = np.where(short[sets], 1, divisor)
    shape = matrix.codes.shape[:2]
    first = first.reshape(shape)
    factor = _factors(matrix.codes, divisor, requant, sets, hw)
    return _Window(step.reshape(shape), first, first + (1 << hw.adc.bits) - 1, factor)


def _factors(
    codes: IntArray, divisor: IntArray, requant: Requant, sets: IntArray, hw: Hardware
) -> tuple[Fraction, ...]:
    """Of columns that are divided first (C,): one for all that share a step."""
    reduced = codes // divisor.reshape(*codes.shape[:2], 1)
    ratio = [r * by for r, by in zip(requant.ratio, divisor.tolist(), strict=True)]
    shared = Factors(reduced, ratio, sets, hw).common.tolist()
    return tuple(Fraction(k, by) for k, by in zip(shared, divisor.tolist(), strict=True))


def _coarse(matrix: Matrix, requant: Requant, fed: Inputs, hw: Hardware, sets: IntArray) -> tuple[IntArray, IntArray]:
    """Step 2^e and first code of least squared error in codes of the state's quantizer, (C,) each."""
    ratio = np.array([abs(float(r)) for r in requant.ratio])
    low, high = (end.ravel().astype(np.float64) for end in matrix.reach(*fed.ends))
    free = np.full(len(ratio), np.inf)
    columns = Columns(fed.sums(matrix.codes), ratio[:, None] ** 2, (low, high), (-free, free))
    exponents = shared_exponents([columns], sets[None], hw)[0]
    first, _ = window_error(columns, np.exp2(exponents), np.zeros(len(ratio)), hw)
    return np.asarray(1 << exponents, np.int64), first
