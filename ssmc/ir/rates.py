"""Rates: which steps of the input are steps of a value that runs at a lower rate.

A `Group` turns steps of one rate into steps of the next, lower one; a `Clock` is the groups between the input and a
value, in order. Groups start at step 0 of each sequence, so the number of input steps alone says where a clock stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from math import prod

import numpy as np

from ssmc.ir.rounding import IntArray


@dataclass(frozen=True)
class Group:
    """Steps of one rate that make one step of the next: steps ``first``, ``first + size``, ... give one each.

    Attributes:
        size: steps of a group.
        first: the step, counted from 0, that completes the first group.
        rest: a last group that is not complete gives one more step at the end of the sequence.
    """

    size: int
    first: int
    rest: bool

    def complete(self, steps: IntArray) -> IntArray:
        """How many groups ``steps`` (N,) steps complete."""
        return np.asarray(np.maximum(steps - 1 - self.first + self.size, 0) // self.size, np.int64)

    def at_end(self, steps: IntArray) -> IntArray:
        """How many steps ``steps`` (N,) steps make of the lower rate once the sequence has ended."""
        pending = (steps % self.size != 0) if self.rest else np.zeros_like(steps)
        return self.complete(steps) + pending


#: the groups from the input's rate down to that of a value; () is the input's own
Clock = tuple[Group, ...]


def seen(clock: Clock, steps: IntArray) -> IntArray:
    """Steps (N,) of a clock after ``steps`` (N,) steps of the input, while the sequence goes on."""
    return reduce(lambda n, group: group.complete(n), clock, np.array(steps, np.int64))


def seen_at_end(clock: Clock, steps: IntArray) -> IntArray:
    """Steps (N,) of a clock for sequences that end after ``steps`` (N,) steps of the input: rests count."""
    return reduce(lambda n, group: group.at_end(n), clock, np.array(steps, np.int64))


def period(clock: Clock) -> int:
    """Input steps between two steps of a clock."""
    return prod(group.size for group in clock)


def enough_steps(clock: Clock) -> int:
    """Input steps after which the clock has ticked for the first time."""
    return reduce(lambda n, group: group.first + 1 + (n - 1) * group.size, reversed(clock), 1)
