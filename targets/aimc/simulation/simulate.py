"""Fast simulation: whole sequences on one chip instance, in compiled loops, on all cores.

Sequences of similar length form blocks of `LANES`; one task is one block on one chip. A task's arithmetic and its
draws depend on the chip's seed and the sequence's number only, never on blocks or threads. Without numba, or for a
program with a pattern that `ssmc.targets.aimc.simulation.stages` does not know, `simulation_of` returns None.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssmc.ir.rates import seen_at_end
from ssmc.ir.rounding import FloatArray, IntArray
from ssmc.targets.aimc.simulation.chip import Chip
from ssmc.targets.aimc.simulation.coupled import Coupling
from ssmc.targets.aimc.simulation.kernel_arguments import EXACT, Loaded, fits_integers, integers, load, state_arrays
from ssmc.targets.aimc.simulation.stages import Kernel, Product, Stage, stages_of
from ssmc.targets.aimc.tiles import instructions as isa

Codes = NDArray[Any]
LANES = 128


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1)


@dataclass(frozen=True)
class Outcome:
    """The result of a block: ``codes`` (L, size) or (L, T, size) of the program's output.

    ``clips``: conversions outside their range by matrix (`Product.matrix`), each (parts, groups, outputs).
    """

    codes: IntArray
    clips: dict[str, IntArray]


@dataclass(frozen=True)
class Simulation:
    """A tile program on one chip instance, ready to run."""

    tiles: isa.TileProgram
    per_step: tuple[Stage, ...]
    per_sequence: tuple[Stage, ...]
    products: dict[str, Loaded]
    key: int

    def run(self, x: NDArray[Any], lengths: IntArray, ids: IntArray) -> Outcome:
        """One block: padded x (L, T, features), true lengths and sequence numbers (L,)."""
        task = _Task(self, np.asarray(lengths, np.int64), ids)
        task.values[""] = x.transpose(2, 1, 0)
        for stage in self.per_step:
            task.do(stage)
        codes = task.values[self._output(self.per_step)] if self._output(self.per_step) else None
        for stage in self.per_sequence:
            task.do(stage)
        if codes is None:
            return Outcome(task.values[self._output(self.per_sequence)][:, 0].T.astype(np.int64), task.clips)
        return Outcome(codes.transpose(2, 1, 0).astype(np.int64), task.clips)

    @staticmethod
    def _output(stages: tuple[Stage, ...]) -> str:
        return next((stage.reads[0] for stage in stages if isinstance(stage, isa.Emit)), "")


def simulation_of(tiles: isa.TileProgram, chip: Chip) -> Simulation | None:
    """The fast simulation of a tile program on a chip, or None where there is none."""
    if find_spec("numba") is None:
        return None
    lists = [stages_of(code, tiles.banks) for code in (tiles.per_step, tiles.per_sequence)]
    if lists[0] is None or lists[1] is None:
        return None
    loaded: dict[str, Loaded] = {}
    for stage in (*lists[0], *lists[1]):
        product = stage.product if isinstance(stage, Kernel) else stage
        if isinstance(product, isa.Multiply) and not fits_integers(product.requant):
            return None
        if isinstance(product, Product):
            ready = load(product, chip, tiles.banks, _largest(tiles, product), *_widths(tiles, stage, product))
            if ready is None or not _registers_fit(tiles):
                return None
            loaded[product.writes] = ready
    return Simulation(tiles, lists[0], lists[1], loaded, chip.key)


def _largest(tiles: isa.TileProgram, product: Product) -> IntArray:
    """Magnitudes of the inputs of a group, (I,)."""
    values, groups = [tiles.values[name] for name in product.reads], len(product.codes)
    return np.repeat([1 << value.bits for value in values], [value.size // groups for value in values])


def _widths(tiles: isa.TileProgram, stage: Stage, product: Product) -> tuple[list[int], list[int]]:
    """Widths, within a group, of the values that a product reads and writes."""
    groups, outputs = product.codes.shape[:2]
    n = stage.update.keep.shape[1] if isinstance(stage, Kernel) else outputs
    return [tiles.values[name].size // groups for name in product.reads], [n, outputs - n]


def _registers_fit(tiles: isa.TileProgram) -> bool:
    return all(1 << register.bits <= EXACT for register in tiles.registers.values())


class _Task:
    """Values (channels, T, L) float32 by name, of one block on one chip."""

    def __init__(self, simulation: Simulation, lengths: IntArray, ids: IntArray) -> None:
        self.simulation, self.whole, self.lengths, self.ids = simulation, lengths, lengths, ids
        self.values: dict[str, Codes] = {}
        self.sums: dict[str, IntArray] = {}
        self.clips: dict[str, IntArray] = {}

    def do(self, stage: Stage) -> None:
        """One stage, over the true steps of its clock."""
        op = stage.product.op if isinstance(stage, Kernel) else stage.op
        self.lengths = seen_at_end(self.simulation.tiles.clocks.get(op, ()), self.whole)
        self._do(stage)

    def _do(self, stage: Stage) -> None:
        from ssmc.targets.aimc.simulation import numba_elementwise

        match stage:
            case Product():
                self._product(stage)
            case Kernel():
                self._kernel(stage)
            case isa.Sample():
                self.values[stage.writes] = stage.quant.quantize(self.values[""].T).T.astype(np.float32)
            case isa.LookUp():
                table, x = stage.table.astype(np.float32), self._read(stage)[0]
                x = np.repeat(x, len(table), 0) if len(x) == 1 else x  # an embedding: many rows of one code
                self.values[stage.writes] = numba_elementwise.look_up(table, stage.lo, x)
            case isa.Multiply():
                exact = integers(stage.requant, (-1,))
                self.values[stage.writes] = numba_elementwise.multiply(*self._read(stage), exact)
            case isa.Add():
                numbers = stage.multiplier, stage.offset, stage.shift, stage.lo, stage.hi
                self.values[stage.writes] = numba_elementwise.add(tuple(self._read(stage)), *numbers)
            case isa.Normalize():
                self.values[stage.writes] = _normalize(stage, self._read(stage)[0])
            case isa.Select():
                x = self._read(stage)[0]
                part = x.reshape(stage.groups, -1, *x.shape[1:])[:, stage.start : stage.stop]
                self.values[stage.writes] = np.ascontiguousarray(part.reshape(-1, *x.shape[1:]))
            case isa.Join():
                self.values[stage.writes] = np.concatenate(self._read(stage))
            case isa.Group():
                x = self._read(stage)[0].T.astype(np.int64)
                slower = stage.operation.whole(x, self.lengths)
                self.values[stage.writes] = np.ascontiguousarray(slower.T, np.float32)
            case isa.Slide() | isa.Smooth():
                x = self._read(stage)[0].T.astype(np.int64)
                self.values[stage.writes] = np.ascontiguousarray(stage.operation.whole(x).T, np.float32)
            case isa.Reduce():
                self.sums[stage.accumulator] = self._reduce(stage, self._read(stage)[0])
            case isa.Average():
                self._set(stage.writes, stage.apply(self.sums[stage.accumulator], self.lengths))
            case isa.Recall():
                self._set(stage.writes, self.sums[stage.accumulator])
            case isa.Emit():
                pass
            case _:
                raise TypeError(f"{type(stage).__name__} is not simulated")

    def _set(self, name: str, codes: IntArray) -> None:
        """Codes (L, size), once a sequence."""
        self.values[name] = np.ascontiguousarray(codes.T[:, None], np.float32)

    def _read(self, stage: isa.Instruction) -> list[Codes]:
        return [self.values[name] for name in stage.reads]

    def _reduce(self, stage: isa.Reduce, x: Codes) -> IntArray:
        from ssmc.targets.aimc.simulation import numba_elementwise

        if stage.kind == "sum":
            total: IntArray = numba_elementwise.total_over_time(x, self.lengths)
            return total
        if stage.kind == "max":
            lowest = self.simulation.tiles.accumulators[stage.accumulator].initial
            true = np.arange(x.shape[1])[:, None] < self.lengths
            largest: IntArray = np.where(true, x, lowest).max(1, initial=lowest).T.astype(np.int64)
            return largest
        if not x.shape[1]:  # sequences too short for one step of a lower rate
            return np.zeros((x.shape[2], x.shape[0]), np.int64)
        last = x[:, np.maximum(self.lengths - 1, 0), np.arange(len(self.lengths))]
        return np.where(self.lengths > 0, last, 0).T.astype(np.int64)

    def _joined(self, names: Sequence[str], groups: int, coupling: Coupling | None) -> Codes:
        """Values side by side, group by group, or by groups that are driven at once."""
        xs = [self.values[name] for name in names]
        if len(xs) == 1 and coupling is None:
            return xs[0]
        apart = [x.reshape(groups, -1, *x.shape[1:]) for x in xs]
        wide = np.concatenate(apart if coupling is None else [coupling.gather(x) for x in apart], 1)
        return np.ascontiguousarray(wide.reshape(-1, *xs[0].shape[1:]))

    def _start(self, product: Product) -> tuple[Loaded, NDArray[np.uint64], IntArray]:
        from ssmc.targets.aimc.simulation.gauss import derive, lane_keys

        names = sorted(self.simulation.products)
        loaded = self.simulation.products[product.writes]
        keys = lane_keys(derive(self.simulation.key, names.index(product.writes)), self.ids)
        return loaded, keys, np.zeros(loaded.shape, np.int64)

    def _clipped(self, product: Product, loaded: Loaded, clips: IntArray, widths: Sequence[int]) -> None:
        """Keeps the counts, (parts, groups, outputs) however groups were coupled."""
        if loaded.coupling is not None:
            natural = np.empty_like(clips)
            natural[..., loaded.coupling.segments(widths)] = clips
            clips = np.stack([loaded.coupling.scatter(part) for part in natural])
        self.clips[product.matrix] = clips

    def _product(self, stage: Product) -> None:
        from ssmc.targets.aimc.simulation.numba_kernels import stateless

        loaded, keys, clips = self._start(stage)
        groups, outputs = stage.codes.shape[:2]
        u = self._joined(stage.reads, groups, loaded.coupling)
        out = np.empty((loaded.shape[1] * loaded.shape[2], *u.shape[1:]), np.float32)
        lengths = self.lengths if u.shape[1] > 1 else np.ones_like(self.lengths)
        stateless(loaded.product, loaded.converter, loaded.requant, keys, lengths, u, out, clips)
        self._clipped(stage, loaded, clips, (outputs,))
        self.values[stage.writes] = _apart(out, loaded.shape[1], loaded.coupling)

    def _kernel(self, stage: Kernel) -> None:
        from ssmc.targets.aimc.simulation.numba_kernels import recurrent

        loaded, keys, clips = self._start(stage.product)
        groups, n = stage.update.keep.shape
        u = self._joined(stage.product.reads[1:], groups, loaded.coupling)
        initial = self.simulation.tiles.registers[stage.update.register].initial
        state = state_arrays(stage, initial, loaded.coupling)
        together, states = state.keep.shape
        tail = np.empty((together * (loaded.shape[2] - states), *u.shape[1:]), np.float32)
        first, later = (
            np.empty((state.keep.size, *u.shape[1:]) if name else (0, 0, 0), np.float32)
            for name in (stage.first, stage.later)
        )
        recurrent(
            loaded.product, loaded.converter, loaded.requant, state, keys, self.lengths, u, tail, first, later, clips
        )
        self._clipped(stage.product, loaded, clips, (n, stage.product.codes.shape[1] - n))
        for name, made in ((stage.tail, tail), (stage.first, first), (stage.later, later)):
            self.values[name] = _apart(made, together, loaded.coupling) if made.size else made


def _apart(x: Codes, together: int, coupling: Coupling | None) -> Codes:
    """Channels (K * M * w, T, L) of groups that were driven at once, in the order of the groups."""
    if coupling is None:
        return x
    found = coupling.scatter(x.reshape(together, -1, *x.shape[1:]))
    return np.ascontiguousarray(found.reshape(-1, *x.shape[1:]))


def _normalize(i: isa.Normalize, x: Codes) -> Codes:
    return np.ascontiguousarray(i.apply(x.T.astype(np.int64)).T, np.float32)


def blocks(lengths: IntArray) -> list[IntArray]:
    """Indices of at most `LANES` sequences each, similar lengths together, longest first."""
    order = np.argsort(-lengths, kind="stable")
    return [order[start : start + LANES] for start in range(0, len(order), LANES)]


def spread(tasks: Iterable[Callable[[], None]]) -> None:
    """Runs tasks on all cores and waits for them."""
    for done in [_threads().submit(task) for task in tasks]:
        done.result()


def outputs(simulation: Simulation, codes: IntArray) -> FloatArray:
    """Real outputs of the program's output codes."""
    real: FloatArray = codes * _emit(simulation).scale
    return real


def _emit(simulation: Simulation) -> isa.Emit:
    every = (*simulation.tiles.per_step, *simulation.tiles.per_sequence)
    return next(i for i in every if isinstance(i, isa.Emit))


def run_blocks(simulation: Simulation, x: NDArray[Any], lengths: IntArray, ids: IntArray) -> FloatArray:
    """Outputs (N, size), or (N, rows, size) where they are per step (NaN beyond a sample's rows)."""
    per_step = any(isinstance(i, isa.Emit) for i in simulation.tiles.per_step)
    emit = _emit(simulation)
    size = simulation.tiles.values[emit.reads[0]].size
    given = seen_at_end(simulation.tiles.clock(emit), lengths)
    longest = int(given.max(initial=0))
    out = np.full((len(x), longest, size) if per_step else (len(x), size), np.nan)

    def task(rows: IntArray) -> Callable[[], None]:
        def work() -> None:
            steps = lengths[rows]
            top = int(steps.max(initial=0))
            real = outputs(simulation, simulation.run(x[rows, :top], steps, ids[rows]).codes)
            if per_step:
                top = real.shape[1]
                real = np.where(np.arange(top)[None, :, None] < given[rows][:, None, None], real, np.nan)
                out[rows, :top] = real
            else:
                out[rows] = real

        return work

    spread(task(rows) for rows in blocks(lengths))
    return out
