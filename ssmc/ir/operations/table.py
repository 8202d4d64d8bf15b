"""Any function of one code, by a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ssmc.ir.operations.operation import Function, Mask, Stateless
from ssmc.ir.operations.reading import GraphNode, code_type
from ssmc.ir.parts import Constants
from ssmc.ir.quant import Codes
from ssmc.ir.rounding import FloatArray, IntArray


@dataclass(frozen=True)
class Table(Stateless):
    """``y[c] = table[c, x[c] - lo]``: any function of one code. ``table`` is (1, levels) or (size, levels).

    One input channel and a table of several rows is an embedding: every row looks up the same code.
    """

    table: IntArray
    lo: int

    functions: ClassVar[dict[str, Function]] = {
        "Table": Function("""Table (x, table, lo) => (y) {
  shifted = Sub (x, lo)
  column = Cast <to: int = 7> (shifted)
  levels = Shape <start: int = 1, end: int = 2> (table)
  rows = Shape <start: int = 0, end: int = 1> (table)
  zero = Constant <value: tensor = int64 {0}> ()
  one = Constant <value: tensor = int64 {1}> ()
  minus_one = Constant <value_ints: ints = [-1]> ()
  count = Squeeze (rows)
  row = Range (zero, count, one)
  start = Mul (row, levels)
  index = Add (column, start)
  flat = Reshape (table, minus_one)
  y = Gather <axis: int = 0> (flat, index)
}""")
    }

    @classmethod
    def read(cls, node: GraphNode) -> tuple[Table, Codes]:
        """One row for all channels, or a row each."""
        c, (x,) = node.constants, node.types
        table = c["table"].astype(np.int64)
        op = cls(*node.wiring, table, int(c["lo"]))
        return op, code_type(max(x.size, len(table)), table.min(), table.max(), x.rate)

    def apply(self, x: IntArray) -> IntArray:
        """Codes (..., size), or (..., 1) for an embedding, to codes (..., size)."""
        index = x - self.lo
        if self.table.shape[0] == 1:
            return np.asarray(self.table[0][index], np.int64)
        return np.asarray(self.table[np.arange(self.table.shape[0]), index], np.int64)

    @classmethod
    def channels(cls, c: Constants, sources: Sequence[int]) -> int:
        """As many as the input, or the rows of an embedding."""
        return max(sources[0], len(c["table"]))

    @classmethod
    def demand(cls, c: Constants, out: Mask, sources: Sequence[Mask]) -> tuple[Mask, tuple[Mask, ...]]:
        """Channel by channel; an embedding makes many channels of one id."""
        if out.size != sources[0].size:
            return out, (np.ones_like(sources[0]),)
        return super().demand(c, out, sources)

    @classmethod
    def narrowed(cls, c: Constants, out: Mask, source: Mask) -> Constants:
        """Rows of the table, where channels have their own."""
        return {"table": c["table"][out]} if len(c["table"]) > 1 else {}

    @classmethod
    def constant_codes(cls, c: Constants, source: FloatArray | None) -> FloatArray | None:
        """A constant code, looked up."""
        if source is None:
            return None
        fixed = ~np.isnan(source)
        index = np.where(fixed, source - c["lo"], 0).astype(np.int64)
        row = np.arange(len(source)) if len(c["table"]) > 1 else np.zeros(len(source), np.int64)
        return np.where(fixed, c["table"][row, index], np.nan)
