"""Where values live: members of the state struct, shared by values that are never needed at the same time."""

from __future__ import annotations

from dataclasses import dataclass

from ssmc.emit_c.source import unique
from ssmc.emit_c.widths import CType, narrowest
from ssmc.ir.operations import Dequantize, Last, Op, Quantize, Slice
from ssmc.ir.program import Program


@dataclass(frozen=True)
class Field:
    """A member array of the state struct.

    Attributes:
        name, ctype, count: as in C.
        comment: what it holds.
        value: the program's value it holds, where it holds but one.
    """

    name: str
    ctype: CType
    count: int
    comment: str
    value: str = ""

    @property
    def bytes(self) -> int:
        """RAM it takes."""
        return self.ctype.bytes * self.count


@dataclass(frozen=True)
class Buffers:
    """Expressions of all values, and the members that hold those that need one."""

    where: dict[str, str]
    fields: tuple[Field, ...]


def input_type(program: Program, word: int) -> CType:
    """Type of the input codes."""
    quant = _input(program).quant
    return narrowest(quant.lo, quant.hi, word)


def input_needs_clamp(program: Program, word: int) -> bool:
    """The input's C type holds more than the input's codes."""
    quant, ctype = _input(program).quant, input_type(program, word)
    return (quant.lo, quant.hi) != (ctype.lo, ctype.hi)


def _input(program: Program) -> Quantize:
    first = program.ops[0]
    assert isinstance(first, Quantize)
    return first


def output_value(program: Program) -> str:
    """The value that leaves the program."""
    return program.ops[-1].inputs[0]


def _last_use(program: Program) -> dict[str, int]:
    """Index of the last op that reads each value, through the slices that alias it."""
    last: dict[str, int] = {}
    for index in range(len(program.ops) - 1, -1, -1):
        op = program.ops[index]
        until = last.get(op.output, index) if isinstance(op, Slice) else index
        for value in op.inputs:
            last[value] = max(last.get(value, -1), until)
    return last


class Planner:
    """Gives every value a place; `share` lets values of one type follow each other in one member."""

    def __init__(self, program: Program, share: bool, taken: set[str], word: int = 8) -> None:
        self.program, self.share, self.taken, self.word = program, share, taken, word
        self.where: dict[str, str] = {}
        self.fields: list[Field] = []
        self.free: list[int] = []
        self.slot_of: dict[str, int] = {}
        self.until = _last_use(program)

    def plan(self, held: dict[str, str]) -> Buffers:
        """``held`` are the values that a reduction keeps as its own state: value -> expression."""
        for index, op in enumerate(self.program.ops):
            if not isinstance(op, Dequantize):
                self._place(op, held)
                self._release(index)
        return Buffers(self.where, tuple(self.fields))

    def _place(self, op: Op, held: dict[str, str]) -> None:
        value = op.output
        if isinstance(op, Quantize) and not input_needs_clamp(self.program, self.word):
            self.where[value] = "x"
        elif isinstance(op, Last):
            self.where[value] = held[op.name]
        elif isinstance(op, Slice):
            source = self.where[op.inputs[0]]
            self.where[value] = f"({source} + {op.start})" if op.start else source
        elif self.share and value == output_value(self.program):
            self.where[value] = "y"
        else:
            self.where[value] = f"state->{self._member(value)}"

    def _member(self, value: str) -> str:
        codes = self.program.values[value]
        ctype = narrowest(codes.quant.lo, codes.quant.hi, self.word)
        fitting = [i for i in self.free if self.fields[i].ctype == ctype]
        if not self.share or not fitting:
            name = unique("work" if self.share else f"v_{value}", self.taken)
            comment = "values between layers" if self.share else value
            self.fields.append(Field(name, ctype, codes.size, comment, "" if self.share else value))
            self.slot_of[value] = len(self.fields) - 1
            return name
        best = min(fitting, key=lambda i: (self.fields[i].count < codes.size, abs(self.fields[i].count - codes.size)))
        self.free.remove(best)
        old = self.fields[best]
        self.fields[best] = Field(old.name, old.ctype, max(old.count, codes.size), old.comment)
        self.slot_of[value] = best
        return old.name

    def _release(self, index: int) -> None:
        done = [value for value in self.slot_of if self.until.get(value, -1) <= index]
        for value in done:
            self.free.append(self.slot_of.pop(value))
