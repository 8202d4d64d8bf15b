"""Ideal chips compute the codes of the lowered program, for every scheme, slicing, drive, splitting and form."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from ssmc.hardware.model import Hardware
from ssmc.ir.executor import Executor
from ssmc.ir.matrix import Matrix
from ssmc.ir.operations import Dequantize, Quantize, StateSpace
from ssmc.ir.program import Program
from ssmc.ir.quant import Codes, QuantType
from ssmc.ir.requant import make_requant
from ssmc.native.build import find_compiler
from ssmc.native.executor import NativeExecutor
from ssmc.targets.aimc.lowering.partial_sums import Place, lower
from ssmc.targets.aimc.simulation.chip import Chip
from ssmc.targets.aimc.simulation.tile_executor import TileExecutor
from ssmc.targets.aimc.tiles.assemble import assemble
from tests.targets.aimc.mappings import Mapping, check, mappings

Programs = Callable[..., Program]
VECTORS = sorted((Path(__file__).parents[3] / "vectors").glob("*.json"))


def ideal(program: Program, hw: Hardware, *, place: Place = "auto", literal: bool = True) -> TileExecutor:
    lowered = lower(program, hw, place)
    tiles = assemble(lowered, hw)
    return TileExecutor(lowered.program, tiles, Chip(tiles, hw), literal)


def same_codes(a: Executor, b: Executor, x: np.ndarray[Any, Any], lengths: list[int]) -> None:
    """Every value of every step, and of the end, padding included."""
    state_a, state_b = a.init(len(x)), b.init(len(x))
    for t in range(x.shape[1]):
        active = t < np.array(lengths)
        codes_a, codes_b = a.step_codes(state_a, x[:, t], active), b.step_codes(state_b, x[:, t], active)
        assert codes_a.keys() == codes_b.keys()
        assert all((codes_a[name] == codes_b[name]).all() for name in codes_a)
        for name, register in state_a.registers.items():
            assert (register == state_b.registers[name]).all()
    codes_a, codes_b = a.finish_codes(state_a), b.finish_codes(state_b)
    assert codes_a.keys() == codes_b.keys()
    assert all((codes_a[name] == codes_b[name]).all() for name in codes_a)


@settings(max_examples=150, deadline=None)
@given(mappings())
def test_every_mapping_computes_the_integer_codes(mapping: Mapping) -> None:
    """Every signed scheme, slicing, drive, splitting, packing, place and form; `python -m tests.targets.aimc.fuzz`."""
    check(mapping)


@pytest.mark.parametrize("form", ["direct", "delta"])
@pytest.mark.parametrize("preset", ["taox64", "isaac128"])
def test_presets_equal_the_unlowered_program(
    preset: str, form: str, program_of: Programs, request: pytest.FixtureRequest
) -> None:
    hw = request.getfixturevalue(preset)
    program = program_of(form=form, channels=4, n=8, features=6)
    chip = ideal(program, hw)
    same_codes(chip, Executor(program), np.random.default_rng(1).normal(0, 10, (4, 20, 6)), [20, 7, 0, 19])


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
@pytest.mark.parametrize("preset", ["taox64", "isaac128"])
def test_exact_vectors(path: Path, preset: str, request: pytest.FixtureRequest) -> None:
    vector = json.loads(path.read_text())
    hw = generous(request.getfixturevalue(preset))
    program = from_vector(vector)
    chip = ideal(program, hw)
    state = chip.init(1)
    registers = vector.get("state", vector.get("register"))
    for t, u in enumerate(vector["u"]):
        codes = chip.step_codes(state, np.array([u], float))
        assert codes["y"][0].tolist() == vector["y"][t]
        assert state.registers["ssm"][0, 0].tolist() == registers[t]


def generous(hw: Hardware) -> Hardware:
    """Converters and drivers that never bind, so that all vectors fit, 16 bits included."""
    dac = hw.dac if hw.dac.bit_serial else replace(hw.dac, bits=16)
    return replace(hw, dac=dac, adc=replace(hw.adc, bits=40))


def from_vector(v: dict[str, Any]) -> Program:
    n, delta = v["n_state"], v["form"] == "delta"
    codes = np.array([v["W"]])
    lo, hi = np.array(v["range"]).T
    us = np.array(v["u"])
    wide = QuantType(int(us.min()), int(us.max()), np.asarray(1.0))
    ones = np.ones((1, n), np.int64)
    state_range = lo[:n].reshape(1, n), hi[:n].reshape(1, n)
    dac = np.array(v["dac_range"] if delta else [0, 0]) * np.ones((n, 2), np.int64)
    drive = (dac[:, 0].reshape(1, n), dac[:, 1].reshape(1, n)) if delta else state_range
    box = np.array(v["register_range"] if delta else [0, 0]) * np.ones((n, 2), np.int64)
    register = (box[:, 0].reshape(1, n), box[:, 1].reshape(1, n)) if delta else state_range
    low = np.concatenate([drive[0][0], np.full(v["n_input"], wide.lo)])
    high = np.concatenate([drive[1][0], np.full(v["n_input"], wide.hi)])
    reach = Matrix(codes).reach(low[None], high[None])
    ratio = [Fraction(*pair) for pair in v["ratio"]]
    requant = make_requant(ratio, [Fraction(0)] * len(ratio), lo, hi, (reach[0].ravel(), reach[1].ravel()))
    start = np.array(v["register0"] if delta else v["state0"]).reshape(1, n)
    shift = np.broadcast_to(np.array(v.get("shift", 0)), (1, n)).astype(np.int64)
    kernel = StateSpace("ssm", ("u",), "y", Matrix(codes), requant, delta * ones, shift, *drive, *register, start)
    outputs = codes.shape[1] - n
    ops = (Quantize("q", ("x",), "u", wide), kernel, Dequantize("o", ("y",), "out", np.asarray(1.0)))
    out = QuantType(int(lo[n:].min()), int(hi[n:].max()), np.asarray(1.0))
    values = {"u": Codes(v["n_input"], wide, "step"), "y": Codes(outputs, out, "step")}
    return Program("x", v["n_input"], "out", outputs, ops, values)


def test_it_counts_what_it_executes(taox64: Hardware, program_of: Programs) -> None:
    chip = ideal(program_of(), taox64)
    chip.run(np.zeros((3, 7, 3)), [7, 2, 0])
    assert dict(chip.executed) == {"per_step": 9, "per_sequence": 3}


@pytest.mark.skipif(find_compiler() is None, reason="needs a C compiler")
@pytest.mark.parametrize("bits", [8, 5])
@pytest.mark.parametrize("form", ["direct", "delta"])
def test_a_long_run_is_that_of_the_literal_chip(form: str, bits: int, taox64: Hardware, program_of: Programs) -> None:
    """Through C where every conversion is lossless; narrower converters lose codes, and the simulation stays."""
    hw = replace(taox64, adc=replace(taox64.adc, bits=bits))
    program = program_of(form=form)
    fast, literal = (ideal(program, hw, place="analog", literal=exact) for exact in (False, True))
    x, lengths = np.random.default_rng(2).normal(0, 10, (52, 70, 3)), np.repeat([70, 61, 0, 33], 13)
    assert (fast.run(x, lengths) == literal.run(x, lengths)).all()
    assert fast.executed == literal.executed
    assert isinstance(fast._exact[0], NativeExecutor) == (bits == 8)
    assert fast._native(10) is None  # not worth it


def test_state_can_be_saved_and_restored(isaac128: Hardware, program_of: Programs) -> None:
    chip = ideal(program_of(form="delta"), isaac128, literal=False)
    x = np.random.default_rng(0).normal(0, 10, (2, 8, 3))
    state = chip.init(2)
    for t in range(4):
        chip.step(state, x[:, t])
    saved = state.copy()
    for t in range(4, 8):
        chip.step(state, x[:, t])
    for t in range(4, 8):
        chip.step(saved, x[:, t])
    assert (chip.finish(saved) == chip.finish(state)).all()  # type: ignore[operator]
    assert (chip.run(x) == chip.finish(state)).all()
