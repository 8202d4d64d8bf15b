"""Accuracy over chips and over time since programming: many instances of a noisy chip on a labelled set.

Every chip is one seed: programmed once, then evaluated at each time. All see the same sequences. Besides accuracy:
how often conversions left their range, column by column, and where the poles of the written matrices are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from os import cpu_count
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ssmc.data import Samples
from ssmc.hardware.conductances import IDEAL, NoiseModel, noise_of
from ssmc.hardware.devices import DAY_S
from ssmc.hardware.model import Hardware
from ssmc.ir.executor import check_input
from ssmc.ir.program import Program
from ssmc.ir.rounding import FloatArray, IntArray
from ssmc.targets.aimc.simulation.chip import Chip
from ssmc.targets.aimc.simulation.poles import poles
from ssmc.targets.aimc.simulation.simulate import Simulation, blocks, outputs, simulation_of
from ssmc.targets.aimc.simulation.stages import Kernel, Product, stages_of
from ssmc.targets.aimc.simulation.statistics import Interval, crossed_bootstrap, wilson
from ssmc.targets.aimc.simulation.tile_executor import TileExecutor
from ssmc.targets.aimc.tiles.instructions import TileProgram

SCHEMA = "ssmc.noise/1"
TIMES_S = (0.0, DAY_S, 30 * DAY_S)


class OnChip(Protocol):
    """A program, its tile program and the hardware (`ssmc.targets.aimc.target.AimcCompiled`)."""

    @property
    def program(self) -> Program:
        """Whose codes an ideal chip computes."""

    @property
    def tiles(self) -> TileProgram:
        """What a chip executes."""

    @property
    def hardware(self) -> Hardware:
        """Where."""


@dataclass(frozen=True)
class KernelPoles:
    """Poles of a kernel on all chips.

    Attributes:
        ideal: largest |pole| as coded.
        chips: largest |pole| on every chip.
        unstable_poles: how many reach 1 on every chip, of ``of``.
        unstable_chips: chips with at least one.
    """

    ideal: float
    chips: tuple[float, ...]
    unstable_poles: tuple[int, ...]
    of: int
    unstable_chips: int


@dataclass(frozen=True)
class Clips:
    """Conversions outside the converter's range: share of all, ideal and noisy, and counts (groups, outputs)."""

    ideal_share: float | None
    share: float
    worst_column: tuple[int, int]
    worst_share: float
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class AtTime:
    """All chips, ``time_s`` after programming.

    Attributes:
        accuracy: mean over chips with its two-way bootstrap interval; agreement with the ideal chip where the data has
            no labels.
        agreement: share of sequences with the ideal chip's class.
        chips: per chip, Wilson.
        kernels: by op.
        clips: by matrix (`Product.matrix`).
    """

    time_s: float
    accuracy: Interval
    agreement: float
    chips: tuple[Interval, ...]
    kernels: dict[str, KernelPoles]
    clips: dict[str, Clips]


@dataclass(frozen=True)
class MonteCarlo:
    """The result; ``to_json`` is its file."""

    hardware: str
    noise: NoiseModel
    seed: int
    sequences: int
    steps: int
    labelled: bool
    ideal_accuracy: Interval
    at: tuple[AtTime, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data, without times or paths: the same input gives the same bytes."""
        return {"schema": SCHEMA, **asdict(self)}


@dataclass(frozen=True)
class Seen:
    """One chip on all sequences: outputs, (clipped conversions, conversions) of a column by matrix, |poles| by op."""

    outputs: FloatArray
    clips: dict[str, tuple[IntArray, int]]
    poles: dict[str, FloatArray]


def monte_carlo(
    bundle: Any,
    samples: Samples,
    *,
    chips: int = 20,
    times_s: Sequence[float] = TIMES_S,
    noise: NoiseModel | None = None,
    seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
    workers: Executor | None = None,
    ideal: Seen | None = None,
) -> MonteCarlo:
    """Runs ``chips`` instances at every time on every sequence.

    Args:
        bundle: a bundle for the aimc target, or its `AimcCompiled`.
        samples: sequences, with labels or without.
        chips: seeds ``seed .. seed + chips - 1``.
        times_s: seconds since programming.
        noise: default the hardware's nominal noise.
        seed: of the first chip.
        progress: told the number of chips done, ``len(times_s) * chips`` in all.
        workers: simulate the chips; default: threads, one a core. The result does not depend on them.
        ideal: what `ideal_chip` gives for these sequences; None: it is simulated as well.

    Raises:
        UsageError: SSMC-D01..D03 where the sequences do not fit the model.
    """
    compiled: OnChip = getattr(bundle, "compiled", bundle)
    check_input(compiled.program, samples.flat[None])
    model = noise_of(compiled.hardware) if noise is None else noise
    ideal = ideal_chip(compiled, samples) if ideal is None else ideal
    truth = ideal.outputs.argmax(-1) if samples.label is None else samples.label
    with nullcontext(workers) if workers is not None else ThreadPoolExecutor(cpu_count() or 1) as pool:

        def chips_at(time_s: float) -> list[Seen]:
            tasks = [pool.submit(_look, compiled, samples, model, seed + k, time_s) for k in range(chips)]
            found = []
            for task in tasks:
                found.append(task.result())
                progress(1)
            return found

        at = tuple(_summary(time_s, chips_at(time_s), ideal, truth) for time_s in times_s)
    right = int((ideal.outputs.argmax(-1) == truth).sum())
    return MonteCarlo(
        compiled.hardware.name,
        model,
        seed,
        len(samples),
        int(samples.lengths.sum()),
        samples.label is not None,
        wilson(right, len(samples)),
        at,
    )


def ideal_chip(compiled: OnChip, samples: Samples) -> Seen:
    """A chip without any noise on all sequences.

    Raises:
        UsageError: SSMC-D01..D03 where the sequences do not fit the model.
    """
    check_input(compiled.program, samples.flat[None])
    return _look(compiled, samples, IDEAL, 0, 0.0)


def just_programmed(compiled: OnChip, samples: Samples, chips: int) -> list[Seen]:
    """Chips with seeds from 0, with the hardware's nominal noise, at once after they are programmed."""
    noise = noise_of(compiled.hardware)
    with ThreadPoolExecutor(cpu_count() or 1) as pool:
        return list(pool.map(lambda seed: _look(compiled, samples, noise, seed, 0.0), range(chips)))


def _look(compiled: OnChip, samples: Samples, noise: NoiseModel, seed: int, time_s: float) -> Seen:
    chip = Chip(compiled.tiles, compiled.hardware, noise, seed, time_s)
    found = {
        stage.product.op: np.abs(poles(stage, chip, compiled.tiles.banks)).ravel()
        for stage in stages_of(compiled.tiles.per_step, compiled.tiles.banks) or ()
        if isinstance(stage, Kernel)
    }
    simulation = simulation_of(compiled.tiles, chip)
    if simulation is not None:
        return Seen(*_fast(simulation, samples, compiled.program.output_size), found)
    executor = TileExecutor(compiled.program, compiled.tiles, chip, literal=not chip.ideal)
    real = np.zeros((len(samples), compiled.program.output_size))
    for rows in blocks(samples.lengths):
        x, lengths = samples.batch(rows)
        real[rows] = _last(executor.run(x, lengths), lengths)
    return Seen(real, {}, found)


def _fast(simulation: Simulation, samples: Samples, size: int) -> tuple[FloatArray, dict[str, tuple[IntArray, int]]]:
    real, clips = np.zeros((len(samples), size)), dict[str, tuple[IntArray, int]]()
    once = {stage.matrix for stage in simulation.per_sequence if isinstance(stage, Product)}
    for rows in blocks(samples.lengths):
        x, lengths = samples.batch(rows)
        outcome = simulation.run(x, lengths, rows)
        real[rows] = _last(outputs(simulation, outcome.codes), lengths)
        for op, counts in outcome.clips.items():
            before = clips.get(op, (np.zeros(counts.shape[1:], np.int64), 0))
            done = len(counts) * (len(rows) if op in once else int(lengths.sum()))
            clips[op] = before[0] + counts.sum(0), before[1] + done
    return real, clips


def _last(y: NDArray[Any], lengths: IntArray) -> FloatArray:
    return y if y.ndim == 2 else y[np.arange(len(y)), np.maximum(lengths - 1, 0)]


def _summary(time_s: float, seen: list[Seen], ideal: Seen, truth: IntArray) -> AtTime:
    predictions = np.stack([one.outputs.argmax(-1) for one in seen])
    correct = predictions == truth
    kernels = {op: _poles([one.poles[op] for one in seen], exact) for op, exact in sorted(ideal.poles.items())}
    clips = {op: _clips([one.clips[op] for one in seen], ideal.clips.get(op)) for op in sorted(seen[0].clips)}
    return AtTime(
        float(time_s),
        crossed_bootstrap(correct),
        float((predictions == ideal.outputs.argmax(-1)).mean()),
        tuple(wilson(int(row.sum()), row.size) for row in correct),
        kernels,
        clips,
    )


def _poles(chips: list[FloatArray], ideal: FloatArray) -> KernelPoles:
    largest = tuple(float(magnitudes.max()) for magnitudes in chips)
    unstable = tuple(int((magnitudes >= 1).sum()) for magnitudes in chips)
    return KernelPoles(float(ideal.max()), largest, unstable, ideal.size, sum(count > 0 for count in unstable))


def _clips(seen: list[tuple[IntArray, int]], ideal: tuple[IntArray, int] | None) -> Clips:
    counts = np.sum([clipped for clipped, _ in seen], 0)
    share = counts / max(sum(of for _, of in seen), 1)
    group, output = np.unravel_index(int(share.argmax()), share.shape)
    return Clips(
        None if ideal is None else float(ideal[0].mean() / max(ideal[1], 1)),
        float(share.mean()),
        (int(group), int(output)),
        float(share.max()),
        tuple(tuple(row) for row in counts.tolist()),
    )
