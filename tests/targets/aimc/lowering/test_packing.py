"""Packings, cell by cell: no two blocks share a cell, and what the columns add up is the product of the matrix."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmc.errors import ModelError
from ssmc.hardware.model import Hardware
from ssmc.ir.executor import Executor
from ssmc.ir.matrix import Matrix
from ssmc.ir.operations import Dequantize, Linear, Op, Quantize
from ssmc.ir.program import Program
from ssmc.ir.quant import Codes, QuantType
from ssmc.ir.requant import make_requant
from ssmc.ir.rounding import IntArray
from ssmc.targets.aimc.cost.totals import cost
from ssmc.targets.aimc.lowering.mapping import Bank, make_banks
from ssmc.targets.aimc.lowering.packing import MODES, Block, Packing, pack
from ssmc.targets.aimc.lowering.partial_sums import lower
from ssmc.targets.aimc.simulation.chip import Chip
from ssmc.targets.aimc.simulation.tile_executor import TileExecutor
from ssmc.targets.aimc.tiles.assemble import assemble
from ssmc.targets.aimc.tiles.cells import cell_levels, waves

Programs = Callable[..., Program]


def everywhere(program: Any, packing: Packing) -> dict[str, Packing]:
    return dict.fromkeys(program.plans, packing)


def row_drive(codes: IntArray, hw: Hardware) -> IntArray:
    """Codes (rows,) on the physical rows of a tile: unipolar drivers take positive and negative ones apart."""
    if hw.rows_per_input == 1:
        return codes
    return np.stack([np.maximum(codes, 0), np.maximum(-codes, 0)], 1).ravel()


def physical_product(bank: Bank, levels: Mapping[int, IntArray], drive: IntArray, hw: Hardware) -> IntArray:
    """Column sums (groups, slices, outputs) of what the rows of the arrays carry, wave by wave; all else undriven.

    0 for an output that has no column.
    """
    out = np.where((bank.codes != 0).any((1, 3))[:, None], 1 << 40, np.zeros(bank.codes.shape[:3], np.int64))
    for tiles in waves(bank):
        rows = {tile.array: np.zeros(hw.array.rows, np.int64) for tile in tiles}
        for tile in tiles:
            codes = row_drive(drive[tile.group, bank.inputs_in(tile)], hw)
            rows[tile.array][tile.row : tile.row + len(codes)] = codes
        for tile in tiles:
            columns = rows[tile.array] @ levels[tile.array]
            mine = columns[tile.column : tile.column + bank.columns_of(tile, hw)]
            if hw.cells_per_code == 2:
                sums = mine[::2] - mine[1::2]
            elif hw.rows_per_input == 1:
                sums = mine - columns[-1]
            else:
                zero = (hw.cell.levels - 1) // 2
                sums = mine - zero * rows[tile.array].sum()
            outputs = bank.outputs_in(tile)
            out[tile.group][:, outputs] = sums.reshape(len(outputs), len(bank.gains)).T
    return out


def packed(data: st.DataObject, program: Program, hw: Hardware) -> tuple[Any, tuple[Bank, ...]] | None:
    packing = Packing(data.draw(st.sampled_from(MODES)), data.draw(st.sampled_from([0, 1, 2, 3])))
    try:
        lowered = lower(program, hw)
        return lowered, make_banks(lowered.plans, hw, everywhere(lowered, packing))
    except ModelError:
        return None


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_what_the_columns_add_up_is_the_product(
    shapes: Any, hardwares: Any, program_of: Programs, data: st.DataObject
) -> None:
    hw = data.draw(hardwares)
    hw = replace(hw, cell=replace(hw.cell, quadrants=data.draw(st.sampled_from([2, 4]))))
    found = packed(data, program_of(data.draw(shapes)), hw)
    if found is None or hw.inputs_per_array < 1:
        return
    _, banks = found
    levels = cell_levels(banks, hw)
    rng = np.random.default_rng(0)
    for bank in banks:
        drive = rng.integers(-99, 100, (bank.groups, bank.row_count))
        expected = np.einsum("gsor,gr->gso", bank.codes, drive)
        assert (physical_product(bank, levels, drive, hw) == expected).all()
    assert all(cells.min() >= 0 and cells.max() < hw.cell.levels for cells in levels.values())


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_every_cell_belongs_to_one_block_and_every_output_has_a_place(
    shapes: Any, hardwares: Any, program_of: Programs, data: st.DataObject
) -> None:
    hw = data.draw(hardwares)
    found = packed(data, program_of(data.draw(shapes)), hw)
    if found is None:
        return
    _, banks = found
    taken: dict[int, IntArray] = {}
    for bank in banks:
        spans = [[tile.group, j] for tile in bank.tiles for j in bank.outputs_in(tile).tolist()]
        assert sorted(spans) == np.argwhere((bank.codes != 0).any((1, 3))).tolist()
        for tile in bank.tiles:
            cells = taken.setdefault(
                tile.array, np.zeros((hw.array.rows, hw.array.columns - hw.reference_columns), int)
            )
            rows, columns = bank.rows_of(tile, hw), bank.columns_of(tile, hw)
            part = cells[tile.row : tile.row + rows, tile.column : tile.column + columns]
            assert part.shape == (rows, columns)
            part += 1
    assert sorted(taken) == list(range(len(taken)))
    assert all(cells.max() <= 1 for cells in taken.values())


def test_kernels_on_the_diagonal_and_one_after_the_other(taox64: Hardware, program_of: Programs) -> None:
    """16 kernels of 5 x 10 cells: 6 on the diagonal of a 64 x 64 array, or 72 where they take turns."""
    program = program_of(form="delta", channels=16, n=4)
    lowered = lower(program, taox64)
    arrays = {}
    for mode in ("one", "diagonal", "multiplexed"):
        tiles = assemble(lowered, taox64, {"ssm": Packing(mode)})  # type: ignore[arg-type]
        arrays[mode] = len(tiles.banks["ssm"].arrays), tiles.banks["ssm"].waves
    assert arrays == {"one": (16, 1), "diagonal": (3, 1), "multiplexed": (1, 16)}


def test_what_packing_costs_and_saves(taox64: Hardware, program_of: Programs) -> None:
    """Turns: the same conversions and cell reads, less area, a longer loop. Diagonal: driven rows cross all columns."""
    lowered = lower(program_of(form="delta", channels=6, n=4), taox64)
    found = {
        mode: cost(assemble(lowered, taox64, {"ssm": Packing(mode)}), taox64).to_json(1)
        for mode in ("one", "diagonal", "multiplexed")
    }  # type: ignore[arg-type]
    loops = {mode: data["feedback_loops_ns"]["ssm"] for mode, data in found.items()}
    assert loops["one"] == 20 + 10 + 100 + 5 * 100 + 20
    assert loops["diagonal"] == 20 + 10 + 100 + 6 * 5 * 100 + 20
    assert loops["multiplexed"] == 20 + 6 * (10 + 100 + 5 * 100) + 20
    for mode in ("diagonal", "multiplexed"):
        assert found[mode]["area_um2"]["nominal"] < found["one"]["area_um2"]["nominal"]
        assert found[mode]["adc_conversions"] == found["one"]["adc_conversions"]
    assert found["multiplexed"]["cell_reads"] == found["one"]["cell_reads"]
    diagonal = found["diagonal"]["cell_reads"]["per_step"] - found["one"]["cell_reads"]["per_step"]
    assert diagonal == 6 * 6 * 50 - 6 * 50


def test_matrices_that_share_arrays_take_turns(taox64: Hardware, program_of: Programs) -> None:
    lowered = lower(program_of(form="delta", channels=4, n=4, features=4, pool="none"), taox64)
    alone, shared = (
        cost(assemble(lowered, taox64, everywhere(lowered, Packing(mode))), taox64)
        for mode in ("multiplexed", "shared")
    )  # type: ignore[arg-type]
    assert shared.tiles.arrays < alone.tiles.arrays
    busy = shared.step_timing.occupancy_ns
    assert "adc encoder + ssm + decoder" in busy
    assert busy["adc encoder + ssm + decoder"] == sum(
        alone.step_timing.occupancy_ns[f"adc {n}"] for n in ("encoder", "ssm", "decoder")
    )
    assert shared.step_timing.initiation_interval_ns > alone.step_timing.initiation_interval_ns


def dense(sizes: list[int], weights: int = 1) -> Program:
    """Chain of square dense matrices."""
    code = QuantType(-128, 127, np.asarray(1.0))
    ops: list[Op] = [Quantize("q", ("x",), "v0", code)]
    values = {"v0": Codes(sizes[0], code, "step")}
    for k, (rows, columns) in enumerate(pairwise(sizes)):
        reach = 128 * weights * rows
        requant = make_requant([Fraction(1, 64)] * columns, [Fraction(0)] * columns, -128, 127, (-reach, reach))
        ops.append(Linear(f"w{k}", (f"v{k}",), f"v{k + 1}", Matrix(np.full((1, columns, rows), weights)), requant))
        values[f"v{k + 1}"] = Codes(columns, code, "step")
    last = f"v{len(sizes) - 1}"
    ops.append(Dequantize("o", (last,), "out", np.asarray(1.0)))
    return Program("x", sizes[0], "out", sizes[-1], tuple(ops), values)


def test_remainders_of_two_129_x_129_matrices_share_arrays(isaac128: Hardware) -> None:
    """PUMA's compiler takes 8 arrays of 128 x 128 at 25.4 % (facts of a run); single-ended cells, one slice."""
    cells = replace(isaac128.cell, scheme="offset_column", levels=16)
    hw = replace(
        isaac128, cell=cells, array=replace(isaac128.array, columns=129), adc=replace(isaac128.adc, step="per_column")
    )
    lowered = lower(dense([129, 129, 129]), hw)
    used = {}
    for mode in ("one", "shared"):
        tiles = assemble(lowered, hw, everywhere(lowered, Packing(mode)))  # type: ignore[arg-type]
        used[mode] = tiles.arrays, 2 * 129**2 / (tiles.arrays * 128**2)
        assert (
            sum(b.row_count * (t.outputs[1] - t.outputs[0]) for b in tiles.banks.values() for t in b.tiles)
            == 2 * 129**2
        )
    assert used["one"] == (8, pytest.approx(0.254, abs=0.001))
    assert used["shared"] == (3, pytest.approx(0.677, abs=0.001))


def test_blocks_with_unlike_steps_do_not_share_a_converter_with_one_step(taox64: Hardware) -> None:
    blocks = [Block(0, g, (0, 2), (0, 1), 3, 2, step=("1/2",) if g % 2 else ("1/3",)) for g in range(4)]
    for mode in ("diagonal", "multiplexed"):
        placed = pack(blocks, Packing(mode), 0, taox64)  # type: ignore[arg-type]
        steps: dict[int, set[object]] = {}
        for p in placed:
            steps.setdefault(p.array, set()).add(p.block.step)
        assert all(len(s) == 1 for s in steps.values())


def test_unipolar_drivers_take_twice_the_rows(taox64: Hardware, program_of: Programs) -> None:
    """The QS4D figure: 14 complex modes and an input, 30 inputs and outputs, fill 60 rows and 60 columns.

    Ternary codes are held at the largest level.
    """
    hw = replace(taox64, cell=replace(taox64.cell, quadrants=4))
    lowered = lower(program_of(form="direct", channels=1, n=29, m=1, p=1, weight_bits=2), hw)
    bank = make_banks(lowered.plans, hw)[1]
    [levels] = cell_levels([bank], hw).values()
    assert (levels[:60, :60] != 0).any(axis=0).sum() == 60
    assert not levels[60:].any()
    assert not levels[:, 60:].any()
    assert levels.max() == 127
    assert lower(program_of(channels=1, n=40), hw).plans["ssm"].why == "41 inputs, 32 rows"


def test_a_chip_too_small_says_so_unless_blocks_share(taox64: Hardware, program_of: Programs) -> None:
    few = replace(taox64, array=replace(taox64.array, count=3))
    lowered = lower(program_of(form="delta", channels=16, n=4), few)
    with pytest.raises(ModelError, match=r"SSMC-A03.*needs 18 arrays.*pack several"):
        make_banks(lowered.plans, few)
    assert (
        len({a for b in make_banks(lowered.plans, few, everywhere(lowered, Packing("shared"))) for a in b.arrays}) == 1
    )


@pytest.mark.parametrize("packing", ["one", "diagonal", "multiplexed", "shared"])
def test_no_more_rows_are_driven_at_once_than_may_be(packing: Any, taox64: Hardware, program_of: Programs) -> None:
    """With 16 of 64 rows a matrix of 31 inputs is cut in two, which may lie in one array and take turns; same codes."""
    hw = replace(taox64, array=replace(taox64.array, active_rows=16), adc=replace(taox64.adc, bits=0))
    program = program_of(form="delta", channels=3, n=30, features=4)
    lowered = lower(program, hw)
    assert lowered.plans["ssm"].rows == ((0, 16), (16, 31))
    packings = dict.fromkeys(lowered.plans, Packing(packing))
    tiles = assemble(lowered, hw, packings)
    for bank in tiles.banks.values():
        driven: dict[tuple[int, int], int] = {}
        for tile in {(t.array, t.wave, t.group, t.row): t for t in bank.tiles}.values():
            at = tile.array, tile.wave
            driven[at] = driven.get(at, 0) + bank.rows_of(tile, hw)
        assert max(driven.values()) <= 16
    x = np.random.default_rng(0).normal(0, 10, (3, 6, 4))
    chip = TileExecutor(lowered.program, tiles, Chip(tiles, hw), True)
    assert np.array_equal(chip.run(x), Executor(program).run(x))
    assert (tiles.arrays < assemble(lowered, hw).arrays) == (packing in ("multiplexed", "shared"))
