"""Modules that load at their first use, in a process of their own."""

import subprocess
import sys

AT_FIRST_USE = """
import sys
from ssmc.deferred import defer
defer()
import onnx_ir
assert "sympy.core" not in sys.modules
assert str((onnx_ir.SymbolicDim("n") + 2).simplify().value).replace(" ", "") == "n+2"
assert "sympy.core" in sys.modules
"""


def test_sympy_loads_when_sizes_are_added() -> None:
    done = subprocess.run([sys.executable, "-c", AT_FIRST_USE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
