"""When things happen: latency, feedback loops and occupancy of one pass over an instruction list.

The dataflow is a graph (networkx) whose nodes are instructions with a duration in nanoseconds. Besides the data,
edges carry what hardware cannot do at once: an array is driven again only after its columns were held; while a
sum waits in the sample and hold, the array may integrate the next one, not the one after; a converter and the
digital unit work in order. Arrays of a bank, and banks among each other, work in parallel.

- *latency*: the longest path through one pass.
- *loop* of a register: the longest path from its read-out to its update. The next step cannot read before, so no
  pipeline makes steps faster: DAC -> array -> ADC -> shift-add -> requantize -> register -> DAC.
- *initiation interval*: the largest loop, or the occupancy of the busiest resource if that is larger.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise

import networkx as nx

from ssmc.targets.aimc import program as isa
from ssmc.targets.aimc.charges import LANE_WORK, charges
from ssmc.targets.aimc.hardware import Hardware
from ssmc.targets.aimc.mapping import Bank
from ssmc.targets.aimc.plan import converter_of
from ssmc.targets.aimc.program import TileProgram

DIGITAL = "digital unit"
NS_PER_US = 1e3


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
    """

    latency_ns: float
    path: tuple[Stage, ...]
    loops_ns: dict[str, float]
    occupancy_ns: dict[str, float]

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
    flow = dataflow(code)
    in_order = flow.copy()
    work = [k for k, i in enumerate(code) if resource(i, ns[k]) == DIGITAL]
    in_order.add_edges_from(pairwise(work))
    path = longest_path(in_order, ns)
    occupancy: dict[str, float] = defaultdict(float)
    for k, i in enumerate(code):
        if name := resource(i, ns[k]):
            occupancy[name] += ns[k]
    stages = tuple(Stage(code[k].op, type(code[k]).__name__, ns[k]) for k in path if ns[k])
    return Timing(sum(ns[k] for k in path), stages, _loops(code, flow, ns), dict(sorted(occupancy.items())))


def duration_ns(i: isa.Instruction, tiles: TileProgram, hw: Hardware) -> float:
    """How long one instruction takes."""
    cycle = NS_PER_US / hw.digital.clock_mhz.value
    match i:
        case isa.Drive():
            return hw.dac.latency_ns.value
        case isa.Integrate():
            return hw.array.read_latency_ns.value
        case isa.Convert():
            return busiest_converter(tiles.banks[i.bank], i.slice, hw) * NS_PER_US / hw.adc.rate_msps.value
        case isa.ConvertQuantize():
            return busiest_converter(tiles.banks[i.bank], 0, hw) * NS_PER_US / hw.adc.rate_msps.value
        case isa.Accumulate():
            return hw.shift_add.latency_ns.value
        case isa.ReadOut() | isa.Update():
            return cycle
    operations = sum(charge.count for charge in charges(i, tiles, hw) if charge.component in LANE_WORK)
    return -(-operations // hw.digital.lanes) * cycle


def busiest_converter(bank: Bank, piece: int, hw: Hardware) -> int:
    """Conversions, one after the other, of the converter with most outputs of one slice."""
    loads: dict[int, int] = defaultdict(int)
    for output in range(bank.outputs_per_tile):
        loads[converter_of(output, piece, len(bank.gains), hw)] += 1
    return max(loads.values())


def resource(i: isa.Instruction, ns: float) -> str:
    """What an instruction occupies; empty for wiring and for what every array has of its own."""
    match i:
        case isa.Drive() | isa.Integrate():
            return f"array {i.bank}"
        case isa.Convert() | isa.ConvertQuantize():
            return f"adc {i.bank}"
        case isa.Accumulate() | isa.ReadOut() | isa.Update():
            return ""
    return DIGITAL if ns else ""


def dataflow(code: tuple[isa.Instruction, ...]) -> nx.DiGraph[int]:
    """Instructions by position; an edge from each that must end before another starts."""
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(range(len(code)))
    last: dict[str, int] = {}
    conversions: dict[str, list[list[int]]] = defaultdict(lambda: [[], []])
    for k, i in enumerate(code):
        before = [last[name] for name in i.reads if name in last]
        before += [last[name] for name in _waits_for(i) if name in last]
        if isinstance(i, isa.Integrate):
            waiting = conversions[i.bank]
            before += waiting[-2]
            waiting.append([])
        if isinstance(i, isa.Convert | isa.ConvertQuantize):
            conversions[i.bank][-1].append(k)
        graph.add_edges_from((j, k) for j in before)
        for name in (i.writes, *_occupies(i)):
            if name:
                last[name] = k
    return graph


def _waits_for(i: isa.Instruction) -> tuple[str, ...]:
    match i:
        case isa.Drive():
            return (f"held {i.bank}",)
        case isa.Integrate():
            return (f"driven {i.bank}",)
        case isa.Convert() | isa.ConvertQuantize():
            return (f"held {i.bank}", f"converter {i.bank}")
        case isa.Update() | isa.ReadOut():
            return (f"register {i.register}",)
        case isa.Reduce() | isa.Average() | isa.Recall():
            return (f"accumulator {i.accumulator}",)
    return ()


def _occupies(i: isa.Instruction) -> tuple[str, ...]:
    match i:
        case isa.Drive():
            return (f"driven {i.bank}",)
        case isa.Integrate():
            return (f"held {i.bank}",)
        case isa.Convert() | isa.ConvertQuantize():
            return (f"converter {i.bank}",)
        case isa.Update() | isa.ReadOut():
            return (f"register {i.register}",)
        case isa.Reduce():
            return (f"accumulator {i.accumulator}",)
    return ()


def longest_path(graph: nx.DiGraph[int], ns: list[float]) -> list[int]:
    """Nodes of the path with the largest sum of durations."""
    if not ns:
        return []
    total: dict[int, float] = {}
    came: dict[int, int | None] = {}
    for k in nx.topological_sort(graph):
        best = max(graph.predecessors(k), key=lambda j: total[j], default=None)
        total[k] = ns[k] + (total[best] if best is not None else 0.0)
        came[k] = best
    path: list[int] = []
    at: int | None = max(total, key=lambda k: total[k])
    while at is not None:
        path.append(at)
        at = came[at]
    return path[::-1]


def _loops(code: tuple[isa.Instruction, ...], flow: nx.DiGraph[int], ns: list[float]) -> dict[str, float]:
    """Longest path from the first read-out of every register to its update, both included."""
    loops: dict[str, float] = {}
    for k, i in enumerate(code):
        if not isinstance(i, isa.Update):
            continue
        start = next(j for j, r in enumerate(code) if isinstance(r, isa.ReadOut) and r.register == i.register)
        inside = nx.descendants(flow, start) & nx.ancestors(flow, k) | {start, k}
        part = flow.subgraph(inside)
        loops[i.register] = sum(ns[j] for j in longest_path(part, ns))
    return loops
