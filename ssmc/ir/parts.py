"""Partial sums of a matrix as constants of a graph node, and back.

The ONNX text that reads them is `ssmc.ir.operations.kernel_functions.partial_sums`.
"""

from __future__ import annotations

import numpy as np

from ssmc.ir.matrix import Matrix, PartialSum
from ssmc.ir.rounding import FloatArray

Constants = dict[str, FloatArray]
UNBOUNDED = float(1 << 52)


def parts_to_constants(matrix: Matrix, suffix: str = "") -> Constants:
    """The node inputs that make its body evaluate ``matrix.parts``; a matrix without parts is one exact sum."""
    whole = PartialSum(matrix.codes, (0, matrix.inputs), None, 1, 1, -int(UNBOUNDED), int(UNBOUNDED))
    parts = matrix.parts or (whole,)
    full = [_full_width(part, matrix.inputs) for part in parts]
    unique = list({codes.tobytes(): codes for codes in full}.values())
    position = {codes.tobytes(): index for index, codes in enumerate(unique)}
    columns = {
        "whole": [part.plane is None for part in parts],
        "weight": [1 << (part.plane or 0) for part in parts],
        "worth": [part.gain * part.step for part in parts],
        "part_step": [part.step for part in parts],
        "part_lo": [part.lo for part in parts],
        "part_hi": [part.hi for part in parts],
    }
    shaped = {key: np.array(values, np.float64).reshape(-1, 1, 1, 1) for key, values in columns.items()}
    index = np.array([position[codes.tobytes()] for codes in full], np.float64)
    named = {"digits": np.stack(unique).astype(np.float64), "index": index, **shaped}
    return {f"{key}{suffix}": array for key, array in named.items()}


def _full_width(part: PartialSum, inputs: int) -> FloatArray:
    codes = np.zeros((*part.codes.shape[:2], inputs))
    codes[:, :, part.rows[0] : part.rows[1]] = part.codes
    return codes


def constants_to_matrix(codes: FloatArray, c: Constants, suffix: str = "") -> Matrix:
    """The matrix (G, out, in) of a node with the partial sums it carries, if any; rows are not cut again."""
    whole = codes.astype(np.int64)
    if f"digits{suffix}" not in c:
        return Matrix(whole)
    named = ("whole", "weight", "worth", "part_step", "part_lo", "part_hi")
    columns = [c[f"{key}{suffix}"].ravel().astype(np.int64).tolist() for key in named]
    digits = c[f"digits{suffix}"].astype(np.int64)
    parts = tuple(
        PartialSum(
            codes=digits[int(index)],
            rows=(0, whole.shape[2]),
            plane=None if full else weight.bit_length() - 1,
            gain=worth // step,
            step=step,
            lo=lo,
            hi=hi,
        )
        for index, full, weight, worth, step, lo, hi in zip(c[f"index{suffix}"].ravel(), *columns, strict=True)
    )
    if len(parts) == 1 and parts[0].hi >= UNBOUNDED:
        return Matrix(whole)
    return Matrix(whole, parts)
