"""A node of the code graph as its operation reads it, and what several readers share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from ssmc.ir.matrix import Matrix
from ssmc.ir.parts import Constants, Drive, constants_to_matrix, has_converter
from ssmc.ir.quant import Codes, QuantType, Rate
from ssmc.ir.requant import REMEMBERED, Requant, make_requant
from ssmc.ir.rounding import FloatArray, IntArray
from ssmc.ir.separate_scales import add_up, stops_of

PER_OUTPUT = ("gain", "step", "offset", "lo", "hi")


@dataclass(frozen=True)
class GraphNode:
    """A node of the domain ``ssmc`` on codes, free of the graph.

    Attributes:
        op_type: its type.
        name: as errors show it.
        inputs: names of the inputs that are no constants.
        output: name of the output.
        types: of the inputs; empty where the input is the model's own, which has no codes yet.
        constants: by the names that the function gives them, float64.
        features: of the model's input, per step.
    """

    op_type: str
    name: str
    inputs: tuple[str, ...]
    output: str
    types: tuple[Codes, ...]
    constants: Constants
    features: int

    @property
    def wiring(self) -> tuple[str, tuple[str, ...], str]:
        """The first fields of every operation."""
        return self.name, self.inputs, self.output


def code_type(size: int, lo: ArrayLike, hi: ArrayLike, rate: Rate) -> Codes:
    """Type of a code value; its scale is 1, since the meaning of codes is in the operations that read them."""
    return Codes(size, QuantType(int(np.min(lo)), int(np.max(hi)), np.ones(())), rate)


def per_channel(c: Constants, key: str, size: int) -> FloatArray:
    """A constant as (size,)."""
    return np.broadcast_to(c[key].ravel(), (size,))


def ratios(gain: FloatArray, step: FloatArray) -> tuple[Fraction, ...]:
    """Exact ``gain / step``, flattened."""
    pairs = np.broadcast_arrays(gain, step)
    return tuple(map(_quotient, *(np.asarray(pair, np.float64).ravel().tolist() for pair in pairs)))


@lru_cache(maxsize=REMEMBERED)
def _quotient(a: float, b: float) -> Fraction:
    """``a / b``, one object for equal numbers: rows share few scales."""
    return Fraction(a) / Fraction(b)


def real_offsets(offset: FloatArray, step: FloatArray) -> FloatArray:
    """The real constants b whose float64 quotient ``b / step`` is ``offset``: float32 numbers where there are such."""
    offset, step = np.broadcast_arrays(np.asarray(offset, np.float64), np.asarray(step, np.float64))
    wide = offset * step
    short = wide.astype(np.float32).astype(np.float64)
    return np.where(short / step == offset, short, np.where(wide / step == offset, wide, np.nan))


def exact_offsets(offset: FloatArray, step: FloatArray) -> tuple[Fraction, ...]:
    """Exact ``b / step``, flattened: 1/6 and not the float nearest to it, so that ties stay ties."""
    flat = np.broadcast_arrays(offset.ravel(), step.ravel(), real_offsets(offset.ravel(), step.ravel()))
    return tuple(
        _quotient(o, 1.0) if b != b else _quotient(b, s)  # b is nan where there is no such constant
        for o, s, b in zip(*(array.tolist() for array in flat), strict=True)
    )


def separate_sums(node: GraphNode, drive: tuple[IntArray, IntArray], suffix: str = "") -> tuple[Matrix, Requant]:
    """The matrix of a node whose weights have a gain each, and the requantization of its sums (`add_up`).

    Args:
        node: with W, gain (G, out, in) and step, offset, lo, hi (G, out), under ``suffix``.
        drive: smallest and largest input, each (G, in).
        suffix: of the constants' names.

    Raises:
        ModelError: SSMC-R01 where the sums pass 62-bit integers.
    """
    c = node.constants
    codes, gain, step = c[f"W{suffix}"].astype(np.int64), c[f"gain{suffix}"], c[f"step{suffix}"]
    stops, size = stops_of(gain), codes.shape[0] * codes.shape[1]
    each = [ratios(gain[..., stop - 1].ravel(), step.ravel()) for stop in stops]
    lo, hi = (per_channel(c, f"{key}{suffix}", size).astype(np.int64) for key in ("lo", "hi"))
    offsets = exact_offsets(per_channel(c, f"offset{suffix}", size), step)
    return add_up(codes, stops, list(zip(*each, strict=True)), offsets, (lo, hi), drive, node.name)


def matrix_of(node: GraphNode, codes: FloatArray, drive: Drive, suffix: str = "") -> tuple[Matrix, Requant]:
    """The matrix (G, out, in) of a node with its converters, and the requantization behind it.

    Raises:
        ModelError: SSMC-R01 where no realisation fits 62-bit integers.
    """
    matrix = constants_to_matrix(codes, node.constants, drive, suffix)
    if not has_converter(node.constants, suffix):
        return matrix, requant_of(node, matrix.reach(*drive), suffix)
    shape, size = codes.shape[:2], codes.shape[0] * codes.shape[1]
    part = {
        key: np.broadcast_to(node.constants[f"{name}{suffix}"], (1, 1, *shape)).ravel()
        for key, name in (*((key, f"part_{key}") for key in PER_OUTPUT), ("worth", "worth"))
    }
    low, high = (ends.ravel() for ends in matrix.reach(*drive))
    lo, hi = (part[key].astype(np.int64) for key in ("lo", "hi"))
    numbers = ratios(part["gain"], part["step"]), exact_offsets(part["offset"], part["step"])
    converter = make_requant(*numbers, lo, hi, (low, high), node.name)
    lowered = replace(matrix, converter=converter)
    reach = lowered.reach(*drive)
    return lowered, _realised(node, (reach[0].reshape(size), reach[1].reshape(size)), suffix, part["worth"])


def requant_of(node: GraphNode, reach: tuple[IntArray, IntArray], suffix: str = "") -> Requant:
    """The requantization in a node's gain, step, offset, lo and hi, proven over accumulators within ``reach``.

    Raises:
        ModelError: SSMC-R01 where no realisation fits 62-bit integers.
    """
    return _realised(node, reach, suffix, np.ones(1))


def _realised(node: GraphNode, reach: tuple[IntArray, IntArray], suffix: str, worth: FloatArray) -> Requant:
    """`requant_of` for sums that count ``worth`` accumulator units each, (1,) or one per output."""
    c, size = node.constants, reach[0].size
    step = c[f"step{suffix}"]
    lo, hi = (per_channel(c, f"{key}{suffix}", size).astype(np.int64) for key in ("lo", "hi"))
    gains = ratios(c[f"gain{suffix}"].ravel(), np.broadcast_to(step.ravel(), (size,)))
    if (worth != 1).any():
        gains = tuple(gain * Fraction(unit) for gain, unit in zip(gains, worth.tolist(), strict=True))
    offsets = exact_offsets(per_channel(c, f"offset{suffix}", size), step)
    return make_requant(gains, offsets, lo, hi, (reach[0].ravel(), reach[1].ravel()), node.name)
