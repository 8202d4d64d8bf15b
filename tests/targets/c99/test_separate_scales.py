"""Kernels whose parts have scales of their own: reference, fast executor and C with sanitizers give the same codes."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from ssmc.ir.operations import StateSpace
from tests.compiling import program_of
from tests.separate_scales import Separate, model
from tests.targets.c99.backends import BACKENDS, CORTEX_M, Tally, reference
from tests.targets.c99.programs import random_codes

SYSTEMS = [
    Separate(0, per_row=True, bias=True),
    Separate(1, channels=5, states=7, code_bits=16, weight_bits=16, delta=True),
    Separate(2, channels=6, states=3, weight_bits=4, after=True, per_row=True),
]

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc, whose sanitizers are used")


@pytest.mark.parametrize("s", SYSTEMS, ids=["rows", "blocks in loops", "blocks written out"])
def test_every_executor_gives_the_same_codes(s: Separate) -> None:
    program = program_of(model(s))
    (kernel,) = [op for op in program.ops if isinstance(op, StateSpace)]
    assert kernel.matrix.multiplier is not None
    codes, lengths, tally = random_codes(program, 0, 8, 20), np.full(8, 20), Tally()
    want = reference(program, codes, lengths)
    for name, run in BACKENDS.items():
        if name != CORTEX_M:
            tally.compare(name, want, run(program, codes, lengths), lengths, str(s))
    assert min(tally.codes.values()) >= 8 * 20 * program.output_size
