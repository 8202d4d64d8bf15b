"""Sparse matrices by rows, as far as affine forms need them: a small part of scipy's, without the import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ssmc.ir.rounding import FloatArray, IntArray


@dataclass(frozen=True)
class Sparse:
    """The nonzero terms of a matrix, ordered by row and column, one at a place.

    Attributes:
        shape: rows and columns.
        starts: (rows + 1,), where the terms of each row begin, and where the last end.
        columns, values: of every term.
    """

    shape: tuple[int, int]
    starts: IntArray
    columns: IntArray
    values: FloatArray

    @staticmethod
    def of_terms(shape: tuple[int, int], rows: IntArray, columns: IntArray, values: FloatArray) -> Sparse:
        """Terms in any order; those at one place are added in the order given, and zeros dropped."""
        place = rows * max(shape[1], 1) + columns
        if (place[1:] <= place[:-1]).any():
            order = np.argsort(place, kind="stable")
            rows, columns, values, place = rows[order], columns[order], values[order], place[order]
            fresh = np.concatenate([[True], place[1:] != place[:-1]])
            rows, columns, values = rows[fresh], columns[fresh], _sums(np.cumsum(fresh) - 1, values)
        kept = values != 0.0
        starts = np.concatenate([[0], np.cumsum(np.bincount(rows[kept], minlength=shape[0]))])
        return Sparse(shape, starts, columns[kept], values[kept])

    @staticmethod
    def empty(rows: int, columns: int = 0) -> Sparse:
        """Nothing but zeros."""
        return Sparse((rows, columns), np.zeros(rows + 1, np.int64), np.zeros(0, np.int64), np.zeros(0))

    @cached_property
    def rows(self) -> IntArray:
        """Of every term."""
        return np.repeat(np.arange(self.shape[0]), self.counts)

    @cached_property
    def counts(self) -> IntArray:
        """Terms of every row, (rows,)."""
        return np.diff(self.starts)

    def widened(self, columns: int) -> Sparse:
        """With columns of zeros up to ``columns``."""
        return Sparse((self.shape[0], columns), self.starts, self.columns, self.values)

    def take(self, rows: IntArray) -> Sparse:
        """The given rows, in their order."""
        at, starts = self._terms(rows)
        return Sparse((len(rows), self.shape[1]), starts, self.columns[at], self.values[at])

    def _terms(self, rows: IntArray) -> tuple[IntArray, IntArray]:
        """Positions of the terms of rows, one row after the other, and where each row's begin."""
        counts = self.counts[rows]
        starts = np.concatenate([[0], np.cumsum(counts)])
        return np.repeat(self.starts[rows] - starts[:-1], counts) + np.arange(starts[-1]), starts

    def scaled(self, factor: FloatArray) -> Sparse:
        """Every row times its factor (rows,)."""
        return Sparse.of_terms(self.shape, self.rows, self.columns, self.values * factor[self.rows])

    def plus(self, other: Sparse, sign: float = 1.0) -> Sparse:
        """``self + sign * other``."""
        parts = ((self, 1.0), (other, sign))
        rows, columns = (np.concatenate([getattr(m, key) for m, _ in parts]) for key in ("rows", "columns"))
        return Sparse.of_terms(self.shape, rows, columns, np.concatenate([m.values * s for m, s in parts]))

    def times(self, other: Sparse) -> Sparse:
        """The matrix product."""
        at, _ = other._terms(self.columns)
        counts = other.counts[self.columns]
        values = np.repeat(self.values, counts) * other.values[at]
        shape = self.shape[0], other.shape[1]
        return Sparse.of_terms(shape, np.repeat(self.rows, counts), other.columns[at], values)

    def apply(self, vector: FloatArray) -> FloatArray:
        """The product with a vector (columns,)."""
        return _sums(self.rows, self.values * vector[self.columns], self.shape[0])

    def to_dense(self) -> FloatArray:
        """(rows, columns)."""
        dense = np.zeros(self.shape)
        dense[self.rows, self.columns] = self.values
        return dense


def _sums(group: IntArray, values: FloatArray, groups: int = 0) -> FloatArray:
    """Sums of values by group, each in the order given."""
    return np.asarray(np.bincount(group, values, groups), np.float64)


def stacked(parts: Sequence[Sparse]) -> Sparse:
    """One below the other, as wide as the widest."""
    ends = np.cumsum([0, *(part.starts[-1] for part in parts)])
    starts = [part.starts[:-1] + end for part, end in zip(parts, ends, strict=False)]
    shape = sum(part.shape[0] for part in parts), max((part.shape[1] for part in parts), default=0)
    columns, values = (
        np.concatenate([empty, *(getattr(part, key) for part in parts)])
        for key, empty in (("columns", np.zeros(0, np.int64)), ("values", np.zeros(0)))
    )
    return Sparse(shape, np.concatenate([*starts, ends[-1:]]), columns, values)
