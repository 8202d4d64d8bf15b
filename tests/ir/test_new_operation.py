"""A new operation is one file and its place in the list."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def test_one_class_in_the_list_is_all_the_compiler_needs() -> None:
    """Level, function, reader, executor, serialization, pruning, ties, widths, report; see negate.py."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    ran = subprocess.run([sys.executable, str(HERE / "negate.py")], capture_output=True, text=True, env=environment)
    assert ran.returncode == 0, ran.stderr
