"""A C file in the making: constants for flash, functions, and a count of what they cost."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from ssmc.emit_c.packing import pack_rows, packed_bits
from ssmc.emit_c.widths import CType, holding, narrowest
from ssmc.ir.rates import Clock, period, seen_at_end
from ssmc.ir.rounding import IntArray

COLUMN = 108


@dataclass(frozen=True)
class Constant:
    """A const array.

    Attributes:
        name: in C, prefixed.
        ctype: of its elements.
        values: flat.
        comment: what it holds.
    """

    name: str
    ctype: CType
    values: IntArray
    comment: str

    @property
    def bytes(self) -> int:
        """Flash it takes."""
        return self.ctype.bytes * self.values.size

    def text(self) -> str:
        """Its definition."""
        numbers = ", ".join(map(str, self.values.ravel().tolist()))
        body = textwrap.fill(numbers, COLUMN, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)
        head = f"static const {self.ctype.name} {self.name}[{self.values.size}] = {{"
        return f"/* {comment_text(self.comment)} */\n{head}\n{body}\n}};"


@dataclass(frozen=True)
class Weights:
    """Integer weights in flash.

    Attributes:
        constant: the array.
        bits: of one code; below 8 they are packed.
        row: codes of one row, the unit that is unpacked at once.
    """

    constant: Constant
    bits: int
    row: int

    @property
    def packed(self) -> bool:
        """Several codes a byte."""
        return self.bits < 8

    @property
    def ctype(self) -> CType:
        """Type of a code when it is used."""
        return holding([-1]) if self.packed else self.constant.ctype

    @property
    def row_bytes(self) -> int:
        """Bytes of a packed row."""
        return -(-self.row * self.bits // 8)


@dataclass(frozen=True)
class Param:
    """A number per row that a layer needs: written out where all rows have the same, else a table.

    Attributes:
        text: of the literal, the name of the table, or an expression of the row at hand in brackets.
        table: rows differ.
        lo, hi: smallest and largest.
    """

    text: str
    table: bool
    lo: int
    hi: int

    def at(self, index: str) -> str:
        """The number of a row."""
        return f"{self.text}[{index}]" if self.table and not self.text.startswith("(") else self.text

    def always(self, value: int) -> bool:
        """Whether every row has this value."""
        return not self.table and self.lo == value


@dataclass(frozen=True)
class Layer:
    """One operation in C.

    Attributes:
        name: of the operation in the program.
        call: the statement that runs it.
        macs: multiply-accumulates each time.
        requants: requantizations, read-outs and channel-wise roundings each time, by what they are.
        scratch_bytes: local arrays.
        stored: how its weights are stored, for people.
        clock: at whose steps it runs; () is every step of the input, or once at the end.
    """

    name: str
    call: str
    macs: int = 0
    requants: dict[str, int] = field(default_factory=dict)
    scratch_bytes: int = 0
    stored: str = ""
    clock: Clock = ()

    def operations(self) -> int:
        """Everything that is no multiply-accumulate, counted once per code."""
        return sum(self.requants.values())


def per_input_step(layers: Iterable[Layer], count: Callable[[Layer], int]) -> float:
    """What ``layers`` count per step of the input, in the mean: those at a lower rate run less often."""
    mean = sum((Fraction(count(layer), period(layer.clock)) for layer in layers), Fraction(0))
    return int(mean) if mean.denominator == 1 else float(mean)


def per_sequence(layers: Iterable[Layer], count: Callable[[Layer], int], steps: int) -> int:
    """What ``layers`` count in a sequence of ``steps`` steps of the input."""
    return sum(count(layer) * int(seen_at_end(layer.clock, np.array(steps))) for layer in layers)


@dataclass
class SourceFile:
    """Everything one model's ``.c`` file defines.

    Attributes:
        prefix: of every name.
        word: least width of weights and values: 8 for memory, 16 where a vector unit multiplies 16-bit words.
        constants: const arrays in order.
        functions: texts of the layers' functions in order.
        helpers: names of the shared functions used.
    """

    prefix: str
    word: int = 8
    constants: list[Constant] = field(default_factory=list)
    functions: list[str] = field(default_factory=list)
    helpers: set[str] = field(default_factory=set)
    taken: set[str] = field(default_factory=set)

    def name(self, wanted: str) -> str:
        """A prefixed C identifier that nothing else has."""
        return f"{self.prefix}_{unique(wanted, self.taken)}"

    def helper(self, name: str) -> str:
        """The C name of a shared function, which the file then defines."""
        self.helpers.add(name)
        return f"{self.prefix}_{name}"

    def constant(self, name: str, values: IntArray, comment: str, ctype: CType | None = None) -> Constant:
        """Define a const array; equal arrays are stored once."""
        flat = np.ascontiguousarray(values, np.int64).ravel()
        kind = ctype or holding(flat)
        for known in self.constants:
            if known.ctype == kind and np.array_equal(known.values, flat):
                return known
        made = Constant(self.name(name), kind, flat, comment)
        self.constants.append(made)
        return made

    def weights(self, name: str, rows: IntArray, comment: str, *, bits: int | None = None) -> Weights:
        """Define weights (rows, n), packed where that is narrower."""
        width = max(packed_bits(rows) if bits is None else bits, 0 if self.word == 8 else self.word)
        if width >= 8:
            stored = narrowest(min(-1, int(rows.min(initial=0))), int(rows.max(initial=0)), self.word)
            return Weights(self.constant(name, rows, comment, stored), stored.bits, rows.shape[1])
        how = f"{comment}; {width}-bit codes, {8 // width} a byte, the first lowest, {rows.shape[1]} a row"
        packed = self.constant(name, pack_rows(rows, width), how, holding([0, 255]))
        return Weights(packed, width, rows.shape[1])

    def param(self, name: str, values: IntArray, comment: str) -> Param:
        """Define a number per row."""
        lo, hi = int(values.min()), int(values.max())
        if lo == hi:
            return Param(literal(lo), False, lo, hi)
        return Param(self.constant(name, values, comment).name, True, lo, hi)

    @property
    def flash_bytes(self) -> int:
        """Size of all constants."""
        return sum(constant.bytes for constant in self.constants)


def literal(value: int) -> str:
    """An integer constant of sufficient type."""
    if -(1 << 31) < value < 1 << 31:
        return str(value) if value >= 0 else f"({value})"
    if value == -(1 << 31):
        return "(-INT32_C(2147483647) - 1)"
    return f"INT64_C({value})" if value >= 0 else f"(-INT64_C({-value}))"


def unique(wanted: str, taken: set[str]) -> str:
    """A C identifier made from a name, numbered where it is taken."""
    stem = re.sub(r"[^0-9a-z]+", "_", wanted.lower()).strip("_") or "op"
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f"{stem}_{number}"
    taken.add(name)
    return name


def comment_text(text: str) -> str:
    """Names of a model inside a C comment."""
    return re.sub(r"[^ -~]", "?", text).replace("*/", "* /").replace("/*", "/ *")


def block(lines: Iterable[str], depth: int = 1) -> str:
    """Lines indented by ``depth`` times four spaces."""
    return "\n".join(f"{'    ' * depth}{line}" if line else line for line in lines)
