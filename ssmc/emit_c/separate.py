"""Accumulators with multipliers of their own in C: ``m_a (A x) + m_b (B u)``, where only the products need 64 bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssmc.emit_c.context import bound
from ssmc.emit_c.source import Param, SourceFile
from ssmc.ir.matrix import Matrix
from ssmc.ir.requant import Requant
from ssmc.ir.rounding import IntArray

STATES, INPUTS = 0, 1


@dataclass(frozen=True)
class Factors:
    """Multipliers of the accumulators over states and over inputs, by row in C's order; None where there are none."""

    each: tuple[Param, Param] | None = None

    def times(self, part: int, text: str, row: str) -> str:
        """The accumulator ``text`` of a part (`STATES` or `INPUTS`), as the row's sum takes it."""
        if self.each is None:
            return text
        return f"(int64_t){self.each[part].at(row)} * ({text})"


def as_stored(matrix: Matrix, states: int) -> Matrix:
    """The matrix as C stores it, with one multiplier for the states and one for the inputs.

    Where inputs differ in scale, multipliers are inside the weights instead, and 1.
    """
    if matrix.multiplier is None:
        return matrix
    if matrix.stops[:-1] not in ((), (states,)):
        return Matrix(matrix.wide, (), np.ones((*matrix.codes.shape[:2], 1), np.int64), (matrix.inputs,))
    both = matrix.multiplier if len(matrix.stops) > 1 else np.repeat(matrix.multiplier, 2, -1)
    return Matrix(matrix.codes, (), both, (states, matrix.inputs))


def define_factors(file: SourceFile, name: str, multiplier: IntArray | None, order: IntArray) -> Factors:
    """Define the multipliers (G, out, 2) of the rows ``order`` (rows, 2), pairs of group and output."""
    if multiplier is None or multiplier.shape[-1] == 1 or not len(order):
        return Factors()
    rows = multiplier[order[:, 0], order[:, 1]]
    if (rows == 1).all():
        return Factors()
    a, b = (
        file.param(f"{name}_{what}", rows[:, part], f"{name}: multiplier of the sum over {what} by row")
        for part, what in enumerate(("states", "inputs"))
    )
    return Factors((a, b))


def reach_of(matrix: Matrix, requant: Requant, lo: IntArray, hi: IntArray) -> IntArray:
    """Largest absolute value (G, out) of a row's sum, multipliers included, or of any part of it.

    A requantization that uses all of 62 bits was fitted to the exact ends of the sums; others take a simpler bound.
    """
    if matrix.multiplier is None and not requant.distance:
        return bound(matrix.codes, lo, hi)
    low, high = matrix.reach(np.minimum(lo, 0), np.maximum(hi, 0))
    return np.maximum(-low, high)
