"""The fast executor: the program's own C, built on this machine; the reference executor where there is no compiler.

Why C and not numba: the same emitted text runs here and on a microcontroller, so a whole data set tests what is
deployed; it starts in milliseconds from its cache where numba compiles for seconds, and needs no dependency.
Figures: ``benchmarks/``.
"""

from __future__ import annotations

import warnings

from ssmc.errors import SsmcError, SsmcWarning
from ssmc.ir.executor import Executor
from ssmc.ir.program import Program
from ssmc.native.build import find_compiler
from ssmc.native.executor import NativeExecutor

#: codes of failures that the user can mend; a program that C cannot say is none
ENVIRONMENT = ("SSMC-C25", "SSMC-C27")
#: time steps in all from which building the C is worth its second
FAST_FROM_STEPS = 2000


def fast_executor(program: Program, threads: int = 0) -> Executor:
    """The fastest executor there is for a program; its codes are the reference executor's.

    Args:
        program: what to run.
        threads: that share a batch in ``run``; 0 for as many as there are cores.
    """
    if find_compiler() is None:
        return Executor(program)
    executor = NativeExecutor(program, threads=threads)
    try:
        executor.batched  # noqa: B018 (builds it: what C cannot do, or a broken compiler, shows here)
    except SsmcError as cause:
        if cause.code in ENVIRONMENT:
            warnings.warn(f"running without compiled code, much slower: {cause}", SsmcWarning, stacklevel=2)
        return Executor(program)
    return executor
