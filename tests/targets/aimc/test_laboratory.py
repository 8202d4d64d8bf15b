"""What a laboratory is given is enough: an executor that reads nothing else gives the same codes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ssmc.data import Samples
from ssmc.hardware.model import Hardware
from ssmc.ir.executor import Executor
from ssmc.ir.program import Program
from ssmc.targets.aimc.laboratory import laboratory
from ssmc.targets.aimc.target import AimcCompiled, AimcTarget
from tests.targets.aimc.laboratory_executor import Laboratory

Programs = Callable[..., Program]


def written(compiled: AimcCompiled, samples: Samples, folder: Path) -> Laboratory:
    folder.mkdir()
    for name, data in laboratory(compiled.lowered, compiled.tiles, compiled.hardware, samples).files().items():
        (folder / name).write_bytes(data)
    return Laboratory(folder)


def recorded() -> Samples:
    x = np.random.default_rng(0).normal(0, 10, (3, 7, 3))
    return Samples(x.reshape(-1, 3), np.array([0, 7, 14, 21]), None)


@pytest.mark.parametrize("packing", ["one", "diagonal", "multiplexed", "shared"])
@pytest.mark.parametrize("preset", ["taox64", "isaac128", "neurram"])
def test_the_folder_alone_gives_the_codes(preset: str, packing: str, tmp_path: Path, program_of: Programs) -> None:
    settings = ("array.count=0", *(("cell.quadrants=4",) if packing == "diagonal" else ()))
    target = AimcTarget(preset, packing=packing, set=settings)  # type: ignore[arg-type]
    compiled, samples = target.emit(program_of(form="delta", channels=3, n=2)), recorded()
    chip = written(compiled, samples, tmp_path / "chip")
    x, lengths = samples.batch(np.arange(3))
    expected = Executor(compiled.program).run(x, lengths)
    vectors = np.load(tmp_path / "chip" / "vectors.npz")
    assert np.array_equal(vectors["outputs"], expected)
    for sequence, output in zip(x, expected, strict=True):
        assert np.array_equal(chip.run(sequence), output)


def test_narrow_converters_and_digital_matrices(tmp_path: Path, taox64: Hardware, program_of: Programs) -> None:
    program, samples = program_of(form="direct", channels=2, n=3), recorded()
    narrow = replace(taox64, adc=replace(taox64.adc, bits=5))
    places = "digital", "analog-split", "digital-poles", "digital-states"
    targets = [AimcTarget(narrow), *(AimcTarget(hw, place=place) for place in places for hw in (taox64, narrow))]  # type: ignore[arg-type]
    for k, target in enumerate(targets):
        compiled = target.emit(program)
        chip = written(compiled, samples, tmp_path / str(k))
        x, lengths = samples.batch(np.arange(3))
        for sequence, output in zip(x, Executor(compiled.program).run(x, lengths), strict=True):
            assert np.array_equal(chip.run(sequence), output)


def test_events_are_those_of_the_first_steps(tmp_path: Path, program_of: Programs) -> None:
    """Codes on the rows times cells give the recorded sums; the values are those of the integer program."""
    compiled, samples = AimcTarget().emit(program_of(form="delta", channels=3, n=2)), recorded()
    chip = written(compiled, samples, tmp_path / "chip")
    vectors, program = dict(np.load(tmp_path / "chip" / "vectors.npz")), chip.program
    x, _ = samples.batch(np.array([0]))
    executor = Executor(compiled.program)
    state = executor.init(1)
    for t in range(7):
        codes = executor.step_codes(state, x[:, t], np.ones(1, bool))
        for k, name in enumerate(program["recorded"]["values"]):
            assert np.array_equal(vectors[f"value/{k}"][t], codes[name][0])
    for k, name in enumerate(program["recorded"]["held"]):
        (tile, *_) = program["banks"][name]["tiles"]
        if f"held/{k}" not in vectors:  # runs at the end of a sequence
            continue
        rows, cells = vectors[f"drive/{tile['array']:04d}"], chip.cells[f"{tile['array']:04d}"]
        currents = rows @ cells[:, tile["column"] : tile["column"] + tile["columns"]]
        sums = np.rint((currents[:, ::2] - currents[:, 1::2]) / chip.hw["level_us"])
        assert np.array_equal(sums, vectors[f"held/{k}"][:, tile["group"]][:, tile["outputs"]])
