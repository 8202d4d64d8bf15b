"""On a Cortex-M4 in QEMU: the same codes; skipped where the cross compiler or QEMU is missing."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.targets.c99.programs import random_program

FOLDER = Path(__file__).parents[3] / "examples" / "cortex_m"


def load_board() -> ModuleType:
    spec = importlib.util.spec_from_file_location("board", FOLDER / "board.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["board"] = module
    spec.loader.exec_module(module)
    return module


board = load_board()
pytestmark = pytest.mark.skipif(bool(board.missing_tools()), reason="no arm-none-eabi-gcc or qemu-system-arm")


@pytest.mark.parametrize("seed", [31, 60, 82, 104])
def test_random_programs_give_the_codes_of_the_reference(seed: int, tmp_path: Path) -> None:
    found = board.execute(board.build(random_program(seed), tmp_path))
    assert found.passed, found.said
    assert found.instructions_per_tick == pytest.approx(40, rel=1e-3)
    assert found.instructions_per_step > 0
