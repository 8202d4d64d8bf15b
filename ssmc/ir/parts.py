"""How converters evaluate a matrix, as constants of a graph node, and back.

The ONNX text that reads them is `ssmc.ir.operations.kernel_functions.partial_sums`. A matrix with one converter is one
part whose step is its own; the steps of partial sums are whole accumulator units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from ssmc.ir.connectivity import Mask
from ssmc.ir.matrix import Matrix, PartialSum, excess
from ssmc.ir.rounding import FloatArray, IntArray

Constants = dict[str, FloatArray]
Drive = tuple[IntArray, IntArray]
UNBOUNDED = 1 << 52
PER_COLUMN = ("part_gain", "part_step", "part_offset", "part_lo", "part_hi", "worth")


def parts_to_constants(matrix: Matrix, suffix: str = "", converter: Constants | None = None) -> Constants:
    """The node inputs that make its body evaluate the parts of ``matrix``; without any it is one exact sum.

    Args:
        matrix: lowered.
        suffix: ``_y`` for the second matrix of a kernel.
        converter: where the matrix has one, `PER_COLUMN` but its range, each (G, out).
    """
    shape = matrix.groups, matrix.outputs
    one, none = np.ones(shape, np.int64), np.zeros(shape, np.int64)
    whole = PartialSum(matrix.codes, (0, matrix.inputs), None, 1, one, -UNBOUNDED * one, UNBOUNDED * one, none)
    if matrix.converter is not None:
        whole = replace(whole, lo=matrix.converter.lo.reshape(shape), hi=matrix.converter.hi.reshape(shape))
    parts = matrix.parts or (whole,)
    digits, index = _digits(parts, matrix.inputs)
    columns: dict[str, list[ArrayLike]] = {
        "part_gain": [1.0 for _ in parts],
        "part_step": [part.step for part in parts],
        "part_offset": [0.0 for _ in parts],
        "part_lo": [part.lo for part in parts],
        "part_hi": [part.hi for part in parts],
        "worth": [part.weight for part in parts],
    }
    columns |= {key: [array] for key, array in (converter or {}).items()}
    named: Constants = {
        "digits": digits,
        "index": np.array(index, np.float64),
        "part_rows": _rows(parts, matrix.inputs),
        "whole": np.array([part.plane is None for part in parts], np.float64).reshape(-1, 1, 1, 1),
        "weight": np.array([1 << (part.plane or 0) for part in parts], np.float64).reshape(-1, 1, 1, 1),
        **{key: _shared(values, shape) for key, values in columns.items()},
    }
    return {f"{key}{suffix}": array for key, array in named.items()}


def _shared(values: list[ArrayLike], shape: tuple[int, int]) -> FloatArray:
    """Numbers of every part (K, 1, G, out), or (K, 1, 1, 1) where all columns have the same."""
    every = np.stack([np.broadcast_to(np.asarray(value, np.float64), shape) for value in values])[:, None]
    first = every[:, :, :1, :1]
    return first.copy() if (every == first).all() else every


def _digits(parts: Sequence[PartialSum], inputs: int) -> tuple[FloatArray, list[int]]:
    """As few arrays of digits (unique, G, out, in) as hold the codes of every part in its rows, and the part's one."""
    found: list[tuple[FloatArray, Mask]] = []
    index = []
    for part in parts:
        span = slice(*part.rows)
        for number, (digits, filled) in enumerate(found):  # noqa: B007
            if not filled[span].any() or (filled[span].all() and np.array_equal(digits[:, :, span], part.codes)):
                break
        else:
            number = len(found)
            found.append((np.zeros((*part.codes.shape[:2], inputs)), np.zeros(inputs, bool)))
        digits, filled = found[number]
        digits[:, :, span], filled[span] = part.codes, True
        index.append(number)
    return np.stack([digits for digits, _ in found]), index


def _rows(parts: Sequence[PartialSum], inputs: int) -> FloatArray:
    """1 where a part is driven, (K, 1, 1, in)."""
    at = np.arange(inputs)
    return np.stack([(part.rows[0] <= at) & (at < part.rows[1]) for part in parts])[:, None, None].astype(np.float64)


def has_converter(c: Constants, suffix: str = "") -> bool:
    """Whether a node's constants are of one conversion whose step is its own; a step of 1 is a partial sum's."""
    if f"digits{suffix}" not in c or len(c[f"index{suffix}"]) > 1:
        return False
    own = c[f"part_step{suffix}"] != 1, c[f"part_gain{suffix}"] != 1, c[f"part_offset{suffix}"] != 0
    return any(numbers.any() for numbers in own)


def constants_to_matrix(codes: FloatArray, c: Constants, drive: Drive, suffix: str = "") -> Matrix:
    """The matrix (G, out, in) of a node with the partial sums it carries, if any.

    Args:
        codes: (G, out, in).
        c: the node's constants.
        drive: smallest and largest input, (G, in) each.
        suffix: ``_y`` for the second matrix of a kernel.
    """
    whole = codes.astype(np.int64)
    if f"digits{suffix}" not in c or has_converter(c, suffix):
        return Matrix(whole)
    shape = whole.shape[:2]
    step, lo, hi, worth = (
        np.broadcast_to(c[f"{key}{suffix}"], (len(c[f"index{suffix}"]), 1, *shape))[:, 0].astype(np.int64)
        for key in ("part_step", "part_lo", "part_hi", "worth")
    )
    if len(step) == 1 and hi.max() >= UNBOUNDED:
        return Matrix(whole)
    digits, planes = c[f"digits{suffix}"].astype(np.int64), c[f"weight{suffix}"].ravel().astype(np.int64).tolist()
    parts = []
    for k, (index, full) in enumerate(zip(c[f"index{suffix}"].ravel(), c[f"whole{suffix}"].ravel(), strict=True)):
        plane = None if full else planes[k].bit_length() - 1
        rows = _span(c[f"part_rows{suffix}"][k])
        cells = np.ascontiguousarray(digits[int(index)][:, :, slice(*rows)])
        numbers = step[k].copy(), lo[k].copy(), hi[k].copy()
        gain = int(worth[k].flat[0] // step[k].flat[0])
        low, high = driven(drive, plane)
        beyond = excess(cells, (low[:, slice(*rows)], high[:, slice(*rows)]), *numbers)
        parts.append(PartialSum(cells, rows, plane, gain, *numbers, beyond))
    return Matrix(whole, tuple(parts))


def _span(driven: FloatArray) -> tuple[int, int]:
    """Start and stop of the rows that are 1."""
    at = np.flatnonzero(driven)
    return int(at[0]), int(at[-1]) + 1


def driven(inputs: Drive, plane: int | None) -> Drive:
    """Smallest and largest drive (G, in) of inputs within ``inputs``: whole codes, or one bit of them."""
    if plane is None:
        return inputs
    used = (inputs[0] != 0) | (inputs[1] != 0)
    return np.zeros_like(inputs[0]), used.astype(np.int64)
