"""How wide the sums of an operation are: the largest absolute value of any partial sum, as bits with a sign."""

from __future__ import annotations

from ssmc.ir.operations import AnyOp
from ssmc.ir.program import Program


def accumulator_bits(program: Program, op: AnyOp) -> int:
    """Width of the widest accumulator of an operation, the sign included; 0 where it has none."""
    tops = [program.values[name].top if name in program.values else 0 for name in op.inputs]
    largest = op.largest_sum(tops)
    return 0 if largest is None else largest.bit_length() + 1
