"""The aimc target: a tile program for analog in-memory computing, its cost, and a chip to run it on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ssmc.data import Samples
from ssmc.hardware.file import hardware_data, hardware_from_data, load_hardware
from ssmc.hardware.model import Hardware
from ssmc.ir.program import Program
from ssmc.ir.serialize import program_from_json, program_to_json
from ssmc.passes.place import Place
from ssmc.passes.to_integers import to_integers
from ssmc.pipeline import Pass
from ssmc.targets.aimc.choices.insert_partial_sums import InsertPartialSums
from ssmc.targets.aimc.choices.lowering_deviation import lowering_deviation
from ssmc.targets.aimc.choices.margins import limit, one_more_adc, real_time
from ssmc.targets.aimc.choices.place_and_pack import Choice, Objective, decide_packing, decide_places
from ssmc.targets.aimc.choices.variants import compare, figures_of
from ssmc.targets.aimc.cost.totals import Cost, cost, key_sorted
from ssmc.targets.aimc.lowering.mapping import Packings
from ssmc.targets.aimc.lowering.packing import Mode, Packing
from ssmc.targets.aimc.lowering.partial_sums import Lowered, lower, unlowered
from ssmc.targets.aimc.lowering.partial_sums import Place as Policy
from ssmc.targets.aimc.simulation.chip import Chip
from ssmc.targets.aimc.simulation.data_dependent_energy import measure
from ssmc.targets.aimc.simulation.noise import IDEAL, NoiseModel, noise_of
from ssmc.targets.aimc.simulation.tile_executor import TileExecutor
from ssmc.targets.aimc.tiles.assemble import assemble
from ssmc.targets.aimc.tiles.instructions import TileProgram
from ssmc.targets.aimc.tiles.layout import layouts
from ssmc.targets.aimc.tiles.serialize import tiles_from_json, tiles_to_json
from ssmc.targets.base import Arrays, Compiled, Json, Target


@dataclass(frozen=True)
class Options:
    """What was asked for: see `AimcTarget`."""

    place: Policy = "analog"
    packing: Mode | Literal["auto"] = "one"
    minimise: Objective = "energy"
    rate: float = 0.0

    def places(self, program: Program, hardware: Hardware) -> tuple[dict[str, Policy], tuple[Choice, ...]]:
        """Where every matrix runs, and what was weighed."""
        return decide_places(program, hardware, self.place, self.minimise)

    def packings(self, lowered: Lowered, hardware: Hardware) -> tuple[Packings, tuple[Choice, ...]]:
        """How blocks share arrays, and what was weighed."""
        if self.packing != "auto":
            return dict.fromkeys(lowered.plans, Packing(self.packing)), ()
        objective: Objective = "product" if self.minimise == "energy" else self.minimise
        packings, choice = decide_packing(lowered, hardware, objective, self.rate)
        return packings, (choice,)


@dataclass(frozen=True)
class AimcCompiled(Compiled):
    """A model on crossbar hardware.

    Attributes:
        source: the program before lowering.
        lowered: with its partial sums, and what became of each matrix.
        tiles: what the chip executes.
        hardware: where.
        options: what was asked for.
    """

    source: Program
    lowered: Lowered
    tiles: TileProgram
    hardware: Hardware
    options: Options
    has_devices = True

    @cached_property
    def program(self) -> Program:  # type: ignore[override]
        """The lowered program: the ideal chip computes exactly its codes."""
        return self.lowered.program

    def executor(  # type: ignore[override]
        self, *, noise: bool | NoiseModel = False, seed: int = 0, literal: bool = False, time_s: float = 0.0
    ) -> TileExecutor:
        """A chip instance: ideal, or with the hardware's nominal noise (True), or with a noise of your own.

        ``seed`` draws the instance (programming noise) and its read noise; ``time_s`` is how long ago it was
        programmed (drift); ``literal`` as in `TileExecutor`.
        """
        model = noise if isinstance(noise, NoiseModel) else noise_of(self.hardware) if noise else IDEAL
        return TileExecutor(self.program, self.tiles, Chip(self.tiles, self.hardware, model, seed, time_s), literal)

    @cached_property
    def deviation(self) -> Json | None:
        """What lossy conversions change (`lowering_deviation`); None where all are lossless."""
        return lowering_deviation(self.source, self.lowered)

    @cached_property
    def costs(self) -> Cost:
        """Everything that is charged, for `ssmc explain`."""
        return cost(self.tiles, self.hardware)

    def costs_on(self, samples: Samples) -> Cost:
        """The same with the energies that these sequences make of it (`measure`)."""
        return cost(self.tiles, self.hardware, measure(self.program, self.tiles, self.hardware, samples))

    @cached_property
    def choices(self) -> tuple[Choice, ...]:
        """What was weighed for every decision."""
        _, places = self.options.places(self.source, self.hardware)
        _, packings = self.options.packings(self.lowered, self.hardware)
        return (*places, *packings)

    def cost(self, steps: int) -> Json:
        """`ssmc.targets.aimc.cost.totals` of the tile program, what became of each matrix, and the alternatives."""
        data = self.costs.to_json(steps)
        comparison = compare(self.source, self.hardware, steps)
        if self.options != Options(rate=self.options.rate):
            comparison["compiled"] = figures_of(data, self.lowered)
        data |= {
            "comparison": comparison,
            "decisions": [choice.to_json() for choice in self.choices],
            "limit": limit(self.costs),
            "mapping": layouts(self.tiles, self.hardware),
            "matrices": [
                {"conversion": plan.kind, "conversions_per_output": plan.conversions, "matrix": name, "why": plan.why}
                for name, plan in self.lowered.plans.items()
            ],
            "one_more_adc": one_more_adc(self.costs),
        }
        if self.deviation is not None:
            data["lowering"] = self.deviation
        if self.options.rate:
            data["real_time"] = real_time(self.costs, self.options.rate)
        sorted_data: Json = key_sorted(data)
        return sorted_data

    def files(self) -> tuple[Json, Arrays]:
        """Source program, tile program and hardware: everything `AimcTarget.load` needs."""
        source, arrays = program_to_json(self.source)
        tiles, more = tiles_to_json(self.tiles)
        data = {
            "hardware": hardware_data(self.hardware),
            "options": asdict(self.options),
            "program": source,
            "tiles": tiles,
        }
        return data, {**arrays, **more}


@dataclass(frozen=True)
class AimcTarget(Target):
    """Tile program for analog crossbars: cost, ideal and noisy simulation.

    Attributes:
        hardware: a preset's name, a TOML file, or loaded hardware.
        place: ``analog`` or ``digital`` for every matrix, or ``auto``: per matrix, whichever makes ``minimise``
            smaller.
        packing: how kernels share arrays: ``one`` an array each, ``diagonal``, ``multiplexed``
            (`ssmc.targets.aimc.lowering.packing`), or ``auto``: the cheapest that makes ``rate``.
        minimise: ``energy`` of a step, ``area``, initiation ``interval``, or the ``product`` of the three; packing
            changes no energy worth the name, so there ``energy`` means ``product``.
        rate: time steps a second that the input comes at; 0: not given.
        output_lag: as in `IntegerTarget`.
    """

    hardware: Hardware | str | Path = "taox64"
    place: Policy = "analog"
    packing: Mode | Literal["auto"] = "one"
    minimise: Objective = "energy"
    rate: float = 0.0
    output_lag: int | None = None

    @property
    def name(self) -> str:
        """The word after ``--target``."""
        return "aimc"

    def pipeline(self) -> tuple[Pass, ...]:
        """The integer target's passes, then placement and the converters' partial sums."""
        return (
            *to_integers(self.output_lag),
            Place(self.place),
            InsertPartialSums(self.chip, self.place, self.minimise),
        )

    @cached_property
    def chip(self) -> Hardware:
        """The hardware, loaded.

        Raises:
            UsageError: SSMC-H01..H08 from the hardware file.
        """
        given = self.hardware
        return given if isinstance(given, Hardware) else load_hardware(given)

    def emit(self, program: Program) -> AimcCompiled:
        """Lower, map and assemble.

        Raises:
            UsageError: SSMC-H01..H08 from the hardware file.
            ModelError: SSMC-A01..A03 where the program does not fit the hardware.
        """
        source, options = unlowered(program), Options(self.place, self.packing, self.minimise, self.rate)
        places, _ = options.places(source, self.chip)
        lowered = lower(source, self.chip, places)
        packings, _ = options.packings(lowered, self.chip)
        return AimcCompiled(source, lowered, assemble(lowered, self.chip, packings), self.chip, options)

    @classmethod
    def load(cls, program: Json, arrays: Mapping[str, NDArray[np.generic]]) -> AimcCompiled:
        """Read back what `AimcCompiled.files` wrote; the tile program is the one in the files."""
        source = program_from_json(program["program"], arrays)
        hardware = hardware_from_data(program["hardware"], "program.json")
        options = Options(**program["options"])
        tiles = tiles_from_json(program["tiles"], arrays)
        places, _ = options.places(source, hardware)
        return AimcCompiled(source, lower(source, hardware, places), tiles, hardware, options)
