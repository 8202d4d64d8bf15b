"""What shows a code in the real-valued graph it was folded from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssmc.ir.rounding import FloatArray, IntArray, round_half_even


@dataclass(frozen=True)
class Witness:
    """Which real tensor shows a code value: ``tensor == scale * code + offset``.

    Attributes:
        tensor: name in the real graph.
        roles: of its axes: ``N`` samples, ``T`` steps, ``NT`` and ``TN`` both in one axis, anything else a channel.
        scale, offset: per channel, (C,).
    """

    tensor: str
    roles: tuple[str, ...]
    scale: FloatArray
    offset: FloatArray

    def codes(self, real: NDArray[np.generic], batch: int) -> IntArray:
        """The tensor's codes, (N, T, C) or (N, C), of ``batch`` samples."""
        return round_half_even((self.rows(real, batch) - self.offset) / self.scale).astype(np.int64)

    def rows(self, real: NDArray[np.generic], batch: int) -> FloatArray:
        """The tensor's numbers as (N, T, C) or (N, C), of ``batch`` samples."""
        sizes = {"NT": (batch, -1), "TN": (-1, batch)}
        shape = [part for role, size in zip(self.roles, real.shape, strict=True) for part in sizes.get(role, (size,))]
        roles = [part for role in self.roles for part in (role if role in sizes else (role,))]
        order = [roles.index(role) for role in ("N", "T") if role in roles]
        rest = [axis for axis in range(len(roles)) if axis not in order]
        moved = np.transpose(np.asarray(real, np.float64).reshape(shape), order + rest)
        return moved.reshape(*moved.shape[: len(order)], -1)


#: name of a code value -> the tensors that show it
Witnesses = Mapping[str, Sequence[Witness]]
