"""Accumulator widths: wide enough for the extreme codes, and never a bit wider than some input needs."""

from __future__ import annotations

import json

import numpy as np
import pytest

import ssmc
from ssmc.emit_c.widths import accumulator
from ssmc.importers.onnx_file import import_model
from ssmc.ir.operations import Linear, Product, StateSpace
from ssmc.report.widths import accumulator_bits
from tests.compiling import program_of
from tests.graphs import Spec, model
from tests.targets.c99.programs import random_program


@pytest.mark.parametrize("seed", range(8))
def test_no_partial_sum_is_wider_and_some_input_needs_the_width(seed: int) -> None:
    program = random_program(seed)
    for op in program.ops:
        if isinstance(op, Linear):
            quant = program.values[op.inputs[0]].quant
            top = max(abs(quant.lo), abs(quant.hi))
            row = np.abs(op.matrix.codes).sum(-1).max()
            assert accumulator_bits(program, op) == (int(row) * top).bit_length() + 1
        if isinstance(op, Product):
            tops = [max(abs(program.values[v].quant.lo), abs(program.values[v].quant.hi)) for v in op.inputs]
            assert accumulator_bits(program, op) == (tops[0] * tops[1]).bit_length() + 1


def test_a_kernel_is_as_wide_as_its_wider_matrix() -> None:
    program = program_of(Spec(seed=1, form="delta"), "prune-structure")
    kernel = next(op for op in program.ops if isinstance(op, StateSpace))
    assert kernel.output_matrix is not None
    top = max(int(np.abs(m.codes).sum(-1).max()) for m in (kernel.matrix, kernel.output_matrix)) << 6  # 7-bit codes
    bits = accumulator_bits(program, kernel)
    assert bits <= top.bit_length() + 1
    assert accumulator((1 << (bits - 1)) - 1).bits == 32


@pytest.mark.parametrize("target", ["int", "c"])
def test_every_report_says_proven_or_bounded_and_how_wide(target: str) -> None:
    bundle = ssmc.compile(import_model(model(Spec(seed=2, free=True))), target, oracle=False, poles="keep")
    files = bundle.files()
    told = json.loads(files["report.json"])["ops"]
    for op in bundle.report.ops:
        if op.kind in ("Linear", "StateSpace", "Product", "Sum", "Mean"):
            assert op.accumulator_bits > 1
            assert op.exactness == "proven" or op.bound > 0
    assert [op["accumulator_bits"] for op in told] == [op.accumulator_bits for op in bundle.report.ops]
    widest = max(op.accumulator_bits for op in bundle.report.ops)
    for name in ("report.html", "report.md"):
        assert f"{widest} bit" in files[name].decode()
        assert "proven" in files[name].decode()
