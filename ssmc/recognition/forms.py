"""All affine forms of a loop body as rows of one sparse matrix, and what is known of every column of its basis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssmc.ir.affine import Affine
from ssmc.ir.rounding import FloatArray, IntArray
from ssmc.ir.sparse import Sparse
from ssmc.ir.sparse import stacked as below
from ssmc.recognition.loop_body import Block, LoopBody

NONE = -1


@dataclass(frozen=True)
class Columns:
    """The basis of a loop body, one entry a column.

    Attributes:
        kind: ``state``, ``input``, ``quant`` or ``clip``.
        block: number of its block.
        scale, lo, hi: of its quantizer or clip; 0 elsewhere.
    """

    kind: NDArray[np.str_]
    block: IntArray
    scale: FloatArray
    lo: FloatArray
    hi: FloatArray

    @staticmethod
    def of(body: LoopBody) -> Columns:
        """Collect the blocks' entries."""
        sizes = [block.size for block in body.blocks]
        owner = np.repeat(np.arange(len(sizes)), sizes)
        kind = np.array([block.kind for block in body.blocks])[owner]
        ends = [np.concatenate([_entries(b, array) for b in body.blocks]) for array in ("scale", "lo", "hi")]
        return Columns(kind, owner, *ends)

    def __len__(self) -> int:
        return len(self.block)

    def where(self, kind: str) -> IntArray:
        """Columns of a kind, ascending."""
        return np.flatnonzero(self.kind == kind)


def _entries(block: Block, name: str) -> FloatArray:
    array: FloatArray = getattr(block, name)
    return array if array.size == block.size else np.zeros(block.size)


@dataclass(frozen=True)
class Forms:
    """R affine forms.

    Attributes:
        matrix: (R, columns).
        constant: (R,).
        single, factor: (R,), column and coefficient of a form that is one variable times a constant; else -1 and 0.
    """

    matrix: Sparse
    constant: FloatArray
    single: IntArray
    factor: FloatArray

    @staticmethod
    def of(matrix: Sparse, constant: FloatArray) -> Forms:
        """Find the single ones."""
        alone = np.flatnonzero((matrix.counts == 1) & (constant == 0.0))
        single, factor = np.full(len(constant), NONE, np.int64), np.zeros(len(constant))
        single[alone] = matrix.columns[matrix.starts[alone]]
        factor[alone] = matrix.values[matrix.starts[alone]]
        return Forms(matrix, constant, single, factor)

    def take(self, rows: IntArray) -> Forms:
        """Some of the forms, in the given order."""
        return Forms(self.matrix.take(rows), self.constant[rows], self.single[rows], self.factor[rows])


def stacked(body: LoopBody) -> tuple[Forms, Forms, Forms]:
    """Inputs of the quantizers and clips by their column (nothing for states and inputs), next states, outputs."""
    width = sum(block.size for block in body.blocks)
    seen = [b.form if b.form is not None else _nothing(b.size) for b in body.blocks]
    return _stacked(seen, width), _stacked(body.next_states, width), _stacked(body.outputs, width)


def _nothing(size: int) -> Affine:
    return Affine((size,), Sparse.empty(size), np.zeros(size))


def _stacked(forms: list[Affine] | tuple[Affine, ...], width: int) -> Forms:
    constant = np.concatenate([np.zeros(0), *(form.constant for form in forms)])
    return Forms.of(below([form.matrix for form in forms]).widened(width), constant)
