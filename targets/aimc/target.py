"""The aimc target: a tile program for analog in-memory computing, its cost, and a chip to run it on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssmc.ir.program import Program
from ssmc.ir.serialize import program_from_json, program_to_json
from ssmc.passes.place import Place
from ssmc.pipeline import Pass
from ssmc.targets.aimc.assemble import assemble
from ssmc.targets.aimc.chip import Chip
from ssmc.targets.aimc.compare import compare
from ssmc.targets.aimc.cost import cost, key_sorted
from ssmc.targets.aimc.encode import tiles_from_json, tiles_to_json
from ssmc.targets.aimc.executor import TileExecutor
from ssmc.targets.aimc.hardware import Hardware, hardware_data, hardware_from_data, load_hardware
from ssmc.targets.aimc.insert_partial_sums import InsertPartialSums
from ssmc.targets.aimc.lower import Lowered, lower, unlowered
from ssmc.targets.aimc.lower import Place as Policy
from ssmc.targets.aimc.noise import IDEAL, NoiseModel, noise_of
from ssmc.targets.aimc.program import TileProgram
from ssmc.targets.base import Arrays, Compiled, Json, Target
from ssmc.targets.integer.target import IntegerTarget


@dataclass(frozen=True)
class AimcCompiled(Compiled):
    """A model on crossbar hardware.

    Attributes:
        source: the program before lowering.
        lowered: with its partial sums, and what became of each matrix.
        tiles: what the chip executes.
        hardware: where.
        place: how matrices were placed.
    """

    source: Program
    lowered: Lowered
    tiles: TileProgram
    hardware: Hardware
    place: Policy

    @cached_property
    def program(self) -> Program:  # type: ignore[override]
        """The lowered program: the ideal chip computes exactly its codes."""
        return self.lowered.program

    def executor(  # type: ignore[override]
        self, *, noise: bool | NoiseModel = False, seed: int = 0, literal: bool = False
    ) -> TileExecutor:
        """A chip instance: ideal, or with the hardware's nominal noise (True), or with a noise of your own.

        ``seed`` draws the instance (programming noise) and its read noise; ``literal`` as in `TileExecutor`.
        """
        model = noise if isinstance(noise, NoiseModel) else noise_of(self.hardware) if noise else IDEAL
        return TileExecutor(self.program, self.tiles, Chip(self.tiles, self.hardware, model, seed), literal)

    def cost(self, steps: int) -> Json:
        """`ssmc.targets.aimc.cost` of the tile program, what became of each matrix, and the alternatives."""
        data = cost(self.tiles, self.hardware).to_json(steps)
        data["comparison"] = compare(self.source, self.hardware, steps)
        data["matrices"] = [
            {"conversion": plan.kind, "conversions_per_output": plan.conversions, "matrix": name, "why": plan.why}
            for name, plan in self.lowered.plans.items()
        ]
        sorted_data: Json = key_sorted(data)
        return sorted_data

    def files(self) -> tuple[Json, Arrays]:
        """Source program, tile program and hardware: everything `AimcTarget.load` needs."""
        source, arrays = program_to_json(self.source)
        tiles, more = tiles_to_json(self.tiles)
        data = {"hardware": hardware_data(self.hardware), "place": self.place, "program": source, "tiles": tiles}
        return data, {**arrays, **more}


@dataclass(frozen=True)
class AimcTarget(Target):
    """Analog in-memory computing.

    Attributes:
        hardware: a preset's name, a TOML file, or loaded hardware.
        place: ``auto``, ``analog`` or ``digital`` for every matrix; auto is analog for now.
    """

    hardware: Hardware | str | Path = "taox64"
    place: Policy = "auto"

    @property
    def name(self) -> str:
        """The word after ``--target``."""
        return "aimc"

    def pipeline(self) -> tuple[Pass, ...]:
        """The integer target's passes, then placement and the converters' partial sums."""
        return (*IntegerTarget().pipeline(), Place(self.place), InsertPartialSums(self.chip))

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
        source = unlowered(program)
        lowered = lower(source, self.chip, self.place)
        return AimcCompiled(source, lowered, assemble(lowered, self.chip), self.chip, self.place)

    @classmethod
    def load(cls, program: Json, arrays: Mapping[str, NDArray[np.generic]]) -> AimcCompiled:
        """Read back what `AimcCompiled.files` wrote; the tile program is the one in the files."""
        source = program_from_json(program["program"], arrays)
        hardware = hardware_from_data(program["hardware"], "program.json")
        place: Policy = program["place"]
        tiles = tiles_from_json(program["tiles"], arrays)
        return AimcCompiled(source, lower(source, hardware, place), tiles, hardware, place)
