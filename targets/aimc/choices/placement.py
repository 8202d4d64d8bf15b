"""Where every matrix runs, decided once: what the pass that inserts partial sums hands on to the emitter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import zip_longest

import numpy as np

from ssmc.errors import ModelError
from ssmc.ir.matrix import Matrix
from ssmc.ir.operations import AnyOp
from ssmc.ir.program import Program
from ssmc.ir.requant import Requant
from ssmc.ir.serialize import Arrays, encode_fields
from ssmc.targets.aimc.choices.candidates import Candidates, Placed
from ssmc.targets.aimc.choices.figures import Objective
from ssmc.targets.aimc.choices.noise_budget import NoiseBudget
from ssmc.targets.aimc.choices.place_and_pack import Choice, decide_places
from ssmc.targets.aimc.lowering.kernel_places import Place
from ssmc.targets.aimc.lowering.partial_sums import Lowered, matrices, with_matrices

NOTHING = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Placement:
    """A program lowered where its matrices were placed.

    Attributes:
        candidates: the placements that were weighed.
        placed: the one that was chosen.
        choices: what was weighed for every matrix that was not fixed.
    """

    candidates: Candidates
    placed: Placed
    choices: tuple[Choice, ...]

    @property
    def lowered(self) -> Lowered:
        """The lowered program and the plans of its matrices."""
        return self.placed.lowered

    def require(self, program: Program) -> None:
        """Refuse a graph that a later pass changed, since what was lowered is not what it says.

        Args:
            program: read from the graph, its matrices with their partial sums.

        Raises:
            ModelError: SSMC-A05 at the first operation that differs.
        """
        for ours, theirs in zip_longest(_meanings(self.lowered.program), _meanings(program)):
            if ours != theirs:
                fact = "changed after its partial sums were inserted"
                name = str((theirs or ours)[0])
                raise ModelError("SSMC-A05", fact, "put the pass that does so before insert-partial-sums", name)


def place_matrices(
    candidates: Candidates,
    place: Place | Mapping[str, Place],
    objective: Objective = "energy",
    budget: NoiseBudget | None = None,
) -> Placement:
    """Decide where the matrices run (`decide_places`), and lower the program for it.

    Raises:
        ModelError: SSMC-A01, SSMC-A02, SSMC-A04, SSMC-R01 as `lower` does.
    """
    places, choices = decide_places(candidates, place, objective, budget)
    return Placement(candidates, candidates.placed(places), choices)


def _meanings(program: Program) -> list[tuple[object, ...]]:
    """Every operation by name, without how its sums are converted and its requantizations are realised."""
    bare = {
        name: (Matrix(matrix.codes), _unrealised(requant))
        for op in program.ops
        for name, matrix, requant in matrices(op)
    }
    return [_meaning(op) for op in with_matrices(program, bare).ops]


def _unrealised(requant: Requant) -> Requant:
    return replace(requant, multiplier=NOTHING, offset=NOTHING, shift=NOTHING, divisor=NOTHING, thresholds={})


def _meaning(op: AnyOp) -> tuple[object, ...]:
    arrays: Arrays = {}
    data = encode_fields(op, "", arrays)
    written = {key: (array.dtype.str, array.shape, array.tobytes()) for key, array in arrays.items()}
    return op.name, type(op).__name__, data, written
