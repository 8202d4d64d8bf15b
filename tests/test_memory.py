"""Memory that the command line keeps, counted in page faults, in processes of their own."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import numpy as np
from ssmc.__main__ import keep_memory

def work():
    return sum(float(x[0]) for x in [np.ones(50_000) for _ in range(40)])

if {kept}:
    keep_memory()
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(kept: bool) -> int:
    line = [sys.executable, "-c", FAULTS.format(kept=kept)]
    return int(subprocess.run(line, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the options are those of glibc")
def test_pages_of_freed_arrays_are_used_again() -> None:
    assert faults(kept=True) < faults(kept=False) / 10
