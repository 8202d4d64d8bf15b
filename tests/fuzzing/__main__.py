"""``python -m tests.fuzzing --inputs 30000``: change valid inputs at random and see that ssmc stands it.

A fault is exit status 70, or 3 (a pass or the bundle of ours is wrong), a traceback, more than one line of error, more
than 10 s of CPU or 1 GB, something half-written, or another value than onnxruntime's with exit status 0. What fails is
made smaller (fewer changes) and kept in a folder. Exit status 1 where anything failed.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import multiprocessing
import os
import pkgutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing.connection import Connection, wait
from pathlib import Path

import numpy as np

import ssmc
from tests.fuzzing.commands import Shell
from tests.fuzzing.kinds import KINDS, Kind, prepare
from tests.fuzzing.sandbox import Outcome, sandboxed

MOST_CHANGES = 3
#: a process that forks must have no other threads
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
BY_NAME = {kind.name: kind for kind in KINDS}


@dataclass(frozen=True)
class Input:
    """A seed and the random changes to it; ``use`` seeds what the commands choose."""

    kind: str
    seed: int
    changes: tuple[int, ...]
    use: int

    def data(self) -> bytes:
        """The bytes."""
        kind = BY_NAME[self.kind]
        data = kind.seeds()[self.seed]
        for change in self.changes:
            data = kind.mutate(data, np.random.default_rng(change))
        return data


def inputs(start: int, kinds: list[Kind]) -> Iterator[Input]:
    """Inputs without end, the same for the same ``start``."""
    rng = np.random.default_rng(start)
    shares = np.array([kind.share for kind in kinds], np.float64)
    sizes = [len(kind.seeds()) for kind in kinds]
    while True:
        index = int(rng.choice(len(kinds), p=shares / shares.sum()))
        count = int(rng.choice([1, 2, MOST_CHANGES], p=[0.7, 0.2, 0.1]))
        changes = tuple(int(n) for n in rng.integers(1 << 62, size=count))
        yield Input(kinds[index].name, int(rng.integers(sizes[index])), changes, int(rng.integers(1 << 62)))


def tried(given: Input, shared: Path) -> Outcome:
    """What ssmc does with an input."""

    def action(folder: Path) -> None:
        BY_NAME[given.kind].use(Shell(folder), given.data(), shared, np.random.default_rng(given.use))

    return sandboxed(action)


def smaller(given: Input, found: Outcome, shared: Path) -> Input:
    """The same fault with as few changes as possible."""
    for at in range(len(given.changes)):
        less = replace(given, changes=given.changes[:at] + given.changes[at + 1 :])
        if less.changes and tried(less, shared).kind == found.kind:
            return smaller(less, found, shared)
    return given


def main() -> int:
    """Run, report, keep what failed."""
    if any(os.environ.get(name) != "1" for name in ONE_THREAD):
        os.execve(sys.executable, [sys.executable, "-m", "tests.fuzzing", *sys.argv[1:]], {**os.environ, **ONE_THREAD})
    ask = argparse.ArgumentParser(prog="python -m tests.fuzzing", description=__doc__)
    ask.add_argument("--inputs", type=int, default=1000)
    ask.add_argument("--start", type=int, default=0, help="another number gives other inputs")
    ask.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    ask.add_argument("--kinds", default=",".join(BY_NAME), help="comma-separated")
    ask.add_argument("--keep", type=Path, help="folder for what fails; default: a temporary one")
    given = ask.parse_args()
    kinds = [BY_NAME[name] for name in given.kinds.split(",")]
    _load_everything()
    keep = given.keep or Path(tempfile.mkdtemp(prefix="ssmc-fuzz-kept-"))
    with tempfile.TemporaryDirectory(prefix="ssmc-fuzz-shared-") as name:
        shared = Path(name)
        first = sandboxed(lambda folder: prepare(shared))
        if first.kind:
            sys.exit(f"cannot prepare: {first.text}")
        _compile_kernels(shared)
        return _run(list(islice(inputs(given.start, kinds), given.inputs)), shared, keep, given.jobs)


def _run(chosen: list[Input], shared: Path, keep: Path, jobs: int) -> int:
    began = time.perf_counter()
    faults: Counter[str] = Counter()
    largest = longest = 0.0
    for done, (index, found) in enumerate(_outcomes(chosen, shared, jobs), 1):
        if done % 1000 == 0:
            print(f"{done} inputs, {sum(faults.values())} faults", flush=True)
        one = chosen[index]
        largest, longest = max(largest, found.megabytes), max(longest, found.seconds)
        if found.kind:
            faults[f"{one.kind}: {found.kind}"] += 1
            if faults[f"{one.kind}: {found.kind}"] == 1:
                _keep(smaller(one, found, shared), found, keep)
    by_kind = Counter(one.kind for one in chosen)
    print(f"{len(chosen)} inputs ({', '.join(f'{n} {kind}' for kind, n in sorted(by_kind.items()))})")
    print(f"{time.perf_counter() - began:.0f} s; at most {longest:.1f} s of CPU and {largest:.0f} MB for one")
    print(f"{sum(faults.values())} faults of {len(faults)} kinds" + (f", kept in {keep}" if faults else ""))
    for kind, count in faults.most_common():
        print(f"  {count:5d} {kind}")
    return 1 if faults else 0


def _outcomes(chosen: list[Input], shared: Path, jobs: int) -> Iterator[tuple[int, Outcome]]:
    """Every input's outcome, as it comes. Plain processes: a pool's have threads, and must not fork."""
    context = multiprocessing.get_context("fork")
    pipes = []
    for job in range(jobs):
        ours, theirs = context.Pipe(duplex=False)
        context.Process(target=_work, args=(chosen, range(job, len(chosen), jobs), shared, theirs), daemon=True).start()
        theirs.close()
        pipes.append(ours)
    while pipes:
        for pipe in wait(pipes):
            try:
                yield pipe.recv()
            except EOFError:
                pipes.remove(pipe)


def _work(chosen: list[Input], numbers: range, shared: Path, pipe: Connection) -> None:
    for number in numbers:
        pipe.send((number, tried(chosen[number], shared)))


def _load_everything() -> None:
    """Import all of ssmc but what needs torch, once, so that no forked process has to."""
    for module in pkgutil.walk_packages(ssmc.__path__, "ssmc."):
        if not module.name.startswith(("ssmc.qat", "ssmc.export", "ssmc.__main__")):
            importlib.import_module(module.name)
    gc.freeze()  # a collection in a forked process would copy the memory of all of it


def _compile_kernels(shared: Path) -> None:
    """Fill numba's cache: what compiles once on a machine is not the time of an input."""
    command = [sys.executable, "-m", "ssmc", "run", str(shared / "aimc"), "--data", str(shared / "data.npz")]
    for more in ([], ["--noise", "--seed", "3"]):
        subprocess.run([*command, *more, "-o", str(shared / "first.npz")], capture_output=True, check=True)


def _keep(one: Input, found: Outcome, keep: Path) -> None:
    keep.mkdir(parents=True, exist_ok=True)
    stem = f"{one.kind}-{zlib.crc32(found.kind.encode()):08x}"
    (keep / stem).write_bytes(one.data())
    about = {"input": [one.kind, one.seed, list(one.changes), one.use], "fault": found.kind, "text": found.text}
    (keep / f"{stem}.json").write_text(json.dumps(about, indent=1))
    print(f"fault: {one.kind}: {found.text[:300]}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
