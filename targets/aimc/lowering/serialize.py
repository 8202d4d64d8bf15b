"""The lowered program and its plans as JSON and arrays, and back: reading what was written is the identity.

A plan's matrix and requantization are those of its operation in the program and are not written again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ssmc.errors import UsageError
from ssmc.ir.requant import Requant
from ssmc.ir.serialize import DAMAGE, Arrays, Json, decode_fields, encode_fields, program_from_json, program_to_json
from ssmc.targets.aimc.lowering.conversion_plan import Kind, MatrixPlan
from ssmc.targets.aimc.lowering.partial_sums import Lowered, matrices


@dataclass(frozen=True)
class _Written:
    """The fields of a `MatrixPlan` that its operation does not hold; ``exact`` where it differs from what it holds."""

    name: str
    op: str
    kind: Kind
    rows: tuple[tuple[int, int], ...]
    slice_gains: tuple[int, ...]
    planes: tuple[tuple[int, int], ...]
    why: str
    exact: Requant | None
    factor: tuple[Fraction, ...] = ()
    held: Requant | None = None


def lowered_to_json(lowered: Lowered) -> tuple[Json, Arrays]:
    """``program`` and ``plans`` (in order), and the arrays they name."""
    program, arrays = program_to_json(lowered.program)
    plans = [encode_fields(_written(plan), f"plans/{k}", arrays) for k, plan in enumerate(lowered.plans.values())]
    return {"plans": plans, "program": program}, arrays


def _written(plan: MatrixPlan) -> _Written:
    kept = {field.name: getattr(plan, field.name) for field in fields(_Written)}
    return _Written(**{**kept, "exact": None if plan.exact is plan.requant else plan.exact})


def lowered_from_json(data: Json, arrays: Mapping[str, NDArray[np.generic]]) -> Lowered:
    """The lowered program that `lowered_to_json` wrote.

    Raises:
        UsageError: SSMC-B03 another schema version, SSMC-B04 a field or an array is missing or malformed.
    """
    program = program_from_json(data["program"], arrays)
    held = {name: (matrix, requant) for op in program.ops for name, matrix, requant in matrices(op)}
    with reading("table of plans"):
        plans: dict[str, MatrixPlan] = {}
        for item in data["plans"]:
            written: _Written = decode_fields(_Written, item, arrays)
            kept = {field.name: getattr(written, field.name) for field in fields(written)}
            matrix, requant = held[written.name]
            plans[written.name] = MatrixPlan(
                **{**kept, "matrix": matrix, "requant": requant, "exact": written.exact or requant}
            )
        return Lowered(program, plans)


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Say which part of a file is damaged.

    Raises:
        UsageError: SSMC-B04 where a field or an array is missing or malformed.
    """
    try:
        yield
    except DAMAGE as cause:
        fact = f"the {what} is damaged ({type(cause).__name__}: {cause})"
        raise UsageError("SSMC-B04", fact, "compile the model again") from cause
