"""A matrix without a code: no row is driven, no column converted, its outputs are constants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from ssmc.data import Samples
from ssmc.ir.executor import Executor
from ssmc.ir.matrix import Matrix
from ssmc.ir.operations import Linear, StateSpace
from ssmc.ir.program import Program
from ssmc.targets.aimc.laboratory import laboratory
from ssmc.targets.aimc.target import AimcTarget

Programs = Callable[..., Program]


def without_codes(program: Program, kind: type) -> Program:
    """The program with the codes of its operations of one kind 0, or of the first group of its kernels."""

    def dead(op: object) -> object:
        if not isinstance(op, kind):
            return op
        codes = np.zeros_like(op.matrix.codes)  # type: ignore[attr-defined]
        if isinstance(op, StateSpace):
            codes[1:] = op.matrix.codes[1:]
        return replace(op, matrix=Matrix(codes))  # type: ignore[type-var]

    return replace(program, ops=tuple(dead(op) for op in program.ops))  # type: ignore[arg-type]


@pytest.mark.parametrize("packing", ["one", "diagonal", "multiplexed", "shared"])
@pytest.mark.parametrize("preset", ["taox64", "isaac128"])
@pytest.mark.parametrize("kind", [Linear, StateSpace])
def test_a_dead_matrix_compiles_runs_and_costs_nothing(
    kind: type, preset: str, packing: str, program_of: Programs
) -> None:
    program = without_codes(program_of(form="direct", channels=3, n=2), kind)
    compiled = AimcTarget(preset, packing=packing).emit(program)  # type: ignore[arg-type]
    x, lengths = np.random.default_rng(0).normal(0, 10, (3, 6, 3)), np.array([6, 1, 0])
    expected = Executor(program).run(x, lengths)
    for literal in (False, True):
        assert np.array_equal(compiled.executor(literal=literal).run(x, lengths), expected)
    noisy = compiled.executor(noise=True).run(x, lengths)
    assert np.isfinite(noisy).all()
    for row in compiled.cost(3)["components"]:
        if kind is Linear and row["op"] in ("encoder", "decoder") and row["component"] in ("adc", "dac", "array"):
            assert row["count"] == 0
    samples = Samples(x.reshape(-1, 3), np.arange(4) * 6, None)
    compiled.costs_on(samples)
    laboratory(compiled.lowered, compiled.tiles, compiled.hardware, samples).files()
