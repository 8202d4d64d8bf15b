"""A matrix between two vectors of codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ssmc.ir.matrix import Matrix
from ssmc.ir.operations.kernel_functions import linear_parts_text, requant_text
from ssmc.ir.operations.operation import Function, Mask, RealCodes, Stateless
from ssmc.ir.operations.reading import GraphNode, code_type, matrix_of, real_offsets
from ssmc.ir.parts import Constants
from ssmc.ir.quant import Codes
from ssmc.ir.requant import Requant
from ssmc.ir.rounding import FloatArray, IntArray, round_half_even


@dataclass(frozen=True)
class Linear(Stateless):
    """``y = requant(W x)``; W has one group, or G groups for a block-diagonal matrix (x is (G, in) flattened)."""

    matrix: Matrix
    requant: Requant

    functions: ClassVar[dict[str, Function]] = {
        "Linear": Function(
            "Linear (x, W, gain, step, offset, lo, hi) => (q) { Wt = Transpose <perm: ints = [1, 0]> (W)\n"
            "  acc = MatMul (x, Wt)" + requant_text("q", "acc", "gain", "step", "offset", "lo", "hi") + "}"
        ),
        "LinearParts": Function(linear_parts_text("LinearParts"), since="placed"),
    }

    @classmethod
    def read(cls, node: GraphNode) -> tuple[Linear, Codes]:
        """One group: W (out, in)."""
        c, (x,) = node.constants, node.types
        lo, hi = (np.full((1, c["W"].shape[1]), end) for end in x.ends)
        op = cls(*node.wiring, *matrix_of(node, c["W"][None], (lo, hi)))
        return op, code_type(op.matrix.outputs, c["lo"], c["hi"], x.rate)

    def apply(self, x: IntArray) -> IntArray:
        """Codes (..., G * in) to codes (..., G * out)."""
        q = self.requant.apply_groups(self.matrix.product(self._grouped(x)))
        return q.reshape(*x.shape[:-1], -1)

    def real(self, *xs: IntArray) -> RealCodes:
        """The sums in units of an output code."""
        (x,) = xs
        found = real_sums(self.matrix, self.requant, self._grouped(x))
        return RealCodes(*(part.reshape(*x.shape[:-1], -1) for part in found))

    def _grouped(self, x: IntArray) -> IntArray:
        return x.reshape(*x.shape[:-1], self.matrix.groups, self.matrix.inputs)

    def matrices(self) -> tuple[Matrix, ...]:
        """W."""
        return (self.matrix,)

    def requants(self) -> tuple[Requant, ...]:
        """Of W x."""
        return (self.requant,)

    def largest_sum(self, tops: Sequence[int]) -> int:
        """``max sum |W| max|x|``, so that no partial sum passes it in any order."""
        return self.matrix.largest_sum(np.full((self.matrix.groups, self.matrix.inputs), tops[0]))

    @classmethod
    def channels(cls, c: Constants, sources: Sequence[int]) -> int:
        """Rows of W."""
        return len(c["W"])

    @classmethod
    def demand(cls, c: Constants, out: Mask, sources: Sequence[Mask]) -> tuple[Mask, tuple[Mask, ...]]:
        """Inputs that a needed row has a weight for."""
        return out, (np.asarray(c["W"][out].any(0), np.bool_),)

    @classmethod
    def narrowed(cls, c: Constants, out: Mask, source: Mask) -> Constants:
        """Rows and columns of W."""
        return super().narrowed(c, out, source) | {"W": c["W"][out][:, source]}

    @classmethod
    def constant_codes(cls, c: Constants, source: FloatArray | None) -> FloatArray:
        """A row without weights is its offset."""
        codes = np.clip(round_half_even(c["offset"]), c["lo"], c["hi"]) * np.ones(len(c["W"]))
        return np.where(c["W"].any(1), np.nan, codes)

    @classmethod
    def absorbed(cls, c: Constants, source: FloatArray) -> Constants | None:
        """Weights on constant inputs move into the offset."""
        fixed = ~np.isnan(source) & c["W"].any(0)
        if not fixed.any():
            return None
        moved = c["W"][:, fixed] @ source[fixed]
        return {"W": np.where(fixed, 0.0, c["W"]), "offset": _added(c, moved)}


def _added(c: Constants, moved: FloatArray) -> FloatArray:
    """The offset plus accumulators ``moved``, summed before the division, so that a tie stays one."""
    real = real_offsets(c["offset"], c["step"])
    apart = c["offset"] + c["gain"] * moved / c["step"]
    return np.where(np.isnan(real), apart, (real + c["gain"] * moved) / c["step"])


def real_sums(matrix: Matrix, requant: Requant, v: IntArray) -> RealCodes:
    """``ratio * (W v) + bias`` in real numbers, v (..., G, in), as (..., G, out); magnitude by |W| |v|."""
    ratio = np.array([float(r) for r in requant.ratio]).reshape(matrix.groups, matrix.outputs)
    bias = np.array([float(b) for b in requant.bias]).reshape(matrix.groups, matrix.outputs)
    terms = Matrix(np.abs(matrix.wide)).product(np.abs(v))
    if matrix.converter is not None:
        terms = terms * np.array([abs(float(r)) for r in matrix.converter.ratio]).reshape(ratio.shape)
    return RealCodes(ratio * matrix.product(v) + bias, np.abs(ratio) * terms + np.abs(bias))
