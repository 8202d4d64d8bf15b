"""Recognise a loop body as a state-space kernel: by its affine forms and quantizers, not by its spelling.

Per state element, the next state must be one of
- *direct*: the codes of one quantizer,
- *delta*: ``clip(r + b * codes of one quantizer)``; without r (a mixed kernel clips all states) it is direct,
- *real*: an affine form with no quantizer (a float model).
The state may be read through one more quantizer (the DAC read-out R(r)) whose step is 2**p register steps.

All elements are looked at together, as arrays and sparse matrices: what channels do not share is never stored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssmc.errors import ModelError
from ssmc.ir.rounding import FloatArray, IntArray
from ssmc.ir.sparse import Sparse
from ssmc.ir.sparse import stacked as below
from ssmc.recognition.forms import NONE, Columns, Forms, stacked
from ssmc.recognition.loop_body import Block, LoopBody
from ssmc.recognition.states import read_unit, updated

OLD, NEW = 0, 1


@dataclass(frozen=True)
class Recurrence:
    """A kernel in drive units: ``q = clip(round((W v + offset) / step))``, v = [R(r) codes; u real].

    Shapes: S states, U inputs, P outputs. ``step`` 0 stands for no quantizer.

    Attributes:
        W: (S, S + U) real, sparse. offset, step, lo, hi: (S,).
        W_y: (P, S + U), sparse. offset_y, step_y, lo_y, hi_y: (P,); y = step_y * code.
        keep, unit, dac_lo, dac_hi, reg_lo, reg_hi, sigma: (S,); sigma is the real value of one register code.
        after: y reads the new state.
    """

    W: Sparse
    offset: FloatArray
    step: FloatArray
    lo: FloatArray
    hi: FloatArray
    W_y: Sparse
    offset_y: FloatArray
    step_y: FloatArray
    lo_y: FloatArray
    hi_y: FloatArray
    keep: FloatArray
    unit: FloatArray
    dac_lo: FloatArray
    dac_hi: FloatArray
    reg_lo: FloatArray
    reg_hi: FloatArray
    sigma: FloatArray
    after: bool


@dataclass(frozen=True)
class _Rows:
    """Rows over [states; inputs] with their constants; ``reads``: which state, OLD or NEW, -1 for none."""

    matrix: Sparse
    constant: FloatArray
    reads: IntArray


class Recogniser:
    """Turns a `LoopBody` into a `Recurrence`; ``node`` names the loop in errors."""

    def __init__(self, body: LoopBody, node: str) -> None:
        """Find the updates, and which columns are inputs and which read a state.

        Raises:
            ModelError: SSMC-S02 where the updates have another shape.
        """
        self.body, self.node = body, node
        self.columns = Columns.of(body)
        self.seen, self.following, self.outputs = stacked(body)
        self.states = updated(self.columns, self.seen, self.following, node)
        inputs, width = self.columns.where("input"), len(self.columns)
        self.input_of, self.drive, self.new = (np.full(width, NONE, np.int64) for _ in range(3))
        self.input_of[inputs] = np.arange(len(inputs))
        every, moved = np.arange(len(self.states.column)), self.states.new_column != NONE
        self.drive[self.states.column], self.new[self.states.column] = every, OLD
        self.drive[self.states.new_column[moved]], self.new[self.states.new_column[moved]] = every[moved], NEW

    def recognise(self) -> Recurrence:
        """Find the read-outs, then the rows.

        Raises:
            ModelError: SSMC-S02 where read-outs or rows have another shape.
        """
        read = self._columns_read()
        for number, block in enumerate(self.body.blocks):
            if block.kind == "quant" and not self._is_update(block, number):
                span = slice(block.start, block.start + block.size)
                # an output's own quantizer may happen to see a single state
                if read[span].any() or not self._is_output(number):
                    self._read_out(span)
        return self._assemble()

    def _fail(self, fact: str, remedy: str) -> ModelError:
        return ModelError("SSMC-S02", fact, remedy, self.node)

    def _real(self, column: IntArray) -> FloatArray:
        """Real value of one code: forms hold coefficients of codes for quantizers, of real values for others."""
        sigma = self.states.sigma[self.drive[column]]
        return np.where(self.columns.kind[column] == "quant", 1.0, sigma)

    def _is_update(self, block: Block, number: int) -> bool:
        quantizers = self.states.quantizer[self.states.quantizer != NONE]
        shared = any(block.form is form for form in self.body.next_states)
        return shared or bool((self.columns.block[quantizers] == number).any())

    def _is_output(self, number: int) -> bool:
        """Whether some output of the loop is this quantizer, element by element."""
        start = 0
        for form in self.body.outputs:
            single = self.outputs.single[start : start + len(form.constant)]
            start += len(form.constant)
            if (single != NONE).all() and (self.columns.block[single] == number).all():
                return True
        return False

    def _columns_read(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Columns that some sum reads: all but those that are an output by themselves."""
        read = np.zeros(len(self.columns), bool)
        real = np.flatnonzero(self.states.quantizer == NONE)
        sums = np.flatnonzero(self.outputs.matrix.counts > 1)
        for forms in (self.seen, self.following.take(real), self.outputs.take(sums)):
            read[forms.matrix.columns] = True
        return read

    def _read_out(self, span: slice) -> None:
        """The quantizer at columns ``span`` reads single state elements, up to the first that does not."""
        column = self.seen.single[span]
        alone = (column != NONE) & (self.drive[column] != NONE)
        count = len(alone) if alone.all() else int(alone.argmin())
        column, own = column[:count], np.arange(span.start, span.start + count)
        state, states = self.drive[column], self.states
        unit = read_unit(self.columns.scale[own], self.seen.factor[own] * self._real(column))
        lo, hi = self.columns.lo[own], self.columns.hi[own]
        odd = (unit < 1) | (np.log2(np.maximum(unit, 1)) % 1 != 0)
        if odd.any():
            fact = f"the state read-out step is {unit[odd.argmax()]:g} register steps"
            raise self._fail(fact, "use a power of two of at least 1")
        for known in (states.read[state], np.ones(count, bool)):
            differs = (states.unit[state] != unit) | (states.dac_lo[state] != lo) | (states.dac_hi[state] != hi)
            if (known & differs).any():
                raise self._fail("a state is read through two different quantizers", "read it through one")
            states.read[state], states.unit[state] = True, unit
            states.dac_lo[state], states.dac_hi[state] = lo, hi
        self.drive[own], self.new[own] = state, self.new[column]

    def _assemble(self) -> Recurrence:
        states = self.states
        through = states.quantizer != NONE
        quantized, real = np.flatnonzero(through), np.flatnonzero(~through)
        rows = [self._rows(self.seen.take(states.quantizer[quantized])), self._rows(self.following.take(real))]
        update = _joined(rows, [quantized, real])
        if (update.reads == NEW).any():
            raise self._fail("a state update reads another new state", "update all states from the old ones")
        outputs, ends = self._outputs()
        kinds = set(outputs.reads.tolist()) - {NONE}
        if len(kinds) > 1:
            raise self._fail("outputs read both the old and the new state", "read one of them")
        names = ("step", "lo", "hi", "keep", "unit", "reg_lo", "reg_hi", "sigma")
        return Recurrence(
            W=update.matrix,
            offset=update.constant,
            W_y=outputs.matrix,
            offset_y=outputs.constant,
            dac_lo=np.where(states.read, states.dac_lo, states.reg_lo),
            dac_hi=np.where(states.read, states.dac_hi, states.reg_hi),
            after=kinds == {NEW},
            **ends,
            **{name: getattr(states, name) for name in names},
        )

    def _rows(self, forms: Forms) -> _Rows:
        """Forms in drive units, over [states; inputs]."""
        row, column, value = forms.matrix.rows, forms.matrix.columns, forms.matrix.values
        fed, state = self.input_of[column] != NONE, self.drive[column]
        lost = ~fed & (state == NONE)
        if lost.any():
            guilty = self.body.blocks[int(self.columns.block[column[lost.argmax()]])].node
            fact = f"'{guilty}' quantizes an intermediate sum inside the recurrence"
            raise self._fail(fact, "quantize only the state, its increment, its read-out and the output")
        raw = (column == self.states.column[state]) | (column == self.states.new_column[state])
        if (~fed & self.states.read[state] & raw).any():
            fact = "a state is read with and without its read-out quantizer"
            raise self._fail(fact, "read it through one")
        reads = np.full(len(forms.constant), NONE, np.int64)
        reads[row[~fed]] = self.new[column[~fed]]
        if (reads[row] != self.new[column])[~fed].any():
            raise self._fail("a sum reads both the old and the new state", "read one of them")
        count = len(self.states.column)
        place = np.where(fed, count + self.input_of[column], state)
        data = np.where(fed, value, value * self._real(column))
        width = count + int((self.input_of != NONE).sum())
        matrix = Sparse.of_terms((len(forms.constant), width), row, place, data)
        return _Rows(matrix, forms.constant, reads)

    def _outputs(self) -> tuple[_Rows, dict[str, FloatArray]]:
        """Rows of the outputs, and step_y, lo_y, hi_y."""
        single = self.outputs.single
        kinds = self.columns.kind[single] == "quant"
        through = (single != NONE) & kinds & (self.drive[single] == NONE) & (self.input_of[single] == NONE)
        quantized, plain = np.flatnonzero(through), np.flatnonzero(~through)
        column, step = single[quantized], self.outputs.factor[quantized]
        repeated = self._repeated(column)
        again, sums = np.flatnonzero(repeated != NONE), np.flatnonzero(repeated == NONE)
        rescale = step / self.columns.scale[column]
        rows = [
            _scaled(self._repeats(column[again], repeated[again]), rescale[again]),
            _scaled(self._rows(self.seen.take(column[sums])), rescale[sums]),
            self._rows(self.outputs.take(plain)),
        ]
        ends = {"step_y": np.zeros(len(single)), "lo_y": np.full(len(single), -np.inf)}
        ends["hi_y"] = -ends["lo_y"]
        ends["step_y"][quantized] = step
        ends["lo_y"][quantized], ends["hi_y"][quantized] = self.columns.lo[column], self.columns.hi[column]
        return _joined(rows, [quantized[again], quantized[sums], plain]), ends

    def _repeated(self, column: IntArray) -> IntArray:
        """The state whose read-out each of these output quantizers repeats, -1 where it does not."""
        found, states = np.full(len(column), NONE, np.int64), self.states
        source = self.seen.single[column]
        alone = np.flatnonzero((source != NONE) & (self.drive[source] != NONE))
        column, source = column[alone], source[alone]
        state = self.drive[source]
        unit = read_unit(self.columns.scale[column], self.seen.factor[column] * self._real(source))
        raw = (source == states.column[state]) | (source == states.new_column[state])
        dac = (states.dac_lo[state] == self.columns.lo[column]) & (states.dac_hi[state] == self.columns.hi[column])
        same = raw & states.read[state] & dac & (states.unit[state] == unit)
        found[alone[same]] = state[same]
        return found

    def _repeats(self, column: IntArray, state: IntArray) -> _Rows:
        """Rows that are the read-out of one state each, in real units."""
        width = len(self.states.column) + int((self.input_of != NONE).sum())
        matrix = Sparse.of_terms((len(column), width), np.arange(len(column)), state, self.columns.scale[column])
        return _Rows(matrix, np.zeros(len(column)), self.new[self.seen.single[column]])


def _scaled(rows: _Rows, factor: FloatArray) -> _Rows:
    return _Rows(rows.matrix.scaled(factor), rows.constant * factor, rows.reads)


def _joined(parts: list[_Rows], places: list[IntArray]) -> _Rows:
    """The rows of all parts, each at its place."""
    order = np.argsort(np.concatenate(places), kind="stable")
    matrix = below([part.matrix for part in parts]).take(order)
    constant, reads = (np.concatenate([getattr(part, key) for part in parts])[order] for key in ("constant", "reads"))
    return _Rows(matrix, constant, reads)
