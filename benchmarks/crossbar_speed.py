"""How fast one crossbar is simulated: 129 x 129, 8-bit drive, 8-bit converter, one thread.

    taskset -c 1 python benchmarks/crossbar_speed.py [--lightning VENV/bin/python] [-o RESULT.json]

Measured here in turns, best of all rounds: numpy (matmul, scale, round, clip: the floor that adds no physics), ssmc
noiseless, ssmc with fresh read noise per product, a 1,000-step state feedback ``x <- clip(ADC(W x) + u)`` as a numpy
loop and in ssmc, and aihwkit-lightning where a Python with it is given. Published figures of CrossSim and aihwkit for
the same work (on another machine) are quoted, not measured. Exit status 1 when a bar is missed.

At batch 1024 nearly all the time of both numpy and ssmc is the same single-precision product, close to the machine's
peak; what is left to win there is one pass over the sums instead of three.
"""
# ruff: noqa: E402  (threads are limited before numpy is imported)

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import platform
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ssmc.targets.aimc.simulation.single_array import Crossbar

SIZE, BATCHES, STEPS, ROUNDS, SECONDS = 129, (1, 64, 1024), 1000, 60, 0.02
READ_SIGMA = 0.01
PUBLISHED = {
    "CrossSim 3.2.0": {
        "noiseless": [48_900, 1_310_000, 1_950_000],
        "read noise": [1_980, 1_450, 1_640],
        "steps": 26_200,
    },
    "aihwkit 1.2.0 C++": {
        "noiseless": [33_800, 307_000, 352_000],
        "read noise": [27_800, 103_000, 107_000],
        "steps": 13_500,
    },
    "aihwkit torch tile": {"noiseless": [16_200, 486_000, 1_290_000], "read noise": None, "steps": 7_390},
    "aihwkit-lightning 2.1.0": {"noiseless": [11_600, 458_000, 1_060_000], "read noise": None, "steps": None},
}


def rate(work: Callable[[], object], products: int) -> float:
    """Products per second of one block of calls."""
    work()
    start, calls = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        for _ in range(8):
            work()
        calls += 8
    return calls * products / (time.perf_counter() - start)


def rounds(works: dict[str, tuple[Callable[[], object], int]]) -> dict[str, list[float]]:
    """Rates of every round; the works take turns, so that all see the same neighbours on the machine."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, (work, products) in works.items():
            found[name].append(rate(work, products))
    return found


def numpy_product(turned: np.ndarray[Any, Any], ratio: np.float32, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The floor, without needless copies."""
    y = x @ turned
    y *= ratio
    np.rint(y, out=y)
    return np.asarray(np.clip(y, -128, 127, out=y))


def numpy_loop(
    turned: np.ndarray[Any, Any], ratio: np.float32, x: np.ndarray[Any, Any], u: np.ndarray[Any, Any]
) -> Any:
    """The feedback as numpy users write it."""
    for row in u:
        x = np.clip(numpy_product(turned, ratio, x) + row, -128, 127)
    return x


def moments(noisy: Crossbar, weight: Any, variance: Any, x: Any) -> dict[str, float]:
    """Mean and variance of many draws of one product against the formula, in standard errors, before rounding."""
    fine = Crossbar(weight, variance, 1.0, -(1 << 23), 1 << 23, seed=3)
    draws = 20_000
    y = fine.convert(np.repeat(x[:1], draws, 0)).astype(np.float64)
    expected, spread = weight @ x[0].astype(np.float64), variance @ x[0].astype(np.float64) ** 2 + 1 / 12
    z = (y.mean(0) - expected) / np.sqrt(spread / draws)
    w = (y.var(0) / spread - 1) / np.sqrt(2 / draws)
    return {"largest_z_mean": float(np.abs(z).max()), "largest_z_variance": float(np.abs(w).max())}


def measure() -> dict[str, Any]:
    """Rates of everything, and the moments of the noisy product."""
    rng = np.random.default_rng(0)
    weight = rng.integers(-127, 128, (SIZE, SIZE)).astype(np.float64)
    variance = (READ_SIGMA * (np.abs(weight) + 10)) ** 2
    ratio = np.float32(127 / np.abs(weight @ rng.integers(-128, 128, (SIZE, 256))).max())
    turned = np.ascontiguousarray(weight.T, np.float32)
    quiet, noisy = Crossbar(weight, None, ratio), Crossbar(weight, variance, ratio, seed=1)
    drives = {n: rng.integers(-128, 128, (n, SIZE)).astype(np.float32) for n in BATCHES}
    u, start = rng.integers(-20, 21, (STEPS, SIZE)).astype(np.float32), drives[1][0]
    for n in BATCHES:
        same = quiet.convert(drives[n]) == numpy_product(turned, ratio, drives[n])
        assert same.mean() > 0.999, "float32 sums may part at a tie, no more"
    assert (quiet.feedback(start, u) != 0).any()
    works: dict[str, tuple[Callable[[], object], int]] = {}
    for n in BATCHES:
        works[f"numpy {n}"] = partial(numpy_product, turned, ratio, drives[n]), n
        works[f"ssmc {n}"] = partial(quiet.convert, drives[n]), n
        works[f"ssmc noisy {n}"] = partial(noisy.convert, drives[n]), n
    works["numpy feedback"] = partial(numpy_loop, turned, ratio, start, u), STEPS
    works["ssmc feedback"] = partial(quiet.feedback, start, u), STEPS
    works["ssmc noisy feedback"] = partial(noisy.feedback, start, u), STEPS
    found = rounds(works)
    return {
        "per_second": {name: max(rates) for name, rates in found.items()},
        "rounds": found,
        "moments": moments(noisy, weight, variance, drives[1]),
    }


def bars(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every bar with its ratio, the median over rounds measured side by side, and whether it holds."""

    def ratio(over: str, under: str) -> float:
        pairs = zip(found["rounds"][over], found["rounds"][under], strict=True)
        return float(np.median([a / b for a, b in pairs]))

    out = {}
    for n in BATCHES:
        out[f"noiseless / numpy floor, batch {n}"] = (ratio(f"ssmc {n}", f"numpy {n}"), ">=", 1.0)
        out[f"noiseless / noisy, batch {n}"] = (ratio(f"ssmc {n}", f"ssmc noisy {n}"), "<=", 6.0)
    out["feedback / numpy loop"] = (ratio("ssmc feedback", "numpy feedback"), ">=", 5.0)
    out["moments, standard errors"] = (max(found["moments"].values()), "<=", 5.0)
    return {
        name: {"value": value, "bar": f"{sign} {bar:g}", "holds": value >= bar if sign == ">=" else value <= bar}
        for name, (value, sign, bar) in out.items()
    }


def lightning(python: str | None) -> dict[str, Any] | None:
    """aihwkit-lightning in its own environment, same work, same thread count."""
    if python is None:
        return None
    script = Path(__file__).with_name("crossbar_lightning.py")
    run = subprocess.run([python, str(script)], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lightning", help="a Python that has aihwkit-lightning")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "results" / "crossbar_speed.json")
    arguments = parser.parse_args()
    found = measure()
    result = {
        "schema": "ssmc.benchmark/1",
        "work": f"{SIZE} x {SIZE}, 8-bit drive and converter, one thread; best of {ROUNDS} rounds, ratios: median",
        "machine": {"numpy": np.__version__, "processor": _processor(), "python": platform.python_version()},
        "moments": found["moments"],
        "per_second": found["per_second"],
        "lightning": lightning(arguments.lightning),
        "published": PUBLISHED,
        "bars": bars(found),
    }
    arguments.output.parent.mkdir(exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    for name, value in found["per_second"].items():
        print(f"{name:22s} {value:14,.0f} /s")
    for name, bar in result["bars"].items():
        print(f"{'ok ' if bar['holds'] else 'MISS'} {name:38s} {bar['value']:8.2f}  {bar['bar']}")
    return 0 if all(bar["holds"] for bar in result["bars"].values()) else 1


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


if __name__ == "__main__":
    sys.exit(main())
