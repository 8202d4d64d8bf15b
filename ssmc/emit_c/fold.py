"""Multipliers of requantization folded into the weights, where these stay as narrow: ``M (W v) = (M W) v``."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ssmc.emit_c.packing import packed_bits
from ssmc.emit_c.separate import as_stored
from ssmc.ir.matrix import Matrix
from ssmc.ir.operations import AnyOp, Linear, StateSpace
from ssmc.ir.program import Program
from ssmc.ir.requant import Requant


def fold_multipliers(program: Program) -> Program:
    """The same codes with fewer multiplications: exact, since only the order of two integer products changes."""
    return replace(program, ops=tuple(_fold(op) for op in program.ops))


def _fold(op: AnyOp) -> AnyOp:
    if isinstance(op, Linear):
        matrix, requant = _folded(op.matrix, op.requant)
        return replace(op, matrix=matrix, requant=requant)
    if isinstance(op, StateSpace):
        op = replace(op, matrix=as_stored(op.matrix, op.n_state))
        matrix, requant = _folded(op.matrix, op.requant)
        op = replace(op, matrix=matrix, requant=requant)
        if op.output_matrix is not None and op.output_requant is not None:
            matrix, requant = _folded(as_stored(op.output_matrix, op.n_state), op.output_requant)
            op = replace(op, output_matrix=matrix, output_requant=requant)
    return op


def _folded(matrix: Matrix, requant: Requant) -> tuple[Matrix, Requant]:
    """All rows or none: a table of multipliers is only saved whole."""
    if matrix.multiplier is not None:
        return matrix, requant
    rows = matrix.codes.reshape(-1, matrix.inputs)
    empty = ~rows.any(1)
    factor = np.where(empty, 1, requant.multiplier)
    small = bool((np.abs(factor) < 1 << 16).all())
    if matrix.is_lowered or requant.thresholds or not small or bool((factor == 1).all()):
        one = np.where(empty, 1, requant.multiplier)
        return matrix, (requant if requant.thresholds else replace(requant, multiplier=one))
    scaled = rows * factor[:, None]
    if packed_bits(scaled) > packed_bits(rows):
        return matrix, requant
    return Matrix(scaled.reshape(matrix.codes.shape)), replace(requant, multiplier=np.ones_like(requant.multiplier))
