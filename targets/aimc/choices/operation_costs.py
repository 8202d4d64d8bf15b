"""The figures of a packing, by operation: what packs one matrix another way costs its operation again, no other.

The energy of an operation, its feedback loops and the busy time of its arrays depend on the tiles of its own banks, so
that they are worked out once for every way to place them. Only where operations share arrays (`shared`) does an array
wait for several. The totals add the numbers that `ssmc.targets.aimc.cost.totals` adds, in the same order: they are
equal to those of the whole program, not close.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from operator import attrgetter

from ssmc.hardware.model import Hardware
from ssmc.ir.rates import period
from ssmc.targets.aimc.choices.figures import Figures
from ssmc.targets.aimc.cost.activity import expected
from ssmc.targets.aimc.cost.area import adding, array_areas, arrays_by_op, digital_areas, ramp_areas
from ssmc.targets.aimc.cost.durations import duration_ns
from ssmc.targets.aimc.cost.energy_events import step_charges
from ssmc.targets.aimc.cost.schedule import DIGITAL, dataflow, loops_ns, occupancy, sites_of
from ssmc.targets.aimc.cost.totals import Line, lines
from ssmc.targets.aimc.lowering.mapping import Bank
from ssmc.targets.aimc.tiles.instructions import Instruction, TileProgram


@dataclass(frozen=True)
class Share:
    """What an operation adds to the figures of its program.

    Attributes:
        step_pj, finish_pj: energies of a step and of the end of a sequence, line by line.
        ramp_um2: areas of what makes the ramps of its converters.
        arrays, array_um2: that hold its banks, and the areas of what they need.
        timed: the instructions of a step, with their durations in nanoseconds.
        loop_ns: its longest feedback loop.
        apart_ns: that, or how long its busiest arrays or converters are busy, where no other operation shares them.
    """

    step_pj: tuple[float, ...]
    finish_pj: tuple[float, ...]
    ramp_um2: tuple[float, ...]
    arrays: int
    array_um2: tuple[float, ...]
    timed: tuple[tuple[Instruction, float], ...]
    loop_ns: float
    apart_ns: float


STEP_PJ, FINISH_PJ, RAMP_UM2, ARRAY_UM2, TIMED, LOOP_NS, APART_NS = map(
    attrgetter, ("step_pj", "finish_pj", "ramp_um2", "array_um2", "timed", "loop_ns", "apart_ns")
)


class OperationCosts:
    """Costs of one lowered program in any packing; ``tiles``: the program in one of them."""

    def __init__(self, tiles: TileProgram, hw: Hardware) -> None:
        self.tiles, self.hw = tiles, hw
        self.steps, self.finish = _by_op(tiles.per_step), _by_op(tiles.per_sequence)
        self.ops = list(dict.fromkeys((*self.steps, *self.finish)))
        self.banks = list(dict.fromkeys(bank.op for bank in tiles.banks.values()))
        self.adding = adding(tiles)
        self.chip_pj = self._energies(lines((), tiles, hw, {}, step_charges(hw)))
        self.digital_um2 = tuple(area.nominal for area in digital_areas(tiles, hw))
        self._shares: dict[tuple[object, ...], Share] = {}
        self._areas: dict[tuple[str, int], tuple[float, ...]] = {}
        self._digital_ns: float | None = None

    def share(self, op: str, banks: Iterable[Bank]) -> Share:
        """What an operation adds with its ``banks`` placed so."""
        own = tuple(banks)
        key = op, *(bank.tiles for bank in own)
        if key not in self._shares:
            self._shares[key] = self._share(op, {bank.name: bank for bank in own})
        return self._shares[key]

    def shares(self, banks: Iterable[Bank]) -> dict[str, Share]:
        """Those of all operations."""
        own: dict[str, list[Bank]] = defaultdict(list)
        for bank in banks:
            own[bank.op].append(bank)
        return {op: self.share(op, own[op]) for op in self.ops}

    def figures(self, banks: tuple[Bank, ...]) -> Figures:
        """Of the program with its banks placed so."""
        shares, named = self.shares(banks), {bank.name: bank for bank in banks}
        arrays = arrays_by_op(named)
        if sum(arrays.values()) == sum(share.arrays for share in shares.values()):
            return self.apart(shares)
        busy = occupancy(chain.from_iterable(map(TIMED, self._of(self.steps, shares))), sites_of(named))
        areas = chain.from_iterable(self._array_um2(op, count) for op, count in arrays.items())
        return self._figures(shares, areas, max((0.0, *map(LOOP_NS, shares.values()), *busy.values())))

    def apart(self, shares: Mapping[str, Share]) -> Figures:
        """Of operations that share no arrays."""
        if self._digital_ns is None:
            timed = chain.from_iterable(map(TIMED, self._of(self.steps, shares)))
            self._digital_ns = occupancy(timed, sites_of(self.tiles.banks)).get(DIGITAL, 0.0)
        areas = chain.from_iterable(map(ARRAY_UM2, self._of(self.banks, shares)))
        return self._figures(shares, areas, max((self._digital_ns, *map(APART_NS, shares.values()))))

    def _figures(self, shares: Mapping[str, Share], array_um2: Iterable[float], interval_ns: float) -> Figures:
        step = sum(chain(chain.from_iterable(map(STEP_PJ, self._of(self.steps, shares))), self.chip_pj))
        finish = sum(chain.from_iterable(map(FINISH_PJ, self._of(self.finish, shares))))
        ramps = chain.from_iterable(map(RAMP_UM2, self._of(self.ops, shares)))
        return Figures(step + finish, sum(chain(array_um2, ramps, self.digital_um2)), interval_ns)

    @staticmethod
    def _of(ops: Iterable[str], shares: Mapping[str, Share]) -> Iterator[Share]:
        return map(shares.__getitem__, ops)

    def _share(self, op: str, banks: dict[str, Bank]) -> Share:
        steps, finish = tuple(self.steps.get(op, ())), tuple(self.finish.get(op, ()))
        own = self._alone(banks, steps, finish)
        factors = {name: expected(bank, self.hw) for name, bank in banks.items()}
        sites, ns = sites_of(banks), [duration_ns(i, own, self.hw) for i in steps]
        timed = tuple(zip(steps, ns, strict=True))
        loop = max(loops_ns(steps, dataflow(steps, sites), ns).values(), default=0.0)
        busy = (busy for name, busy in occupancy(timed, sites).items() if name != DIGITAL)
        return Share(
            self._energies(lines(steps, own, self.hw, factors)),
            tuple(line.nominal for line in lines(finish, own, self.hw, factors)),
            tuple(area.nominal for area in ramp_areas(own, self.hw)),
            own.arrays,
            self._array_um2(op, own.arrays) if banks else (),
            timed,
            loop,
            max((loop, *busy)),
        )

    def _alone(
        self, banks: dict[str, Bank], steps: tuple[Instruction, ...], finish: tuple[Instruction, ...]
    ) -> TileProgram:
        """The instructions of one operation; which look-ups its converters do, only the whole program tells."""
        own = replace(self.tiles, banks=banks, per_step=steps, per_sequence=finish)
        vars(own).update(ramps=self.tiles.ramps, drive_widths=self.tiles.drive_widths)
        return own

    def _energies(self, found: tuple[Line, ...]) -> tuple[float, ...]:
        """Per step of the input, in the mean."""
        return tuple(line.nominal / period(self.tiles.clocks.get(line.op, ())) for line in found)

    def _array_um2(self, op: str, count: int) -> tuple[float, ...]:
        key = op, count
        if key not in self._areas:
            found = array_areas(op, count, op in self.adding, self.hw)
            self._areas[key] = tuple(area.nominal for area in found)
        return self._areas[key]


def _by_op(code: tuple[Instruction, ...]) -> dict[str, list[Instruction]]:
    """Those of an operation follow each other in the list."""
    found: dict[str, list[Instruction]] = {}
    for i in code:
        found.setdefault(i.op, []).append(i)
    return found
