"""Blocks on the diagonal of an array: what the cells between them add, by formula, by brute force, and fast."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ssmc.hardware.conductances import NoiseModel
from ssmc.hardware.model import Hardware
from ssmc.ir.program import Program
from ssmc.targets.aimc.lowering.mapping import Bank, Tile
from ssmc.targets.aimc.lowering.packing import Packing
from ssmc.targets.aimc.lowering.partial_sums import lower
from ssmc.targets.aimc.simulation import simulate
from ssmc.targets.aimc.simulation.chip import Chip
from ssmc.targets.aimc.simulation.coupled import Coupling, coupling_of
from ssmc.targets.aimc.simulation.poles import poles
from ssmc.targets.aimc.simulation.stages import Kernel, stages_of
from ssmc.targets.aimc.simulation.tile_executor import TileExecutor
from ssmc.targets.aimc.target import AimcTarget
from ssmc.targets.aimc.tiles.assemble import assemble
from ssmc.targets.aimc.tiles.instructions import TileProgram

Programs = Callable[..., Program]
SCHEMES = ["differential_columns", "offset_column"]
SIGMA = 0.02


def hardware(hw: Hardware, scheme: Any = "differential_columns", quadrants: int = 2) -> Hardware:
    """A g_min away from zero, so that clipping at zero plays no part in the moments."""
    shifted = replace(hw.cell.g_min_us, value=30.0, low=30.0, high=30.0)
    return replace(hw, cell=replace(hw.cell, scheme=scheme, g_min_us=shifted, quadrants=quadrants))


def on_the_diagonal(codes: np.ndarray[Any, Any], arrays: list[list[int]], hw: Hardware) -> TileProgram:
    """Codes (groups, outputs, rows); groups of an array are driven at once."""
    _, outputs, rows = codes.shape
    width = outputs * hw.cells_per_code
    tiles = tuple(
        Tile(array, group, (0, outputs), slot * rows, slot * width)
        for array, groups in enumerate(arrays)
        for slot, group in enumerate(groups)
    )
    return TileProgram("t", {"b": Bank("b", "b", (0, rows), (1,), tiles, codes[:, None])}, {}, {}, {}, (), ())


def drive_and_codes() -> tuple[Any, Any]:
    rng = np.random.default_rng(5)
    return rng.integers(-99, 100, (3, 4)).astype(float), rng.integers(-60, 61, (3, 2, 4))


def variance_per_squared_drive(codes: Any, hw: Hardware, spread: Callable[[Any], Any]) -> tuple[Any, Any]:
    """Of the block's own cells, and of a cell at code 0: ``spread`` maps a level to a cell's variance, code units."""
    if hw.cells_per_code == 2:
        own = spread(np.maximum(codes, 0)) + spread(np.maximum(-codes, 0))
        return own, 2 * spread(np.zeros(1))[0]
    zero = (hw.cell.levels - 1) // 2
    return spread(codes + zero), spread(np.array([float(zero)]))[0]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_programming_errors_of_all_driven_rows_reach_a_column(scheme: str, packed: bool, taox64: Hardware) -> None:
    """Over chips: var = sum_i own v_i^2 + sum of the other blocks' v^2 x a cell at code 0 (+ the offset column's)."""
    hw = hardware(taox64, scheme)
    v, codes = drive_and_codes()
    tiles = on_the_diagonal(codes, [[0, 1], [2]] if packed else [[0], [1], [2]], hw)
    noise, level = NoiseModel(SIGMA, SIGMA), SIGMA * hw.cell.g_max_us.value / hw.level_us
    chips = 4000
    held = np.stack([Chip(tiles, hw, noise, seed).product("b", v[:, None])[:, 0] for seed in range(chips)])
    own, other = variance_per_squared_drive(codes, hw, lambda levels: level**2 + 0 * levels)
    expected = np.einsum("gji,gi->gj", own, v**2)
    squares = (v**2).sum(1)
    seen = np.array([squares[0] + squares[1], squares[0] + squares[1], squares[2]]) if packed else squares
    expected += other * (seen - squares)[:, None]
    if scheme == "offset_column":
        expected += level**2 * seen[:, None]
    assert held.var(0) == pytest.approx(expected, rel=5 * np.sqrt(2 / chips))
    assert np.abs(held.mean(0) - np.einsum("gji,gi->gj", codes, v)).max() < 5 * np.sqrt(expected.max() / chips)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_read_noise_of_all_driven_rows_reaches_a_column(scheme: str, taox64: Hardware) -> None:
    """The covariance of the columns of an array, those of other blocks included."""
    hw = hardware(taox64, scheme)
    v, codes = drive_and_codes()
    draws, read = 60_000, 0.03
    chip = Chip(on_the_diagonal(codes, [[0, 1], [2]], hw), hw, NoiseModel(read=read), seed=1)
    held = chip.product("b", np.repeat(v[:, None], draws, 1)).transpose(1, 0, 2).reshape(draws, -1).astype(float)
    base = hw.cell.g_min_us.value / hw.level_us
    own, other = variance_per_squared_drive(codes, hw, lambda levels: (read * (base + levels)) ** 2)
    squares = (v**2).sum(1)
    seen = np.array([squares[0] + squares[1], squares[0] + squares[1], squares[2]])
    expected = np.diag((np.einsum("gji,gi->gj", own, v**2) + other * (seen - squares)[:, None]).ravel())
    if scheme == "offset_column":
        array = np.repeat([0, 0, 1], 2)
        expected += (array[:, None] == array) * other * np.repeat(seen, 2)[:, None]
    assert np.cov(held.T) == pytest.approx(expected, abs=0.03 * expected.max())


def test_rows_that_are_not_driven_add_nothing(taox64: Hardware) -> None:
    """The same blocks one after the other: the other block's cells see no voltage, whatever they hold."""
    hw = hardware(taox64)
    v, codes = drive_and_codes()
    tiles = on_the_diagonal(codes, [[0, 1, 2]], hw)
    waves = [replace(tile, wave=k) for k, tile in enumerate(tiles.banks["b"].tiles)]
    turns = replace(tiles, banks={"b": replace(tiles.banks["b"], tiles=tuple(waves))})
    alone = on_the_diagonal(codes, [[0], [1], [2]], hw)
    noise = NoiseModel(0.03, 0.03, 0.02)
    first, second = (Chip(t, hw, noise, 3).product("b", v[:, None]) for t in (turns, alone))
    assert (first == second).all()
    assert coupling_of(turns.banks["b"]) is None
    assert coupling_of(tiles.banks["b"]) is not None


def test_what_belongs_together_comes_apart_again() -> None:
    coupling = Coupling(np.array([[0, 1, 2], [3, -1, -1], [4, 5, -1]]), 6)
    rng = np.random.default_rng(0)
    blocks, drive = rng.integers(-9, 10, (6, 2, 4, 3)), rng.integers(-9, 10, (6, 7, 3))
    whole = coupling.gather(drive.transpose(0, 2, 1)).transpose(0, 2, 1)
    held = np.einsum("ksor,knr->knso", coupling.spread(blocks), whole).reshape(3, 7, -1)
    assert (coupling.columns_apart(held, 2) == np.einsum("gsor,gnr->gnso", blocks, drive).reshape(6, 7, -1)).all()
    assert (coupling.scatter(coupling.gather(drive)) == drive).all()


PARTED = [
    {"form": "delta"},
    {"form": "mixed", "unfused": True, "output_after": True},
    {"form": "direct", "m": 2, "p": 2, "unfused": True},
]


@pytest.mark.parametrize("fields", PARTED, ids=lambda fields: "-".join(map(str, fields.values())))
@pytest.mark.parametrize("quadrants", [2, 4])
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("preset", ["taox64", "isaac128"])
def test_fast_and_literal_see_the_same_array(
    preset: str,
    scheme: str,
    quadrants: int,
    fields: dict[str, Any],
    program_of: Programs,
    request: pytest.FixtureRequest,
) -> None:
    """7 kernels, arrays of unequal filling; wires and converters too. A code in hundreds may part at a float tie."""
    pytest.importorskip("numba")
    hw = hardware(request.getfixturevalue(preset), scheme, quadrants)
    hw = replace(hw, adc=replace(hw.adc, step="per_column", columns_per_adc=3))
    hw = replace(hw, array=replace(hw.array, rows=12 * hw.rows_per_input))
    noise = NoiseModel(0.08, 0.05, stuck_high=0.01, wire_ohm=20.0, adc_offset=1.0, adc_gain=0.02, adc_inl=1.0)
    program = program_of(channels=7, n=4, pool="none", **fields)
    compiled = AimcTarget(hw, packing="diagonal").emit(program)
    coupling = coupling_of(compiled.tiles.banks["ssm"])
    assert coupling is not None
    assert coupling.size == 2
    assert (coupling.members < 0).any()
    fast, literal = (compiled.executor(noise=noise, seed=2, literal=flag) for flag in (False, True))
    assert simulate.simulation_of(fast.tiles, fast.chip) is not None
    x = np.random.default_rng(1).normal(0, 10, (8, 12, 3))
    a, b = fast.run(x), literal.run(x)
    assert (a != b).mean() < 0.02
    assert (a != compiled.executor().run(x)).mean() > 0.02
    alone = AimcTarget(hw).emit(program).executor(noise=noise, seed=2)
    assert (a != alone.run(x)).mean() > 0.02


def test_fresh_noise_fast_and_literal(taox64: Hardware, program_of: Programs) -> None:
    pytest.importorskip("numba")
    program = program_of(form="direct", channels=5, n=3, pool="none")
    compiled = AimcTarget(hardware(taox64, "offset_column"), packing="diagonal").emit(program)
    fast, literal = (compiled.executor(noise=NoiseModel(read=0.05), seed=1, literal=flag) for flag in (False, True))
    x = np.repeat(np.random.default_rng(0).normal(0, 10, (1, 2, 3)), 6000, 0)
    a, b = fast.run(x)[:, 1], literal.run(x)[:, 1]
    error = np.sqrt((a.var(0) + b.var(0)) / len(x)) + 1e-9
    assert (np.abs(a.mean(0) - b.mean(0)) < 5 * error).all()
    assert a.var(0) == pytest.approx(b.var(0), rel=0.12, abs=1e-3)


def test_clips_are_counted_by_group(taox64: Hardware, program_of: Programs) -> None:
    pytest.importorskip("numba")
    program = program_of(form="delta", channels=5, n=3, pool="none")
    x, lengths = np.random.default_rng(0).normal(0, 60, (5, 9, 3)), np.array([9, 0, 4, 7, 1])
    counts = []
    for packing in ("one", "diagonal"):
        compiled = AimcTarget(taox64, packing=packing).emit(program)  # type: ignore[arg-type]
        chip = Chip(compiled.tiles, taox64, NoiseModel(1e-9))
        simulation = simulate.simulation_of(compiled.tiles, chip)
        assert simulation is not None
        counts.append(simulation.run(x, lengths, np.arange(5)).clips["ssm"])
    assert counts[0].sum() > 0
    assert np.array_equal(*counts)


def test_poles_of_kernels_that_share_a_drive(taox64: Hardware, program_of: Programs) -> None:
    """Against the matrix that unit drives of the whole array find."""
    hw, noise = hardware(taox64), NoiseModel(0.05, 0.05)
    compiled = AimcTarget(hw, packing="diagonal").emit(program_of(form="delta", channels=5, n=3, weight_bits=6))
    chip = Chip(compiled.tiles, hw, noise, 4)
    [kernel] = [s for s in stages_of(compiled.tiles.per_step, compiled.tiles.banks) or () if isinstance(s, Kernel)]
    n, groups, inputs = 3, 5, 4
    units = np.zeros((groups, groups * n, inputs))
    for k in range(groups * n):
        units[k // n, k, k % n] = 2.0 ** -float(kernel.read_out.shift[k // n, k % n])
    held = chip.product("ssm", units)[..., :n].astype(float)
    ratio = np.array([float(r) for r in kernel.product.requant.ratio]).reshape(groups, 1, -1)[..., :n]
    transition = (held * ratio).transpose(0, 2, 1).reshape(groups * n, groups * n) + np.diag(kernel.update.keep.ravel())
    found = poles(kernel, chip, compiled.tiles.banks).ravel()
    found = found[np.abs(found) > 1e-6]
    assert np.sort(np.abs(found)) == pytest.approx(np.sort(np.abs(np.linalg.eigvals(transition))), rel=1e-4)


def test_an_uncoupled_chip_is_what_it_was(taox64: Hardware, program_of: Programs) -> None:
    """One block an array: a diagonal packing that finds no room draws the same cells as one an array."""
    lowered = lower(program_of(form="delta", channels=3, n=4), taox64)
    x = np.random.default_rng(0).normal(0, 10, (4, 6, 3))
    runs = []
    for packing in (Packing("one"), Packing("diagonal", 1)):
        tiles = assemble(lowered, taox64, dict.fromkeys(lowered.plans, packing))
        runs.append(TileExecutor(lowered.program, tiles, Chip(tiles, taox64, NoiseModel(0.05), 1)).run(x))
    assert (runs[0] == runs[1]).all()
