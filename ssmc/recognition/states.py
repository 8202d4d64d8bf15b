"""How every state element of a loop body moves on: by a quantizer, by a clipped register, or in real numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssmc.errors import ModelError
from ssmc.ir.rounding import FloatArray, IntArray, round_half_even
from ssmc.recognition.forms import NONE, Columns, Forms

MOST_REGISTER_BITS = 24
GRID_ERROR = 2.0**-20


@dataclass(frozen=True)
class States:
    """What is known of S state elements, arrays (S,), filled in as the loop body is read.

    Attributes:
        column: of the old value in the basis.
        new_column: of the new value; -1 where it is no variable.
        quantizer: column of the quantizer that the update goes through; -1 where there is none.
        keep, sigma, step, lo, hi, reg_lo, reg_hi: as in `ssmc.recognition.recurrence.Recurrence`.
        read: whether it is read through a quantizer of its own; then unit, dac_lo and dac_hi are its.
    """

    column: IntArray
    new_column: IntArray
    quantizer: IntArray
    keep: FloatArray
    sigma: FloatArray
    step: FloatArray
    lo: FloatArray
    hi: FloatArray
    reg_lo: FloatArray
    reg_hi: FloatArray
    read: NDArray[np.bool_]
    unit: FloatArray
    dac_lo: FloatArray
    dac_hi: FloatArray

    @staticmethod
    def unknown(column: IntArray) -> States:
        """Real states, of which nothing else is known."""
        size = len(column)
        ones, zeros, low, high = (np.full(size, end) for end in (1.0, 0.0, -np.inf, np.inf))
        none = np.full(size, NONE, np.int64)
        return States(
            column, none, none.copy(), zeros, ones, zeros.copy(), low, high, low.copy(), high.copy(),
            np.zeros(size, bool), ones.copy(), low.copy(), high.copy(),
        )  # fmt: skip


def updated(columns: Columns, seen: Forms, following: Forms, node: str) -> States:
    """The states with their updates, from what quantizers and clips see and from the next states.

    Raises:
        ModelError: SSMC-S02 where a clipped state is of another shape than *delta*.
    """
    states = States.unknown(columns.where("state"))
    if len(following.constant) != len(states.column):
        raise ModelError("SSMC-S02", "a state has no update", "check the loop body", node)
    kind = np.where(following.single == NONE, "", columns.kind[following.single])
    direct = np.flatnonzero(kind == "quant")
    delta = np.flatnonzero((kind == "clip") & (following.factor == 1.0))
    _direct(states, direct, following, columns)
    _delta(states, delta, following, columns, seen, node)
    return states


def _quantized(states: States, chosen: IntArray, column: IntArray, columns: Columns) -> None:
    states.quantizer[chosen] = column
    states.step[chosen], states.lo[chosen], states.hi[chosen] = (
        columns.scale[column], columns.lo[column], columns.hi[column]
    )  # fmt: skip


def _direct(states: States, chosen: IntArray, following: Forms, columns: Columns) -> None:
    column = following.single[chosen]
    _quantized(states, chosen, column, columns)
    states.sigma[chosen], states.new_column[chosen] = following.factor[chosen], column
    states.reg_lo[chosen], states.reg_hi[chosen] = columns.lo[column], columns.hi[column]


def _delta(states: States, chosen: IntArray, following: Forms, columns: Columns, seen: Forms, node: str) -> None:
    clip = following.single[chosen]
    forms = seen.take(clip)
    row, column, value = forms.matrix.rows, forms.matrix.columns, forms.matrix.values
    own = column == states.column[chosen][row]
    kept, increment, sigma = np.zeros(len(clip)), np.full(len(clip), NONE, np.int64), np.ones(len(clip))
    kept[row[own]] = value[own]
    others = np.bincount(row[~own], minlength=len(clip))
    if (~np.isin(kept, (0.0, 1.0)) | (others != 1) | (forms.constant != 0.0)).any():
        fact = "a clipped state is not register + quantized increment"
        raise ModelError("SSMC-S02", fact, "quantize the increment, or the state", node)
    increment[row[~own]], sigma[row[~own]] = column[~own], value[~own]
    if (columns.kind[increment] != "quant").any():
        fact = "the increment of a clipped state is not quantized"
        raise ModelError("SSMC-S02", fact, "quantize the increment", node)
    _quantized(states, chosen, increment, columns)
    lo, hi = (_on_grid(end[clip], sigma, node) for end in (columns.lo, columns.hi))
    alone = kept == 0  # what the quantizer cannot deliver the clip cannot cut
    lo = np.where(alone, np.maximum(lo, columns.lo[increment]), lo)
    hi = np.where(alone, np.minimum(hi, columns.hi[increment]), hi)
    if (hi >= lo + (1 << MOST_REGISTER_BITS)).any():
        fact = f"a state register is wider than {MOST_REGISTER_BITS} bits"
        raise ModelError("SSMC-S02", fact, "clip it tighter; give a mean fewer bits or a smaller k", node)
    states.keep[chosen], states.sigma[chosen], states.new_column[chosen] = kept, sigma, clip
    states.reg_lo[chosen], states.reg_hi[chosen] = lo, hi


def _on_grid(bound: FloatArray, sigma: FloatArray, node: str) -> FloatArray:
    """Saturation bounds in register codes; the float32 that spells one may be half an ulp off."""
    code = bound / sigma
    finite = np.isfinite(code)
    near = np.where(finite, code, 0.0)
    whole = round_half_even(near)
    off = np.abs(near - whole) > GRID_ERROR * np.maximum(np.abs(whole), 1.0)
    if off.any():
        fact = f"a state saturates at {bound[off.argmax()]:g}, between two register codes"
        raise ModelError("SSMC-S02", fact, "clip it at a whole code", node)
    return np.where(finite, whole, code)


def read_unit(step: FloatArray, real: FloatArray) -> FloatArray:
    """Read-out steps in units of what one code of its argument is worth, ``real``.

    A power of two where float32 scales come as near to one as they can.
    """
    unit = step / real
    positive = np.where(unit > 0, unit, 1.0)
    whole = np.exp2(round_half_even(np.log2(positive)))
    return np.where((unit > 0) & (np.abs(unit - whole) <= GRID_ERROR * whole), whole, unit)
