"""The placements of one program that a search weighs: each is lowered once, and assembled once for every packing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property

from ssmc.data import Samples
from ssmc.errors import ModelError
from ssmc.hardware.model import Hardware
from ssmc.ir.program import Program
from ssmc.targets.aimc.cost.totals import Cost, cost
from ssmc.targets.aimc.lowering.kernel_places import Place, settled
from ssmc.targets.aimc.lowering.mapping import Packings, make_banks
from ssmc.targets.aimc.lowering.packing import ONE, Packing
from ssmc.targets.aimc.lowering.partial_sums import Known, Lowered, Seen, lower
from ssmc.targets.aimc.lowering.recorded_inputs import recorded_inputs
from ssmc.targets.aimc.tiles.assemble import assemble
from ssmc.targets.aimc.tiles.instructions import TileProgram


@dataclass(frozen=True)
class Placed:
    """A lowered program on its hardware, with all its matrices packed one way; asking again costs nothing."""

    lowered: Lowered
    hardware: Hardware
    _tiles: dict[Packing, TileProgram | ModelError] = field(default_factory=dict, init=False, repr=False, compare=False)
    _costs: dict[Packing, Cost] = field(default_factory=dict, init=False, repr=False, compare=False)

    def tiles_with(self, packing: Packing) -> TileProgram:
        """The tile program.

        Raises:
            ModelError: SSMC-A03 where the chip has too few arrays.
        """
        if packing not in self._tiles:
            self._tiles[packing] = self._packed_alike(packing)
        found = self._tiles[packing]
        if isinstance(found, ModelError):
            raise found
        return found

    def _packed_alike(self, packing: Packing) -> TileProgram | ModelError:
        try:
            return self.packed(dict.fromkeys(self.lowered.plans, packing))
        except ModelError as refused:
            return refused

    def packed(self, packings: Packings) -> TileProgram:
        """The tile program with packings by `MatrixPlan.name`; raises as `tiles_with` does."""
        return self.anywhere.placed(make_banks(self.lowered.plans, self.hardware, packings))

    @cached_property
    def anywhere(self) -> TileProgram:
        """The tile program on a chip with as many arrays as it takes, one block an array."""
        return assemble(self.lowered, replace(self.hardware, array=replace(self.hardware.array, count=0)))

    def first_that_fits(self, packings: Sequence[Packing]) -> Packing:
        """The first packing that the chip has arrays for.

        Raises:
            ModelError: SSMC-A03 where it has for none, for the first.
        """
        for packing in packings:
            with suppress(ModelError):
                self.tiles_with(packing)
                return packing
        self.tiles_with(packings[0])
        return packings[0]

    def cost_with(self, packing: Packing) -> Cost:
        """Its cost; raises as `tiles_with` does."""
        if packing not in self._costs:
            self._costs[packing] = cost(self.tiles_with(packing), self.hardware)
        return self._costs[packing]

    @property
    def tiles(self) -> TileProgram:
        """One block an array; raises as `tiles_with` does."""
        return self.tiles_with(ONE)

    @property
    def cost(self) -> Cost:
        """One block an array; raises as `tiles_with` does."""
        return self.cost_with(ONE)


@dataclass(frozen=True)
class Candidates:
    """The placements of a program on a chip that were asked for; asking again costs nothing.

    One object serves one compile: it holds every program that it lowered.

    Attributes:
        program: of exact matrices.
        hardware: the chip.
        ranges: recorded sequences for which converter ranges are chosen; None: white input codes.
        packings: with the first of these that fits, all matrices alike, a placement is weighed.
    """

    program: Program
    hardware: Hardware
    ranges: Samples | None = None
    packings: tuple[Packing, ...] = (ONE,)
    _known: Known = field(default_factory=dict, init=False, repr=False, compare=False)
    _placed: dict[tuple[Place, ...], Placed | ModelError] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @cached_property
    def seen(self) -> Seen | None:
        """What drives every matrix on the recorded sequences."""
        return None if self.ranges is None else recorded_inputs(self.program, self.ranges)

    def placed(self, places: Mapping[str, Place]) -> Placed:
        """The program lowered with every operation where ``places`` says, by its name; analog where it says nothing.

        Raises:
            ModelError: SSMC-A01, SSMC-A02, SSMC-A04, SSMC-R01 as `lower` does.
        """
        key = tuple(settled(op, places.get(op.name, "auto")) for op in self.program.ops if op.matrices())
        if key not in self._placed:
            self._placed[key] = self._lower(places)
        found = self._placed[key]
        if isinstance(found, ModelError):
            raise found
        return found

    def _lower(self, places: Mapping[str, Place]) -> Placed | ModelError:
        try:
            return Placed(lower(self.program, self.hardware, places, self._known, self.seen), self.hardware)
        except ModelError as refused:
            return refused
