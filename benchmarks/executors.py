"""The demo model here: a streaming step against onnxruntime, the whole test set against torch, both against a bound.

Every figure is a ratio of times measured in this run, alternating, each the best of several rounds. A stream brings
one step at a time: what onnxruntime takes for a call of one step is its latency. What one more step costs it inside a
longer sequence, without the call, is printed as well (marginal).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from machine import ITEMS, bound_cycles, step_items, this_machine

import ssmc
from ssmc.data import Samples, load_samples
from ssmc.ir.executor import Executor
from ssmc.native.executor import NativeExecutor

ROOT = Path(__file__).parents[1]
DIGITS = ROOT / "examples" / "spoken_digits"
THREADS = 2
STREAM = 1000
BARS = {"step_vs_onnxruntime": 30.0, "test_set_vs_torch": 1.0, "step_vs_bound": 3.0}


def best_of(rounds: int, *runs: Callable[[], object]) -> list[float]:
    """Seconds of each, alternating, the best of the rounds."""
    best = [float("inf")] * len(runs)
    for _ in range(rounds):
        for i, run in enumerate(runs):
            began = time.perf_counter()
            run()
            best[i] = min(best[i], time.perf_counter() - began)
    return best


def onnxruntime_steps(samples: Samples) -> tuple[Callable[[], object], Callable[[], object], Callable[[], object]]:
    """Runs of 1, 50 and 150 steps of the QDQ Scan model, one thread, all optimizations."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(str(DIGITS / "model.onnx"), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    x = samples.flat[:150].astype(np.float32)[None]
    one, short, long = (np.ascontiguousarray(x[:, :steps]) for steps in (1, 50, 150))
    return tuple(lambda fed=fed: session.run(None, {name: fed}) for fed in (one, short, long))  # type: ignore[return-value]


def torch_test_set(samples: Samples, batch: int) -> Callable[[], object]:
    """The float model of the demo's configuration (FFT convolution) on all recordings, sorted by length."""
    import torch

    from ssmc.qat import Mode, ModelConfig, QuantConfig, S4DClassifier, set_mode

    torch.set_num_threads(THREADS)
    told = json.loads((DIGITS / "results.json").read_text())["model"]
    config = ModelConfig(**{**told, "quant": QuantConfig(**told["quant"])})
    model = S4DClassifier(config).eval()
    set_mode(model, Mode.FLOAT)
    batches = []
    for indices in samples.batches(batch):
        x, lengths = samples.batch(indices)
        batches.append((torch.from_numpy(x.astype(np.float32)), torch.from_numpy(lengths)))

    def run() -> None:
        with torch.inference_mode():
            for x, lengths in batches:
                model(x, lengths)

    return run


def latency(executor: NativeExecutor, shipped: NativeExecutor, samples: Samples) -> dict[str, float]:
    """Microseconds per step: ours in a stream, quantization included; onnxruntime's call of one step, and marginal."""
    stream = np.ascontiguousarray(samples.flat[:STREAM])[None]
    one, short, long = onnxruntime_steps(samples)
    runs = (lambda: executor.run(stream), lambda: shipped.run(stream), one, short, long)
    ours, small, single, t50, t150 = best_of(80, *runs)
    return {
        "us_fast": ours / STREAM * 1e6,
        "us_shipped_c": small / STREAM * 1e6,
        "us_onnxruntime_marginal": (t150 - t50) / 100 * 1e6,
        "us_onnxruntime_one_step_call": single * 1e6,
    }


def throughput(executor: NativeExecutor, samples: Samples) -> dict[str, float]:
    """Seconds for the whole test set, both from data that are already in batches; torch with its best batch size."""
    x, lengths = samples.batch(np.arange(len(samples)))
    runs = [torch_test_set(samples, size) for size in (16, 32, 64, 150)]
    ours, *torch = best_of(9, lambda: executor.run(x, lengths), *runs)
    return {"s_fast": ours, "s_torch": min(torch)}


@click.command(help=__doc__)
@click.option("--result", type=click.Path(path_type=Path), default=ROOT / "benchmarks" / "results" / "executors.json")
def main(result: Path) -> None:
    """Measure, print, write."""
    samples = load_samples(DIGITS / "test.npz")
    program = ssmc.compile(DIGITS / "model.onnx", "int", oracle=False).compiled.program
    fast = NativeExecutor(program, threads=1)
    few = samples.head(10)
    x, lengths = few.batch(np.arange(len(few)))
    assert np.array_equal(fast.run(x, lengths), Executor(program).run(x, lengths))
    step = latency(fast, NativeExecutor(program, threads=1, word=8), samples)
    whole = throughput(NativeExecutor(program, threads=THREADS), samples)
    machine, items = this_machine(), step_items(program)
    cycles = bound_cycles(items, machine)
    bound = sum(cycles.values()) / machine.ghz / 1e3
    ratios = {
        "step_vs_onnxruntime": step["us_onnxruntime_one_step_call"] / step["us_fast"],
        "step_vs_onnxruntime_marginal": step["us_onnxruntime_marginal"] / step["us_fast"],
        "test_set_vs_torch": whole["s_torch"] / whole["s_fast"],
        "step_vs_bound": step["us_fast"] / bound,
        "test_set_vs_bound": whole["s_fast"] / (bound * 1e-6 * int(samples.lengths.sum()) / THREADS),
    }
    report(step, whole, cycles, bound, machine.ghz, machine.vector_bits, ratios)
    figures: dict[str, Any] = {
        "bars": BARS, "ratios": ratios, "latency": step, "throughput": whole, "bound_us": bound,
        "bound_cycles": cycles, "items_per_step": dict(items), "ghz": machine.ghz, "vector_bits": machine.vector_bits,
        "cores": os.cpu_count(),
    }  # fmt: skip
    result.parent.mkdir(parents=True, exist_ok=True)
    result.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")


def report(
    step: dict[str, float],
    whole: dict[str, float],
    cycles: dict[str, float],
    bound: float,
    ghz: float,
    bits: int,
    ratios: dict[str, float],
) -> None:
    """What a person wants to see."""
    click.echo("one step of the demo model, one thread, microseconds")
    for name, value in step.items():
        click.echo(f"  {name.removeprefix('us_').replace('_', ' '):32} {value:9.2f}")
    click.echo(f"  {'bound':32} {bound:9.2f}   at {ghz:.2f} GHz measured, {bits}-bit vectors:")
    for name, value in cycles.items():
        note = f"   {ITEMS[name][1]}" if name in ITEMS else ""
        click.echo(f"    {name:36} {value:7.0f} cycles{note}")
    click.echo("all 300 recordings, two threads, seconds")
    for name, value in whole.items():
        click.echo(f"  {name.removeprefix('s_'):32} {value:9.4f}")
    click.echo("ratios")
    for name, value in ratios.items():
        bar = f"   (aim: at most {BARS[name]:g})" if name.endswith("bound") and name in BARS else ""
        bar = f"   (bar: at least {BARS[name]:g})" if name in BARS and not bar else bar
        click.echo(f"  {name.replace('_', ' '):32} {value:9.2f}x{bar}")


if __name__ == "__main__":
    main()
