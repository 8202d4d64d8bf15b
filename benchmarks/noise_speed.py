"""How long a noise evaluation of the demo takes: its whole test set on 20 chips, all cores.

    python benchmarks/noise_speed.py [--chips 20] [-o benchmarks/results/noise_speed.json]

Bar: 60 s for 20 chips at one time since programming. For comparison: one chip step by step in numpy (what runs without
numba), and the ideal chip both ways, which must agree code for code.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import ssmc
from ssmc.data import load_samples
from ssmc.ir.executor import Executor
from ssmc.targets.aimc.simulation.monte_carlo import monte_carlo

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "examples" / "spoken_digits"
BAR_S = 60.0


def timed(work: Any) -> tuple[float, Any]:
    """Seconds, and what it returned."""
    start = time.perf_counter()
    done = work()
    return time.perf_counter() - start, done


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chips", type=int, default=20)
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "benchmarks" / "results" / "noise_speed.json")
    arguments = parser.parse_args()
    made = ssmc.compile(DEMO / "model.onnx", target="aimc", oracle=False)
    samples = load_samples(DEMO / "test.npz")
    cold, _ = timed(lambda: monte_carlo(made, samples, chips=1, times_s=(0.0,)))
    seconds, result = timed(lambda: monte_carlo(made, samples, chips=arguments.chips, times_s=(0.0,)))
    x, lengths = samples.batch(np.arange(len(samples)))
    slow, _ = timed(lambda: made.compiled.executor(noise=True, literal=True).run(x, lengths))
    fast_ideal, ideal = timed(lambda: made.compiled.executor().run(x, lengths))
    slow_ideal, expected = timed(lambda: Executor(made.compiled.program).run(x, lengths))
    found = {
        "schema": "ssmc.benchmark/1",
        "work": f"{len(samples)} recordings, {int(lengths.sum())} steps, taox64, nominal noise",
        "cores": os.cpu_count(),
        "chips": arguments.chips,
        "seconds": seconds,
        "seconds_first_chip_and_compiling": cold,
        "seconds_a_chip": seconds / (arguments.chips + 1),  # the ideal chip is evaluated as well
        "seconds_a_chip_step_by_step": slow,
        "seconds_ideal": fast_ideal,
        "seconds_ideal_integer_executor": slow_ideal,
        "ideal_codes_equal": bool((ideal == expected).all()),
        "accuracy": vars(result.at[0].accuracy),
        "holds": seconds * 20 / arguments.chips <= BAR_S,
    }
    arguments.output.parent.mkdir(exist_ok=True)
    arguments.output.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    print(json.dumps(found, indent=1, sort_keys=True))
    return 0 if found["holds"] and found["ideal_codes_equal"] else 1


if __name__ == "__main__":
    sys.exit(main())
