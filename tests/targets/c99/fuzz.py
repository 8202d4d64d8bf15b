"""Random programs through the reference executor, the fast executor and the C with sanitizers: the same codes.

``make fuzz``, or ``python -m tests.targets.c99.fuzz --codes 10000000 --seed 0``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from ssmc.errors import ModelError
from ssmc.ir.program import Linear, Product, Program, Quantize, StateSpace
from ssmc.ir.rounding import IntArray
from ssmc.targets.c99.native import NativeExecutor
from ssmc.targets.integer.executor import Executor
from tests.targets.c99 import harness
from tests.targets.c99.programs import random_codes, random_program

SAMPLES = 32
STEPS = 40


def reference(program: Program, executor: Executor, codes: IntArray, lengths: IntArray) -> dict[str, IntArray]:
    """Every value: (N, T, size), per-sequence ones (N, size)."""
    first = program.ops[0]
    assert isinstance(first, Quantize)
    real, state = first.quant.dequantize(codes), executor.init(len(codes))
    steps = [executor.step_codes(state, real[:, t], t < lengths) for t in range(codes.shape[1])]
    every = {name: np.stack([step[name] for step in steps], 1) for name in steps[0]}
    return {**every, **executor.finish_codes(state)}


def differing(a: dict[str, IntArray], b: dict[str, IntArray], lengths: IntArray) -> tuple[int, str]:
    """Codes compared, and the first value that differs ('' where none does); padding counts for nothing."""
    compared = 0
    for name in a.keys() & b.keys():
        inside = np.arange(a[name].shape[1]) < lengths[:, None] if a[name].ndim == 3 else ...
        left, right = a[name][inside], b[name][inside]
        compared += left.size
        if not np.array_equal(left, right):
            return compared, name
    return compared, ""


def one(seed: int, samples: int = SAMPLES, steps: int = STEPS) -> tuple[int, Counter[str]]:
    """Check one program; returns codes compared (counted once) and what the program contained.

    Raises:
        AssertionError: an executor differs.
    """
    program = random_program(seed)
    codes = random_codes(program, seed, samples, steps)
    rng = np.random.default_rng(seed)
    ragged, whole = rng.integers(0, steps + 1, samples), np.full(samples, steps)
    ragged[: samples // 2] = steps
    want = reference(program, Executor(program), codes, whole)
    with tempfile.TemporaryDirectory(prefix="ssmc-fuzz-") as folder:
        compared, name = differing(want, harness.run(program, codes, Path(folder)), whole)
    assert not name, f"seed {seed}: C with sanitizers differs in {name}"
    for word in (8, 16):
        fast = NativeExecutor(program, word=word)
        _, name = differing(want, reference(program, fast, codes, whole), whole)
        assert not name, f"seed {seed}: fast executor ({word}-bit words) differs in {name}"
        x = np.asarray(codes * 0.25)
        same = np.array_equal(fast.run(x, ragged), Executor(program).run(x, ragged), equal_nan=True)
        assert same, f"seed {seed}: batched outputs of the fast executor ({word}-bit words) differ"
    return compared, contents(program)


def contents(program: Program) -> Counter[str]:
    """Operations and kinds of requantization."""
    found: Counter[str] = Counter(type(op).__name__ for op in program.ops)
    for op in program.ops:
        if isinstance(op, Linear | StateSpace | Product):
            found.update(set(op.requant.kinds))
        if isinstance(op, StateSpace):
            found[f"{op.form}{' apart' if op.output_matrix else ''}{' after' if op.output_after else ''}"] += 1
    return found


def main() -> int:
    """Fuzz until enough codes have been compared."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--codes", type=float, default=1e7)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="ssmc-fuzz-cache-")
    began, total, programs, declined = time.monotonic(), 0, 0, 0
    seen: Counter[str] = Counter()
    seed = arguments.seed
    while total < arguments.codes:
        try:
            compared, found = one(seed)
            total, programs, seen = total + compared, programs + 1, seen + found
        except ModelError as refused:
            declined += 1
            print(f"seed {seed}: {refused}")
        seed += 1
        if sys.stderr.isatty():
            print(f"\r{programs} programs, {total:,} codes", end="", file=sys.stderr)
    shutil.rmtree(os.environ["XDG_CACHE_HOME"], ignore_errors=True)
    print(f"\n{programs} programs ({declined} declined), {total:,} codes, 0 differ, {time.monotonic() - began:.0f} s")
    print(", ".join(f"{name} {count}" for name, count in sorted(seen.items())))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
