"""Partial sums as constants of a node, and back."""

from dataclasses import replace

import numpy as np

from ssmc.ir.matrix import Matrix, PartialSum, excess
from ssmc.ir.parts import constants_to_matrix, parts_to_constants

OUTPUTS, INPUTS, SPLIT = 6, 10, 4
SPANS = ((0, SPLIT), (SPLIT, INPUTS))
DRIVE = np.full((1, INPUTS), -8), np.full((1, INPUTS), 7)


def part(codes: np.ndarray, rows: tuple[int, int], gain: int, plane: int | None = None) -> PartialSum:
    """A lossless partial sum of some rows."""
    one = np.ones(codes.shape[:2], np.int64)
    found = PartialSum(codes[:, :, slice(*rows)].copy(), rows, plane, gain, one, -512 * one, 511 * one, 0 * one)
    return replace(
        found, excess=excess(found.codes, tuple(end[:, slice(*rows)] for end in DRIVE), one, found.lo, found.hi)
    )


def cut(codes: np.ndarray) -> Matrix:
    """Two slices of base 4, each of its halves of the rows apart."""
    low, high = np.sign(codes) * (np.abs(codes) % 4), np.sign(codes) * (np.abs(codes) // 4)
    return Matrix(codes, tuple(part(digits, rows, gain) for rows in SPANS for gain, digits in ((1, low), (4, high))))


def test_every_digit_is_held_once() -> None:
    codes = np.random.default_rng(0).integers(-15, 16, (1, OUTPUTS, INPUTS))
    constants = parts_to_constants(cut(codes))
    assert constants["digits"].shape == (2, 1, OUTPUTS, INPUTS)
    assert ((constants["digits"] * np.array([1, 4])[:, None, None, None]).sum(0) == codes).all()
    assert constants["index"].tolist() == [0, 1, 0, 1]
    assert constants["part_rows"][:, 0, 0].sum(1).tolist() == [SPLIT, SPLIT, INPUTS - SPLIT, INPUTS - SPLIT]


def test_rows_of_other_digits_do_not_share() -> None:
    codes = np.arange(INPUTS)[None, None].repeat(OUTPUTS, 1)
    matrix = Matrix(codes, (part(codes, (0, 6), 1), part(codes + 1, (4, INPUTS), 1)))
    assert parts_to_constants(matrix)["index"].tolist() == [0, 1]


def test_constants_give_the_parts_back() -> None:
    matrix = cut(np.random.default_rng(1).integers(-15, 16, (1, OUTPUTS, INPUTS)))
    back = constants_to_matrix(matrix.codes.astype(np.float64), parts_to_constants(matrix), DRIVE)
    for found, expected in zip(back.parts, matrix.parts, strict=True):
        assert (found.rows, found.plane, found.gain) == (expected.rows, expected.plane, expected.gain)
        for name in ("codes", "step", "lo", "hi", "excess"):
            assert (getattr(found, name) == getattr(expected, name)).all(), name
