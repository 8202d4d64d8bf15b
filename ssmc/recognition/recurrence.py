"""Recognise a loop body as a state-space kernel: by its affine forms and quantizers, not by its spelling.

Per state element, the next state must be one of
- *direct*: the codes of one quantizer,
- *delta*: ``clip(r + b * codes of one quantizer)``; without r (a mixed kernel clips all states) it is direct,
- *real*: an affine form with no quantizer (a float model).
The state may be read through one more quantizer (the DAC read-out R(r)) whose step is 2**p register steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssmc.errors import ModelError
from ssmc.ir.affine import Affine
from ssmc.ir.rounding import FloatArray, round_half_even
from ssmc.recognition.loop_body import Block, LoopBody

MOST_REGISTER_BITS = 24
GRID_ERROR = 2.0**-20


@dataclass(frozen=True)
class Recurrence:
    """A kernel in drive units: ``q = clip(round((W v + offset) / step))``, v = [R(r) codes; u real].

    Shapes: S states, U inputs, P outputs. ``step`` 0 stands for no quantizer.

    Attributes:
        W: (S, S + U) real. offset, step, lo, hi: (S,).
        W_y: (P, S + U). offset_y, step_y, lo_y, hi_y: (P,); y = step_y * code.
        keep, unit, dac_lo, dac_hi, reg_lo, reg_hi, sigma: (S,); sigma is the real value of one register code.
        after: y reads the new state.
    """

    W: FloatArray
    offset: FloatArray
    step: FloatArray
    lo: FloatArray
    hi: FloatArray
    W_y: FloatArray
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


@dataclass
class _State:
    """What is known of one state element."""

    column: int
    keep: float = 0.0
    sigma: float = 1.0
    reg_lo: float = -np.inf
    reg_hi: float = np.inf
    row: tuple[Affine, int] | None = None
    step: float = 0.0
    lo: float = -np.inf
    hi: float = np.inf
    new_column: int = -1
    unit: float = 1.0
    dac: tuple[float, float] | None = None


@dataclass(frozen=True)
class _Drive:
    """Which state a basis column reads, and whether the old or the new one."""

    state: int
    new: bool


class Recogniser:
    """Turns a `LoopBody` into a `Recurrence`; ``node`` names the loop in errors."""

    def __init__(self, body: LoopBody, node: str) -> None:
        """Index the blocks by column."""
        self.body = body
        self.node = node
        self.owner = np.concatenate([np.full(b.size, i) for i, b in enumerate(body.blocks)])
        columns = [b.start + np.arange(b.size) for b in body.blocks if b.kind == "state"]
        self.states = [_State(int(c)) for c in np.concatenate(columns)]
        inputs = [b.start + np.arange(b.size) for b in body.blocks if b.kind == "input"]
        self.inputs = {int(c): i for i, c in enumerate(np.concatenate(inputs))}
        self.drives: dict[int, _Drive] = {}

    def recognise(self) -> Recurrence:
        """Run the three steps: updates, read-outs, rows."""
        index = 0
        for form in self.body.next_states:
            for element in range(len(form.constant)):
                self._update(self.states[index], form, element)
                index += 1
        for i, state in enumerate(self.states):
            self.drives[state.column] = _Drive(i, new=False)
            if state.new_column >= 0:
                self.drives[state.new_column] = _Drive(i, new=True)
        self._read_outs()
        return self._assemble()

    def _block(self, column: int) -> Block:
        return self.body.blocks[int(self.owner[column])]

    def _per_code(self, column: int) -> float:
        """Forms hold coefficients of codes for quantizers, of real values for states and clips."""
        real = self._block(column).kind in ("state", "clip")
        return self.states[self.drives[column].state].sigma if real else 1.0

    def _fail(self, fact: str, remedy: str) -> ModelError:
        return ModelError("SSMC-S02", fact, remedy, self.node)

    def _update(self, state: _State, form: Affine, element: int) -> None:
        columns, values = form.row(element)
        single = len(columns) == 1 and form.constant[element] == 0.0
        block = self._block(columns[0]) if single else None
        if block is not None and block.kind == "quant":
            self._direct(state, block, columns[0], values[0])
        elif block is not None and block.kind == "clip" and values[0] == 1.0:
            self._delta(state, block, columns[0])
        else:
            state.row = (form, element)

    def _quantizer(self, state: _State, block: Block, column: int) -> None:
        offset = column - block.start
        assert block.form is not None
        state.row = (block.form, offset)
        state.step = float(block.scale[offset])
        state.lo, state.hi = float(block.lo[offset]), float(block.hi[offset])

    def _direct(self, state: _State, block: Block, column: int, value: float) -> None:
        self._quantizer(state, block, column)
        state.sigma, state.new_column = value, column
        state.reg_lo, state.reg_hi = state.lo, state.hi

    def _delta(self, state: _State, block: Block, column: int) -> None:
        assert block.form is not None
        columns, values = block.form.row(column - block.start)
        pairs = dict(zip(columns, values, strict=True))
        kept = pairs.pop(state.column, 0.0)
        if kept not in (0.0, 1.0) or len(pairs) != 1 or block.form.constant[column - block.start] != 0.0:
            raise self._fail(
                "a clipped state is not register + quantized increment", "quantize the increment, or the state"
            )
        ((increment, sigma),) = pairs.items()
        if self._block(increment).kind != "quant":
            raise self._fail("the increment of a clipped state is not quantized", "quantize the increment")
        self._quantizer(state, self._block(increment), increment)
        offset = column - block.start
        state.keep, state.sigma, state.new_column = kept, sigma, column
        state.reg_lo, state.reg_hi = (self._on_grid(float(end[offset]), sigma) for end in (block.lo, block.hi))
        if not kept:  # what the quantizer cannot deliver the clip cannot cut
            state.reg_lo, state.reg_hi = max(state.reg_lo, state.lo), min(state.reg_hi, state.hi)
        if state.reg_hi - state.reg_lo >= 1 << MOST_REGISTER_BITS:
            raise self._fail(f"a state register is wider than {MOST_REGISTER_BITS} bits", "clip it tighter")

    def _on_grid(self, bound: float, sigma: float) -> float:
        """A saturation bound in register codes; the float32 that spells it may be half an ulp off."""
        code = bound / sigma
        if not np.isfinite(code):
            return code
        whole = float(round_half_even(code))
        if abs(code - whole) > GRID_ERROR * max(abs(whole), 1.0):
            raise self._fail(f"a state saturates at {bound:g}, between two register codes", "clip it at a whole code")
        return whole

    def _read_outs(self) -> None:
        """Quantizers of a single state element: its DAC read-out."""
        updates = {id(state.row[0]) for state in self.states if state.row}
        read = self._columns_read()
        for block in self.body.blocks:
            if block.kind != "quant" or block.form is None or id(block.form) in updates:
                continue
            if not read & set(range(block.start, block.start + block.size)) and self._is_output(block):
                continue  # the output's own quantizer, which may happen to see a single state
            for element in range(block.size):
                columns, values = block.form.row(element)
                if len(columns) != 1 or columns[0] not in self.drives or block.form.constant[element] != 0.0:
                    break
                self._read_out(block, element, columns[0], values[0])

    def _is_output(self, block: Block) -> bool:
        """Whether some output of the loop is this quantizer, element by element."""
        columns = [
            [form.row(e)[0] for e in range(len(form.constant))] for form in self.body.outputs if not form.constant.any()
        ]
        return any(all(len(c) == 1 and self._block(c[0]) is block for c in output) for output in columns)

    def _seen_read_out(self, block: Block, element: int) -> int | None:
        """The state whose read-out this output quantizer repeats."""
        assert block.form is not None
        columns, values = block.form.row(element)
        if len(columns) != 1 or columns[0] not in self.drives or block.form.constant[element] != 0.0:
            return None
        index = self.drives[columns[0]].state
        state = self.states[index]
        raw = columns[0] in (state.column, state.new_column)
        dac = (float(block.lo[element]), float(block.hi[element]))
        same = state.dac == dac and state.unit == self._unit(block, element, columns[0], values[0])
        return index if raw and same else None

    def _unit(self, block: Block, element: int, column: int, value: float) -> float:
        """Read-out step in register steps; a power of two where float32 scales come as near as they can."""
        unit = float(block.scale[element]) / (value * self._per_code(column))
        if unit <= 0:
            return unit
        whole = float(2.0 ** round_half_even(np.log2(unit)))
        return whole if abs(unit - whole) <= GRID_ERROR * whole else unit

    def _columns_read(self) -> set[int]:
        """Columns that some sum reads: all but those that are an output by themselves."""
        rows = [state.row for state in self.states if state.row]
        rows += [(b.form, e) for b in self.body.blocks if b.form is not None for e in range(b.size)]
        outputs = [(form, e) for form in self.body.outputs for e in range(len(form.constant))]
        rows += [(form, e) for form, e in outputs if len(form.row(e)[0]) > 1]
        return {column for form, element in rows for column in form.row(element)[0]}

    def _read_out(self, block: Block, element: int, column: int, value: float) -> None:
        source = self.drives[column]
        state = self.states[source.state]
        unit = self._unit(block, element, column, value)
        dac = (float(block.lo[element]), float(block.hi[element]))
        if unit < 1 or np.log2(unit) % 1 != 0:
            raise self._fail(f"the state read-out step is {unit:g} register steps", "use a power of two of at least 1")
        if state.dac is not None and (state.unit, state.dac) != (unit, dac):
            raise self._fail("a state is read through two different quantizers", "read it through one")
        state.unit, state.dac = unit, dac
        self.drives[block.start + element] = _Drive(source.state, source.new)

    def _assemble(self) -> Recurrence:
        count = len(self.states)
        width = count + len(self.inputs)
        W, offset = np.zeros((count, width)), np.zeros(count)
        for i, state in enumerate(self.states):
            if state.row is None:
                raise self._fail("a state has no update", "check the loop body")
            W[i], offset[i], new = self._row(*state.row, width)
            if new:
                raise self._fail("a state update reads another new state", "update all states from the old ones")
        outputs = [self._output(form, e, width) for form in self.body.outputs for e in range(len(form.constant))]
        kinds = {new for *_, new in outputs if new is not None}
        if len(kinds) > 1:
            raise self._fail("outputs read both the old and the new state", "read one of them")
        W_y = np.array([row for row, *_ in outputs]).reshape(-1, width)
        ends = np.array([o[1:5] for o in outputs], np.float64).reshape(-1, 4)
        table = {
            name: np.array([getattr(state, name) for state in self.states])
            for name in ("step", "lo", "hi", "keep", "unit", "reg_lo", "reg_hi", "sigma")
        }
        dac = [state.dac or (state.reg_lo, state.reg_hi) for state in self.states]
        offset_y, step_y, lo_y, hi_y = ends.T
        return Recurrence(
            W=W,
            offset=offset,
            W_y=W_y,
            offset_y=offset_y,
            step_y=step_y,
            lo_y=lo_y,
            hi_y=hi_y,
            dac_lo=np.array([lo for lo, _ in dac]),
            dac_hi=np.array([hi for _, hi in dac]),
            after=kinds == {True},
            **table,
        )

    def _row(self, form: Affine, element: int, width: int) -> tuple[FloatArray, float, bool | None]:
        """Coefficients in drive units, the constant, and whether the row reads the new state (None: no state)."""
        row = np.zeros(width)
        new: bool | None = None
        for column, value in zip(*form.row(element), strict=True):
            if column in self.inputs:
                row[len(self.states) + self.inputs[column]] += value
                continue
            drive = self.drives.get(column)
            if drive is None:
                raise self._fail(
                    f"'{self._block(column).node}' quantizes an intermediate sum inside the recurrence",
                    "quantize only the state, its increment, its read-out and the output",
                )
            state = self.states[drive.state]
            if state.dac is not None and column in (state.column, state.new_column):
                raise self._fail("a state is read with and without its read-out quantizer", "read it through one")
            if new is not None and new != drive.new:
                raise self._fail("a sum reads both the old and the new state", "read one of them")
            new = drive.new
            row[drive.state] += value * self._per_code(column)
        return row, float(form.constant[element]), new

    def _quantized_row(self, block: Block, element: int, width: int) -> tuple[FloatArray, float, bool | None]:
        """The sum that an output quantizer sees, in real units."""
        assert block.form is not None
        repeated = self._seen_read_out(block, element)
        if repeated is None:
            return self._row(block.form, element, width)
        row = np.zeros(width)
        row[repeated] = float(block.scale[element])
        return row, 0.0, self.drives[block.form.row(element)[0][0]].new

    def _output(
        self, form: Affine, element: int, width: int
    ) -> tuple[FloatArray, float, float, float, float, bool | None]:
        columns, values = form.row(element)
        if len(columns) == 1 and columns[0] not in self.drives and columns[0] not in self.inputs:
            block = self._block(columns[0])
            if block.kind == "quant" and block.form is not None and form.constant[element] == 0.0:
                at = columns[0] - block.start
                row, constant, new = self._quantized_row(block, at, width)
                rescale = values[0] / float(block.scale[at])
                return row * rescale, constant * rescale, values[0], float(block.lo[at]), float(block.hi[at]), new
        row, constant, new = self._row(form, element, width)
        return row, constant, 0.0, -np.inf, np.inf, new
