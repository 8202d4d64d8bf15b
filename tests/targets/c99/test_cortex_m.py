"""On a Cortex-M4 in QEMU: the same codes; skipped where the cross compiler or QEMU is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.targets.c99 import fuzz, harness
from tests.targets.c99.backends import CORTEX_M, REFERENCE, Tally, differing, reference
from tests.targets.c99.programs import random_codes, random_program

board = harness.load_board()
pytestmark = pytest.mark.skipif(bool(board.missing_tools()), reason="no arm-none-eabi-gcc or qemu-system-arm")


@pytest.mark.parametrize("seed", [31, 60, 82, 104])
def test_random_programs_give_the_codes_of_the_reference(seed: int, tmp_path: Path) -> None:
    found = board.execute(board.build(random_program(seed), tmp_path))
    assert found.passed, found.said
    assert found.instructions_per_tick == pytest.approx(40, rel=1e-3)
    assert found.instructions_per_step > 0


@pytest.mark.parametrize("seed", [25, 67])
def test_every_value_of_every_step_is_that_of_the_reference(seed: int, tmp_path: Path) -> None:
    program = random_program(seed)
    codes, lengths = random_codes(program, seed, 5, 12), np.array([12, 0, 1, 7, 12])
    want = reference(program, codes, lengths)
    compared, name = differing(want, harness.run_on_board(program, codes, tmp_path, lengths), lengths)
    assert compared > 500
    assert not name


def test_a_recording_of_the_demo_gives_the_same_codes() -> None:
    tally = Tally()
    fuzz.recordings(1, tally, board=True)
    assert 0.7 * tally.codes[REFERENCE] < tally.codes[CORTEX_M] <= tally.codes[REFERENCE]
