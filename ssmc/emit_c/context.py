"""What an emitter of one layer knows about the program around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssmc.emit_c.source import SourceFile, comment_text
from ssmc.emit_c.widths import CType, accumulator, narrowest
from ssmc.errors import ModelError
from ssmc.ir.matrix import Matrix
from ssmc.ir.operations import Op
from ssmc.ir.program import Program
from ssmc.ir.rounding import IntArray


@dataclass(frozen=True)
class Context:
    """The file in the making, the program, and the C expression of every value's first element.

    Attributes:
        file: gets constants and functions.
        program: source.
        where: value -> C expression, an array or a pointer.
    """

    file: SourceFile
    program: Program
    where: dict[str, str]

    def ctype(self, value: str) -> CType:
        """Type of a value's codes."""
        quant = self.program.values[value].quant
        return narrowest(quant.lo, quant.hi, self.file.word)

    def size(self, value: str) -> int:
        """Channels of a value."""
        return self.program.values[value].size

    def ends(self, value: str) -> tuple[int, int]:
        """Range of a value's codes."""
        quant = self.program.values[value].quant
        return quant.lo, quant.hi

    def define(self, op: Op, what: str, arguments: str, lines: list[str], *, apart: bool = False) -> str:
        """Add the function of a layer, ``apart`` where it is not to be inlined; returns its C name."""
        name, static = self.file.name(op.name), self.file.helper("apart") if apart else "static"
        head = [f"/* {comment_text(what)} */", f"{static} void {name}({arguments})", "{"]
        self.file.functions.append("\n".join([*head, *lines, "}"]))
        return name

    def call(self, function: str, op: Op, *state: str) -> str:
        """The statement that runs a layer's function on its state, inputs and output."""
        return f"{function}({', '.join([*state, *(self.where[v] for v in (*op.inputs, op.output))])});"


def check_matrix(matrix: Matrix, node: str) -> None:
    """Decline what only a crossbar does.

    Raises:
        ModelError: SSMC-C21.
    """
    if matrix.is_lowered:
        fact = "the matrix was lowered to partial conversions of a crossbar"
        raise ModelError("SSMC-C21", fact, "compile it for target aimc, or from the model for target c", node)


def bound(codes: IntArray, lo: IntArray, hi: IntArray) -> IntArray:
    """Largest absolute value of any partial sum of codes (..., out, in) times inputs within lo..hi (..., in)."""
    largest = np.maximum(np.abs(lo), np.abs(hi))
    return np.asarray((np.abs(codes) * largest[..., None, :]).sum(-1), np.int64)


def sum_type(reach: IntArray) -> CType:
    """Accumulator type for these bounds."""
    return accumulator(int(reach.max(initial=0)))


def arguments(*pairs: tuple[str, CType, str]) -> str:
    """``(const, type, name)`` triples as the parameters of a function whose arrays do not overlap."""
    return ", ".join(f"{const}{ctype.name} *restrict {name}" for const, ctype, name in pairs)
