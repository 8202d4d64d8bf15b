"""When things happen: latency, feedback loops and occupancy of one pass over an instruction list.

The dataflow is a graph whose nodes are instructions with a duration in nanoseconds. Its edges lead forward in the list,
so one walk over the list meets every instruction after those it waits for. Besides the data, edges carry what hardware
cannot do at once: an array is driven again only after its columns were held; while a sum waits in the sample and hold,
the array may integrate the next one, not the one after; a converter and the digital unit work in order. Arrays of a
bank, and banks among each other, work in parallel, except where they share arrays
(`ssmc.targets.aimc.lowering.packing`): those take turns.

- *latency*: the longest path through one pass.
- *loop* of a register: the longest path from its read-out to its update. The next step cannot read before, so no
  pipeline makes steps faster: DAC -> array -> ADC -> shift-add -> requantize -> register -> DAC.
- *initiation interval*: the largest loop, or the occupancy of the busiest resource if that is larger.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ssmc.hardware.model import Hardware
from ssmc.targets.aimc.cost.durations import duration_ns
from ssmc.targets.aimc.lowering.mapping import Bank
from ssmc.targets.aimc.tiles import instructions as isa
from ssmc.targets.aimc.tiles.instructions import TileProgram

DIGITAL = "digital unit"


@dataclass(frozen=True)
class Stage:
    """An instruction on the critical path."""

    op: str
    instruction: str
    ns: float


@dataclass(frozen=True)
class Timing:
    """Nanoseconds of one pass.

    Attributes:
        latency_ns: from the first instruction to the last along the longest path.
        path: what that path is made of.
        loops_ns: feedback loop of every register.
        occupancy_ns: busy time of every array bank, its converters, and the digital unit.
        positions: of the longest path, in the instruction list.
    """

    latency_ns: float
    path: tuple[Stage, ...]
    loops_ns: dict[str, float]
    occupancy_ns: dict[str, float]
    positions: tuple[int, ...] = ()

    @property
    def initiation_interval_ns(self) -> float:
        """Shortest distance between the starts of two passes."""
        return max([*self.loops_ns.values(), *self.occupancy_ns.values()], default=0.0)

    @property
    def limited_by(self) -> str:
        """The loop or resource that sets the initiation interval; a loop where both do."""
        bounds = {f"loop of {name}": ns for name, ns in self.loops_ns.items()} | self.occupancy_ns
        return max(bounds, key=lambda name: bounds[name], default="")


def schedule(code: tuple[isa.Instruction, ...], tiles: TileProgram, hw: Hardware) -> Timing:
    """Timing of one pass over an instruction list."""
    ns = [duration_ns(i, tiles, hw) for i in code]
    sites = sites_of(tiles.banks)
    flow = dataflow(code, sites)
    in_order, work = list(flow), list[int]()
    for k, i in enumerate(code):
        if DIGITAL in resources(i, ns[k], sites):
            in_order[k] = (*flow[k], *work[-1:])
            work.append(k)
    path = longest_path(in_order, ns)
    stages = tuple(Stage(code[k].op, type(code[k]).__name__, ns[k]) for k in path if ns[k])
    busy = dict(sorted(occupancy(zip(code, ns, strict=True), sites).items()))
    return Timing(sum(ns[k] for k in path), stages, loops_ns(code, flow, ns), busy, tuple(path))


def occupancy(timed: Iterable[tuple[isa.Instruction, float]], sites: Sites) -> dict[str, float]:
    """Busy time of every site's arrays and converters, and of the digital unit, from instructions and durations."""
    found: dict[str, float] = defaultdict(float)
    for i, ns in timed:
        for name in resources(i, ns, sites):
            found[name] += ns
    return found


Sites = dict[str, tuple[str, ...]]


def sites_of(banks: Mapping[str, Bank]) -> Sites:
    """By bank, what it cannot use while another does: arrays that hold the same banks are one site, named by them."""
    holds: dict[int, list[str]] = defaultdict(list)
    for name, bank in banks.items():
        for array in bank.arrays:
            holds[array].append(name)
    sites: dict[str, dict[str, None]] = {name: {} for name in banks}
    for names in holds.values():
        for name in names:
            sites[name][" + ".join(names)] = None
    return {name: tuple(found) for name, found in sites.items()}


def resources(i: isa.Instruction, ns: float, sites: Sites) -> tuple[str, ...]:
    """What an instruction occupies; nothing for wiring and for what every array has of its own."""
    match i:
        case isa.Drive() | isa.Integrate():
            return tuple(f"array {site}" for site in sites[i.bank])
        case isa.Convert() | isa.ConvertQuantize():
            return tuple(f"adc {site}" for site in sites[i.bank])
        case isa.Accumulate() | isa.ReadOut() | isa.Update():
            return ()
    return (DIGITAL,) if ns else ()


Flow = list[tuple[int, ...]]


def dataflow(code: Sequence[isa.Instruction], sites: Sites) -> Flow:
    """By position in the list, the positions of the instructions that must end before that one starts."""
    flow: Flow = []
    last: dict[str, int] = {}
    conversions: dict[str, list[list[int]]] = defaultdict(lambda: [[], []])
    for k, i in enumerate(code):
        before = {last[name] for name in (*i.reads, *_waits_for(i, sites)) if name in last}
        if isinstance(i, isa.Integrate):
            for waiting in (conversions[site] for site in sites[i.bank]):
                before.update(waiting[-2])
                waiting.append([])
        if isinstance(i, isa.Convert | isa.ConvertQuantize):
            for site in sites[i.bank]:
                conversions[site][-1].append(k)
        flow.append(tuple(sorted(before)))
        for name in (i.writes, *_occupies(i, sites)):
            if name:
                last[name] = k
    return flow


def _waits_for(i: isa.Instruction, sites: Sites) -> tuple[str, ...]:
    match i:
        case isa.Drive():
            return tuple(f"held {site}" for site in sites[i.bank])
        case isa.Integrate():
            return tuple(f"driven {site}" for site in sites[i.bank])
        case isa.Convert() | isa.ConvertQuantize():
            return tuple(f"{what} {site}" for site in sites[i.bank] for what in ("held", "converter"))
        case isa.Update() | isa.ReadOut() | isa.Slide() | isa.Smooth():
            return (f"register {i.register}",)
        case isa.Reduce() | isa.Average() | isa.Recall() | isa.Group():
            return (f"accumulator {i.accumulator}",)
    return ()


def _occupies(i: isa.Instruction, sites: Sites) -> tuple[str, ...]:
    match i:
        case isa.Drive():
            return tuple(f"driven {site}" for site in sites[i.bank])
        case isa.Integrate():
            return tuple(f"held {site}" for site in sites[i.bank])
        case isa.Convert() | isa.ConvertQuantize():
            return tuple(f"converter {site}" for site in sites[i.bank])
        case isa.Update() | isa.ReadOut() | isa.Slide() | isa.Smooth():
            return (f"register {i.register}",)
        case isa.Reduce() | isa.Group():
            return (f"accumulator {i.accumulator}",)
    return ()


def longest_path(flow: Flow, ns: list[float]) -> list[int]:
    """Positions of the path with the largest sum of durations."""
    total: list[float] = []
    came: list[int | None] = []
    for k, before in enumerate(flow):
        best = max(before, key=total.__getitem__, default=None)
        total.append(ns[k] + (total[best] if best is not None else 0.0))
        came.append(best)
    return _back(came, max(range(len(total)), key=total.__getitem__, default=None))


def _back(came: Sequence[int | None] | dict[int, int | None], at: int | None) -> list[int]:
    """The path that ends ``at`` a position, from where each position was reached."""
    path = []
    while at is not None:
        path.append(at)
        at = came[at]
    return path[::-1]


def loops_ns(code: Sequence[isa.Instruction], flow: Flow, ns: list[float]) -> dict[str, float]:
    """Longest path from the first read-out of every register to its update, both included."""
    return {name: sum(ns[k] for k in path) for name, path in loop_paths(code, flow, ns).items()}


def loop_paths(code: Sequence[isa.Instruction], flow: Flow, ns: list[float]) -> dict[str, list[int]]:
    """The positions of those instructions, by register."""
    loops: dict[str, list[int]] = {}
    first: dict[str, int] = {}
    for k, i in enumerate(code):
        if isinstance(i, isa.ReadOut):
            first.setdefault(i.register, k)
        if isinstance(i, isa.Update):
            loops[i.register] = _longest_between(first[i.register], k, flow, ns)
    return loops


def _longest_between(start: int, end: int, flow: Flow, ns: list[float]) -> list[int]:
    """Positions of the longest path from ``start`` to ``end``."""
    total, came = {start: ns[start]}, dict[int, int | None]({start: None})
    for k in range(start + 1, end + 1):
        best = max((j for j in flow[k] if j in total), key=total.__getitem__, default=None)
        if best is not None:
            total[k], came[k] = ns[k] + total[best], best
    return _back(came, end)
