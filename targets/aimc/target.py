"""The aimc target: a tile program for analog in-memory computing, its cost, and a chip to run it on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ssmc.data import Samples, load_samples
from ssmc.errors import UsageError
from ssmc.hardware.conductances import IDEAL, NoiseModel, noise_of
from ssmc.hardware.file import entries, hardware_data, hardware_from_data, load_hardware, preset_names
from ssmc.hardware.model import Hardware
from ssmc.hardware.settings import with_settings
from ssmc.hardware.unfollowed import unfollowed_keys
from ssmc.ir.program import Program
from ssmc.passes.place import Place
from ssmc.passes.to_integers import to_integers
from ssmc.pipeline import Pass
from ssmc.targets.aimc.choices.candidates import Candidates
from ssmc.targets.aimc.choices.figures import Objective
from ssmc.targets.aimc.choices.full_scale import full_scales
from ssmc.targets.aimc.choices.insert_partial_sums import InsertPartialSums
from ssmc.targets.aimc.choices.lowering_deviation import lowering_deviation
from ssmc.targets.aimc.choices.margins import limit, one_more_adc, real_time
from ssmc.targets.aimc.choices.noise_budget import NoiseBudget
from ssmc.targets.aimc.choices.place_and_pack import Choice, choice_from_json, pack_arrays, packings_of
from ssmc.targets.aimc.choices.placement import Placement, place_matrices
from ssmc.targets.aimc.choices.variants import at_steps, compare, figures_of
from ssmc.targets.aimc.cost.totals import Cost, cost, key_sorted
from ssmc.targets.aimc.lowering.kernel_places import Place as Policy
from ssmc.targets.aimc.lowering.mapping import Packings
from ssmc.targets.aimc.lowering.packing import Mode, Packing
from ssmc.targets.aimc.lowering.partial_sums import Lowered
from ssmc.targets.aimc.lowering.serialize import lowered_from_json, lowered_to_json, reading
from ssmc.targets.aimc.tiles.instructions import TileProgram
from ssmc.targets.aimc.tiles.layout import layouts
from ssmc.targets.aimc.tiles.serialize import stored_once, tiles_from_json, tiles_to_json
from ssmc.targets.base import Arrays, Compiled, Json, Target

if TYPE_CHECKING:  # who only compiles needs no simulator
    from ssmc.targets.aimc.simulation.tile_executor import TileExecutor

SCHEMA = "ssmc.aimc/1"


@dataclass(frozen=True)
class Options:
    """What was asked for: see `AimcTarget`."""

    place: Policy = "analog"
    packing: Mode | Literal["auto"] = "auto"
    minimise: Objective = "energy"
    rate: float = 0.0
    ranges: bool = False
    set: tuple[str, ...] = ()
    noise_budget: float | None = None


@dataclass(frozen=True)
class Comparison:
    """What only the report shows.

    Attributes:
        variants: figures of other placements without steps (`ssmc.targets.aimc.choices.variants`).
        deviation: what lossy conversions change (`lowering_deviation`); None where all are lossless.
    """

    variants: dict[str, Json]
    deviation: Json | None


@dataclass(frozen=True)
class AimcCompiled(Compiled):
    """A model on crossbar hardware.

    Attributes:
        lowered: the program with its partial sums, and the plan of each matrix.
        packings: how its blocks share arrays, by `MatrixPlan.name`.
        choices: what was weighed for every decision.
        tiles: what the chip executes.
        hardware: where.
        options: what was asked for.
        compared: the comparison as the bundle holds it, or the candidates to make it from when it is asked for.
    """

    lowered: Lowered
    packings: Packings
    choices: tuple[Choice, ...]
    tiles: TileProgram
    hardware: Hardware
    options: Options
    compared: Comparison | Candidates
    has_devices = True

    @cached_property
    def program(self) -> Program:  # type: ignore[override]
        """The lowered program: the ideal chip computes exactly its codes."""
        return self.lowered.program

    @property
    def source(self) -> Program:
        """The program before lowering."""
        return self.lowered.source

    def executor(  # type: ignore[override]
        self, *, noise: bool | NoiseModel = False, seed: int = 0, literal: bool = False, time_s: float = 0.0
    ) -> TileExecutor:
        """A chip instance: ideal, or with the hardware's nominal noise (True), or with a noise of your own.

        ``seed`` draws the instance (programming noise) and its read noise; ``time_s`` is how long ago it was
        programmed (drift); ``literal`` as in `TileExecutor`.
        """
        from ssmc.targets.aimc.simulation.chip import Chip
        from ssmc.targets.aimc.simulation.tile_executor import TileExecutor

        model = noise if isinstance(noise, NoiseModel) else noise_of(self.hardware) if noise else IDEAL
        return TileExecutor(self.program, self.tiles, Chip(self.tiles, self.hardware, model, seed, time_s), literal)

    @cached_property
    def comparison(self) -> Comparison:
        """Read from the bundle, or made once."""
        if isinstance(self.compared, Comparison):
            return self.compared
        return Comparison(compare(self.compared), lowering_deviation(self.source, self.lowered))

    @cached_property
    def costs(self) -> Cost:
        """Everything that is charged, for `ssmc explain`."""
        return cost(self.tiles, self.hardware)

    def costs_on(self, samples: Samples) -> Cost:
        """The same with the energies that these sequences make of it (`measure`)."""
        from ssmc.targets.aimc.simulation.data_dependent_energy import measure

        return cost(self.tiles, self.hardware, measure(self.program, self.tiles, self.hardware, samples))

    def cost(self, steps: int) -> Json:
        """`ssmc.targets.aimc.cost.totals` of the tile program, the plan of each matrix, and the alternatives."""
        data = self.costs.to_json(steps)
        comparison = at_steps(self.comparison.variants, steps)
        if self.options != Options(rate=self.options.rate, set=self.options.set):
            comparison["compiled"] = figures_of(data, self.lowered)
        data |= {
            "comparison": comparison,
            "converters": full_scales(self.lowered, self.hardware),
            "decisions": [choice.to_json() for choice in self.choices],
            "limit": limit(self.costs),
            "mapping": layouts(self.tiles, self.hardware),
            "matrices": [
                {"conversion": plan.kind, "conversions_per_output": plan.conversions, "matrix": name, "why": plan.why}
                for name, plan in self.lowered.plans.items()
            ],
            "one_more_adc": one_more_adc(self.costs),
        }
        unfollowed = unfollowed_keys(self.hardware)
        if unfollowed:
            data["warnings"] = list(unfollowed)
        if self.comparison.deviation is not None:
            data["lowering"] = self.comparison.deviation
        if self.options.rate:
            data["real_time"] = real_time(self.costs, self.options.rate)
        sorted_data: Json = key_sorted(data)
        return sorted_data

    def settings(self) -> dict[str, str]:
        """Every key of the hardware file: its value, with its interval where it is physical."""
        return {
            key: " ".join(f"{entry[end]:g}" for end in ("low", "value", "high"))
            if "low" in entry
            else str(entry["value"])
            for key, entry in entries(self.hardware).items()
        }

    def files(self) -> tuple[Json, Arrays]:
        """Everything that was decided and made of it: `AimcTarget.load` only reads."""
        lowered, arrays = lowered_to_json(self.lowered)
        tiles, more = tiles_to_json(self.tiles)
        stored, once = stored_once({**lowered, "tiles": tiles}, {**arrays, **more})
        data = {
            "choices": [choice.to_json() for choice in self.choices],
            "comparison": asdict(self.comparison),
            "hardware": hardware_data(self.hardware),
            "options": asdict(self.options),
            "packings": {name: asdict(packing) for name, packing in self.packings.items()},
            "schema": SCHEMA,
            **stored,
        }
        return data, once


def on_chip(compiled: Compiled, target: str) -> AimcCompiled:
    """What a bundle of this target runs.

    Raises:
        UsageError: SSMC-U12 for a bundle of another ``target``.
    """
    if not isinstance(compiled, AimcCompiled):
        raise UsageError("SSMC-U12", f"target '{target}' has no devices to be noisy", "compile for aimc")
    return compiled


@dataclass(frozen=True)
class AimcTarget(Target):
    """Tile program for analog crossbars: cost, ideal and noisy simulation.

    Attributes:
        hardware: a preset's name, a TOML file, or loaded hardware.
        place: ``analog`` or ``digital`` for every matrix; ``analog-split``, ``digital-poles`` or ``digital-states``:
            of every kernel (`ssmc.targets.aimc.lowering.kernel_places`), other matrices analog; or ``auto``: per
            operation, whichever makes ``minimise`` smaller.
        packing: how kernels share arrays: ``auto``, the cheapest that fits and keeps up with ``rate``; or ``one`` an
            array each, ``diagonal``, ``multiplexed``, ``shared`` (`ssmc.targets.aimc.lowering.packing`).
        minimise: ``energy`` of a step, ``area``, initiation ``interval``, or the ``product`` of the three; packing
            hardly changes the energy, so there ``energy`` means ``product``.
        rate: sample rate of the input in time steps per second; 0: not given.
        set: keys of the hardware with other values, each ``table.key=value`` (`ssmc.hardware.settings`).
        output_lag: as in `IntegerTarget`.
        ranges: recorded sequences, or their file, for which the ranges of converters that lose something are chosen;
            without them they are the ranges of the quantizers that follow, or those of white input codes.
        noise_budget: with ``place`` auto, percentage points of accuracy that a placement may lose under the hardware's
            programming noise; measured on ``noise_data``.
        noise_data: labelled sequences, or their file.
    """

    hardware: Hardware | str | Path = "taox64"
    place: Policy = "analog"
    packing: Mode | Literal["auto"] = "auto"
    minimise: Objective = "energy"
    rate: float = 0.0
    set: tuple[str, ...] = ()
    output_lag: int | None = None
    ranges: Samples | Path | None = None
    noise_budget: float | None = None
    noise_data: Samples | Path | None = None

    @property
    def name(self) -> str:
        """The word after ``--target``."""
        return "aimc"

    def pipeline(self) -> tuple[Pass, ...]:
        """The integer target's passes, then placement and the converters' partial sums."""
        return (
            *to_integers(self.output_lag, one_scale=True),
            Place(self.place),
            InsertPartialSums(self.chip, self.place, self.minimise, self.recorded, self.budget, self.packing),
        )

    @cached_property
    def chip(self) -> Hardware:
        """The hardware, loaded.

        Raises:
            UsageError: SSMC-H01..H09 from the hardware file, SSMC-H11 from ``set``.
        """
        given = self.hardware
        return with_settings(given if isinstance(given, Hardware) else load_hardware(given), self.set)

    @cached_property
    def recorded(self) -> Samples | None:
        """The sequences of `ranges`, loaded.

        Raises:
            UsageError: SSMC-D10..D16 where the file cannot be read.
        """
        return load_samples(self.ranges) if isinstance(self.ranges, Path) else self.ranges

    @cached_property
    def budget(self) -> NoiseBudget | None:
        """What placements may lose under noise.

        Raises:
            UsageError: SSMC-U15 where one of ``noise_budget``, ``noise_data`` and ``place`` auto is missing, or labels
                are; SSMC-D10..D16 where the data cannot be read.
        """
        if self.noise_budget is None and self.noise_data is None:
            return None
        if self.noise_budget is None or self.noise_data is None or self.place != "auto":
            fact = "--noise-budget, --data and --place auto go together"
            raise UsageError("SSMC-U15", fact, "give percentage points, labelled sequences and --place auto, or none")
        data = load_samples(self.noise_data) if isinstance(self.noise_data, Path) else self.noise_data
        return NoiseBudget(self.noise_budget, data)

    def emit(self, program: Program) -> AimcCompiled:
        """Place, lower, pack and assemble a program of exact matrices.

        Raises:
            UsageError: SSMC-H01..H08 from the hardware file.
            ModelError: SSMC-A01..A04 where the program does not fit the hardware.
        """
        candidates = Candidates(program, self.chip, self.recorded, packings_of(self.packing))
        return self._packed(place_matrices(candidates, self.place, self.minimise, self.budget), program.inputs)

    def emit_decided(self, program: Program, decided: object) -> AimcCompiled:
        """Pack and assemble what the pass that inserts partial sums placed and lowered.

        Raises:
            ModelError: SSMC-A03 where the chip has too few arrays, SSMC-A05 where a later pass changed the graph.
        """
        if not isinstance(decided, Placement):
            return self.emit(program)
        decided.require(program)
        return self._packed(decided, program.inputs)

    def _packed(self, placement: Placement, inputs: tuple[tuple[str, int], ...]) -> AimcCompiled:
        """Arrays, tiles and their report; ``inputs`` as `Program.inputs`, which graphs do not say."""
        packed = pack_arrays(placement.placed, self.packing, self.minimise, self.rate)
        options = Options(
            self.place,
            self.packing,
            self.minimise,
            self.rate,
            self.ranges is not None,
            self.set,
            self.noise_budget,
        )
        choices = (*placement.choices, *packed.choices)
        hardware, candidates = placement.placed.hardware, placement.candidates
        lowered = placement.lowered
        lowered = replace(lowered, program=replace(lowered.program, inputs=inputs))
        return AimcCompiled(lowered, packed.packings, choices, packed.tiles, hardware, options, candidates)

    @classmethod
    def load(cls, program: Json, arrays: Mapping[str, NDArray[np.generic]]) -> AimcCompiled:
        """Read back what `AimcCompiled.files` wrote: nothing is decided, lowered or assembled.

        Raises:
            UsageError: SSMC-B03 another schema version, SSMC-B04 a field or an array is missing or malformed.
        """
        if program.get("schema") != SCHEMA:
            fact = f"schema of the aimc program is {program.get('schema')!r}, this ssmc reads {SCHEMA!r}"
            raise UsageError("SSMC-B03", fact, f"compile the model again: {_command(program)}")
        lowered = lowered_from_json(program, arrays)
        tiles = tiles_from_json(program["tiles"], arrays)
        with reading("list of decisions"):
            return AimcCompiled(
                lowered,
                {name: Packing(**packing) for name, packing in program["packings"].items()},
                tuple(choice_from_json(choice) for choice in program["choices"]),
                tiles,
                hardware_from_data(program["hardware"], "program.json"),
                Options(**{**program["options"], "set": tuple(program["options"]["set"])}),
                Comparison(**program["comparison"]),
            )


def _command(program: Json) -> str:
    """The command that compiles a bundle of another version again, with the options that its file names."""
    hardware = str(program.get("hardware", {}).get("name")).partition(" (")[0]
    options = dict(program.get("options", {}))
    pairs = options.pop("set", ())
    if options.get("ranges"):
        options["ranges"] = "FILE.npz"
    if options.get("noise_budget") is not None:
        options["data"] = "FILE.npz"
    given = {"hardware": hardware if hardware in preset_names() else "FILE.toml", **options}
    usual = asdict(Options())
    words = [f"--{key.replace('_', '-')} {value}" for key, value in given.items() if value != usual.get(key)]
    words += [f"--set {pair}" for pair in pairs]
    return " ".join(["ssmc compile MODEL.onnx --target aimc", *words, "-o FOLDER"])
