"""The main job: compile the trained model for both targets, run the 300 test recordings, print one table.

No number is cached: this run measures all of them. Exits with status 1 where the crossbar
program with ideal devices differs from the integer program in a single code, or the integer program from onnxruntime
where float rounding cannot explain it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

import ssmc
from ssmc.bundle.check import accuracy, evaluate
from ssmc.bundle.compare import Comparison, compare_codes
from ssmc.bundle.registry import make_target
from ssmc.checking.teacher_forced import Comparison as ForcedComparison
from ssmc.checking.teacher_forced import ForcedCheck
from ssmc.cli.progress import counting
from ssmc.data import Samples, load_samples
from ssmc.importers import load_model
from ssmc.pipeline import run_pipeline
from ssmc.report.summary import summary
from ssmc.report.text import columns

HERE = Path(__file__).parent
SEED = 0


def run_onnxruntime(model: Path, samples: Samples) -> NDArray[np.float64]:
    """Outputs (n, classes) of an ONNX model, recordings of equal length together, graph optimizations off."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    outputs: dict[int, NDArray[Any]] = {}
    with counting(len(samples), f"onnxruntime {model.name}") as advance:
        for indices in equal_lengths(samples):
            x, _ = samples.batch(indices)
            rows = session.run(None, {name: x.astype(np.float32)})[0]
            outputs |= dict(zip(indices.tolist(), rows, strict=True))
            advance(len(indices))
    return np.stack([outputs[i] for i in range(len(samples))]).astype(np.float64)


def equal_lengths(samples: Samples) -> Iterator[NDArray[np.int64]]:
    """Indices of the recordings of each length."""
    for length in np.unique(samples.lengths):
        yield np.flatnonzero(samples.lengths == length)


def run_bundle(bundle: ssmc.Bundle, samples: Samples, label: str, **options: object) -> NDArray[np.float64]:
    """Outputs (n, classes) of a compiled model."""
    with counting(len(samples), label) as advance:
        return evaluate(bundle, samples, progress=advance, **options)


def compile_for(target: str, samples: Samples, folder: Path) -> ssmc.Bundle:
    """Compile, save, and say how long it took."""
    began = time.perf_counter()
    bundle = ssmc.compile(HERE / "model.onnx", target, steps=samples.mean_steps)
    bundle.save(folder)
    click.echo(f"compiled for {target:5} in {time.perf_counter() - began:.1f} s -> {folder}")
    return bundle


def differing_codes(integer: ssmc.Bundle, crossbar: ssmc.Bundle, samples: Samples) -> Comparison:
    """Run both on every recording; compare every code of every value at every step."""
    with counting(len(samples), "codes, integer and crossbar") as advance:
        return compare_codes(integer.compiled.executor(), crossbar.compiled.executor(), samples, progress=advance)


def forced_against_onnxruntime(samples: Samples) -> ForcedComparison:
    """Every code of every value at every step, each operation given onnxruntime's inputs and state."""
    check, found = ForcedCheck(), ForcedComparison()
    model = load_model(HERE / "model.onnx")
    name = str(model.graph.inputs[0].name)
    run_pipeline(model, make_target("int").pipeline(), oracle=False, after=check.see)
    with counting(len(samples), "codes, integer and onnxruntime") as advance:
        for indices in equal_lengths(samples):
            x, _ = samples.batch(indices)
            check.compare({name: x.astype(np.float32)}, found)
            advance(len(indices))
    return found


def what_if(bundle: Path) -> str:
    """Commands that go on from here, with the `ssmc` that ran this."""
    program = os.path.relpath(Path(sys.executable).parent / "ssmc")
    model, data = (os.path.relpath(HERE / name) for name in ("model.onnx", "test.npz"))
    chip = "--set adc.bits=6 --set array.rows=128 --set array.columns=128"
    return (
        f"What would 6-bit converters and arrays of 128 x 128 change?\n"
        f"  {program} compile {model} --target aimc {chip} -o {bundle.parent / 'what-if'}\n"
        f"  {program} diff {bundle} {bundle.parent / 'what-if'} --data {data} --html {bundle.parent / 'what-if.html'}"
    )


@click.command()
@click.option("--output", "-o", type=click.Path(path_type=Path), default=Path("out"), help="Where the bundles go.")
@click.option("--limit", type=int, help="Only the first recordings.")
def main(output: Path, limit: int | None) -> None:
    """Compile the spoken-digits model for `int` and `aimc` and run its test recordings."""
    samples = load_samples(HERE / "test.npz")
    samples = samples.head(limit) if limit else samples
    assert samples.label is not None
    integer, crossbar = (compile_for(name, samples, output / f"spoken_digits-{name}") for name in ("int", "aimc"))

    found = differing_codes(integer, crossbar, samples)
    noisy = run_bundle(crossbar, samples, "crossbar, noisy", noise=True, seed=SEED)
    runs = {
        "float, onnxruntime": run_onnxruntime(HERE / "model_float.onnx", samples),
        "quantized (QAT), onnxruntime": run_onnxruntime(HERE / "model.onnx", samples),
        "integer program": found.outputs[0],
        "crossbar, ideal devices": found.outputs[1],
        f"crossbar, noisy devices (seed {SEED})": noisy,
    }
    rows = []
    for name, outputs in runs.items():
        correct = round(accuracy(outputs, samples.label) * len(samples))
        rows.append((name, f"{100 * correct / len(samples):.2f} %", f"{correct} / {len(samples)}"))
    click.echo(f"\n{columns(('spoken digits', 'accuracy', 'correct'), rows)}\n")

    forced = forced_against_onnxruntime(samples)
    click.echo(
        f"integer program and ideal crossbar, free-running: {found.differing} of {found.compared:,} codes differ\n"
        f"integer program and onnxruntime, teacher-forced: {forced.ties} of {forced.compared:,} codes differ at ties "
        f"of the real value, {forced.wrong} elsewhere\n"
    )
    click.echo("\n".join(f"{value:>12}  {label}  {note}".rstrip() for value, label, note in summary(crossbar.report)))
    click.echo(f"\nreport: {output / 'spoken_digits-aimc' / 'report.html'}\n\n{what_if(output / 'spoken_digits-aimc')}")
    if found.differing or forced.wrong:
        click.echo(f"error: first difference at {found.first or forced.first}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
