"""The streaming integer program: a list of operations on named vectors of integer codes.

Everything happens once per time step, except what follows a reduction over time, which happens once per sequence. What
an operation computes stands in its file in `ssmc.ir.operations`. The graph of a compiled model (domain ``ssmc``, see
`ssmc.ir.read_program`) and this view say the same thing; targets read this.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from ssmc.ir.matrix import Matrix
from ssmc.ir.operations import AnyOp, Dequantize, Ids, Op, Table
from ssmc.ir.operations.dequantize import Head
from ssmc.ir.quant import Codes, Rate
from ssmc.ir.rates import Clock, seen_at_end
from ssmc.ir.rounding import IntArray


@dataclass(frozen=True)
class Program:
    """Operations in execution order.

    Attributes:
        input_name, output_name: names of the real input and output.
        input_size, output_size: features per step, and size of the output.
        ops: each reads values defined before it.
        values: type of every code value, by name.
        inputs: names and numbers of columns of the model's own inputs, where several are joined into the one.
    """

    input_name: str
    input_size: int
    output_name: str
    output_size: int
    ops: tuple[AnyOp, ...]
    values: dict[str, Codes] = field(default_factory=dict)
    inputs: tuple[tuple[str, int], ...] = ()

    def rate(self, op: Op) -> Rate:
        """Whether an op runs once per step or once per sequence (reductions accumulate per step)."""
        return self.values[op.inputs[0]].rate if op.inputs[0] in self.values else "step"

    def clock(self, op: Op) -> Clock:
        """The clock on which an op takes its inputs; () is the input's own, and that of what runs once per sequence."""
        return self.values[op.inputs[0]].clock if op.inputs[0] in self.values else ()

    def rows(self, steps: int) -> int:
        """Output rows for a sequence of ``steps`` input steps, where the output is one vector per step."""
        return int(self.rows_of(np.array(steps)))

    def rows_of(self, lengths: IntArray) -> IntArray:
        """The same for sequences of ``lengths`` (N,)."""
        return seen_at_end(self.output_clock, lengths)

    @property
    def output_clock(self) -> Clock:
        """The clock of the output."""
        return self.values[self.ops[-1].inputs[0]].clock

    def matrices(self) -> Iterator[tuple[AnyOp, Matrix]]:
        """Every matrix with its op."""
        for op in self.ops:
            for matrix in op.matrices():
                yield op, matrix

    def embeddings(self) -> Iterator[Table]:
        """The tables that token ids are looked up in."""
        return (op for op in self.ops if isinstance(op, Table) and self.is_embedding(op))

    def is_embedding(self, op: Table) -> bool:
        """Whether token ids are looked up in a table."""
        return isinstance(self.ops[0], Ids) and op.inputs == (self.ops[0].output,)

    @property
    def head(self) -> Head:
        """What the model does to the program's real outputs, outside of it (`apply_head`)."""
        last = self.ops[-1]
        assert isinstance(last, Dequantize)
        return last.head

    @property
    def output_rate(self) -> Rate:
        """Whether the output is one vector per step or per sequence."""
        return self.values[self.ops[-1].inputs[0]].rate
