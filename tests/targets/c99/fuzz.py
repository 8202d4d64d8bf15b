"""The same codes everywhere: random programs of 1 to 16 bits, then the test recordings of the demo.

``make fuzz``, or ``python -m tests.targets.c99.fuzz --codes 1e7 --seed 0 --recordings 300``. Compared with the numpy
reference, free-running, every value of every step: the fast executor, the C with sanitizers, the same C on a Cortex-M4
in QEMU, and the ideal crossbar against the reference of its own lowered graph.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from ssmc.data import load_samples
from ssmc.errors import ModelError
from ssmc.ir.executor import Executor
from ssmc.ir.operations import Linear, Product, Quantize, StateSpace
from ssmc.ir.program import Program
from ssmc.ir.rounding import IntArray
from ssmc.native.executor import NativeExecutor
from ssmc.targets.aimc.target import AimcTarget
from tests.compiling import DIGITS, demo_program
from tests.targets.c99 import harness
from tests.targets.c99.backends import BACKENDS, CHIPS, CORTEX_M, CROSSBAR, REFERENCE, Tally, reference, walk
from tests.targets.c99.programs import random_codes, random_program

SAMPLES = 64
STEPS = 40
BATCH = 50


def one(
    seed: int, tally: Tally, samples: int = SAMPLES, steps: int = STEPS, board: bool = False, rates: bool = False
) -> Program:
    """Check one random program everywhere; with ``rates`` one with lower rates.

    Raises:
        AssertionError: a backend differs.
    """
    program = random_program(seed, rates)
    codes = random_codes(program, seed, samples, steps)
    rng = np.random.default_rng(seed)
    ragged, whole = rng.integers(0, steps + 1, samples), np.full(samples, steps)
    ragged[: samples // 2] = steps
    everywhere(program, codes, whole, tally, f"seed {seed}", board)
    tally.crossbar(program, codes, whole, CHIPS[seed % len(CHIPS)], f"seed {seed}")
    first = program.ops[0]
    assert isinstance(first, Quantize)
    x, plain = np.asarray(first.quant.dequantize(codes)), Executor(program)
    want = plain.run(x, ragged)
    for word in (8, 16):
        same = np.array_equal(NativeExecutor(program, word=word).run(x, ragged), want, equal_nan=True)
        assert same, f"seed {seed}: batched outputs of the fast executor ({word}-bit words) differ"
    return program


def everywhere(program: Program, codes: IntArray, lengths: IntArray, tally: Tally, what: str, board: bool) -> None:
    """Reference, then every backend that runs the program as it is."""
    want = reference(program, codes, lengths)
    tally.compare(REFERENCE, want, want, lengths, what)
    for name, backend in BACKENDS.items():
        if name != CORTEX_M or board:
            tally.compare(name, want, backend(program, codes, lengths), lengths, what)


def recordings(count: int, tally: Tally, board: bool) -> None:
    """The demo's test recordings through every backend; the crossbar against the unlowered reference."""
    samples = load_samples(DIGITS / "test.npz").head(count)
    program = demo_program()
    tiled = AimcTarget().emit(program)
    first = program.ops[0]
    assert isinstance(first, Quantize)
    for indices in samples.batches(BATCH):
        x, lengths = samples.batch(indices)
        codes, what = first.quant.quantize(x), f"recordings {indices.tolist()}"
        everywhere(program, codes, lengths, tally, what, board)
        want = reference(program, codes, lengths)
        tally.compare(CROSSBAR, want, walk(tiled.executor(), codes, lengths), lengths, what)
        progress(f"{len(indices)} recordings more")


def contents(program: Program) -> Counter[str]:
    """Operations and kinds of requantization."""
    found: Counter[str] = Counter(type(op).__name__ for op in program.ops)
    for op in program.ops:
        if isinstance(op, Linear | StateSpace | Product):
            found.update(set(op.requant.kinds))
        if isinstance(op, StateSpace):
            found[f"{op.form}{' apart' if op.output_matrix else ''}{' after' if op.output_after else ''}"] += 1
    return found


def programs(codes: float, seed: int, tally: Tally, share: int) -> Counter[str]:
    """Random programs until every backend compared enough; every ``share``-th one in QEMU as well."""
    seen: Counter[str] = Counter()
    while min((n for name, n in tally.codes.items() if name not in (CORTEX_M, CROSSBAR)), default=0) < codes:
        try:
            seen += contents(one(seed, tally, board=share > 0 and seed % share == 0, rates=seed % 3 == 1))
        except ModelError as refused:
            by_code = tally.declined.setdefault("C", {})
            by_code[refused.code] = by_code.get(refused.code, 0) + 1
        seed += 1
        progress(f"{tally.runs.get(REFERENCE, 0)} programs, {tally.codes.get(REFERENCE, 0):,} codes")
    return seen


def progress(text: str) -> None:
    """One line on a terminal, nothing in a pipe."""
    if sys.stderr.isatty():
        print(f"\r{text:60}", end="", file=sys.stderr)


def main() -> int:
    """Fuzz, run the recordings, print and write how many codes were compared."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codes", type=float, default=1e7, help="of random programs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=int, default=1, help="every how many-th random program runs in QEMU too")
    parser.add_argument("--recordings", type=int, default=300, help="of the demo's test set; 0 for none")
    parser.add_argument("--result", type=Path, help="JSON file to write")
    given = parser.parse_args()
    missing = harness.load_board().missing_tools()
    if missing:
        print(f"not installed: {', '.join(missing)}; nothing runs in QEMU (make cortex-m installs them)")
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="ssmc-fuzz-cache-")
    began, random, spoken = time.monotonic(), Tally(), Tally()
    try:
        seen = programs(given.codes, given.seed, random, 0 if missing else given.share)
        print("\n".join(["random programs of 1 to 16 bits; 0 codes differ", *random.lines()]), flush=True)
        print(", ".join(f"{name} {count}" for name, count in sorted(seen.items())))
        if given.recordings:
            recordings(given.recordings, spoken, not missing)
            print("\n".join([f"{given.recordings} test recordings; 0 codes differ", *spoken.lines()]))
    finally:
        shutil.rmtree(os.environ["XDG_CACHE_HOME"], ignore_errors=True)
    print(f"{time.monotonic() - began:.0f} s")
    if given.result:
        named = {"random programs": random, "recordings": spoken}
        told = {
            name: {"codes": t.codes, "runs": t.runs, "declined": t.declined, "differ": 0} for name, t in named.items()
        }
        given.result.write_text(json.dumps(told, indent=2, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
