"""The gate: accuracy and every cost of a bundle against a committed baseline with a tolerance per metric.

A baseline is JSON that people read and edit::

    {"schema": "ssmc.baseline/1",
     "metrics": {"accuracy":                      {"value": 0.97, "absolute": 0.005},
                 "cost.adc_conversions.per_step": {"value": 2496, "relative": 0.001},
                 "outputs.sha256":                {"value": "9f2c..."}}}

A metric moves out of its tolerance in either direction: a gain nobody expected is worth a look as well. A digest has
no tolerance. Whoever wants less strictness widens a tolerance or deletes a metric; ``--update`` keeps both choices.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from ssmc.bundle.folder import Bundle
from ssmc.data import Samples
from ssmc.errors import UsageError
from ssmc.ir.rounding import FloatArray, IntArray
from ssmc.ir.serialize import Json
from ssmc.printable import printable
from ssmc.reading import read_text
from ssmc.report.units import flatten

SCHEMA = "ssmc.baseline/1"
BATCH = 128
#: costs of what was not compiled, and a breakdown of a latency that is gated itself
NOT_GATED = ("comparison", "converters", "critical_path", "decisions", "mapping", "one_more_adc")
ACCURACY_TOLERANCE = {"absolute": 0.005}
COST_TOLERANCE = {"relative": 0.001}

Value = float | str
Tolerance = dict[str, float]


@dataclass(frozen=True)
class Moved:
    """A metric out of its tolerance; ``None`` where one side does not have it."""

    metric: str
    old: Value | None
    new: Value | None
    tolerance: str

    def __str__(self) -> str:
        return printable(f"{self.metric}: {_shown(self.old)} -> {_shown(self.new)} (tolerance {self.tolerance})")


def evaluate(
    bundle: Bundle, samples: Samples, *, progress: Callable[[int], None] = lambda done: None, **options: object
) -> FloatArray:
    """Outputs (n, size) of every sequence; of its last step where the output is per step."""
    outputs: FloatArray = np.zeros((len(samples), bundle.compiled.program.output_size))
    for indices, y, lengths in _batches(bundle, samples, progress, options):
        outputs[indices] = last_steps(y, bundle.compiled.program.rows_of(lengths))
    return outputs


def evaluate_steps(
    bundle: Bundle, samples: Samples, *, progress: Callable[[int], None] = lambda done: None, **options: object
) -> FloatArray:
    """Outputs of every sequence: (n, size), or (n, T, size) where the output is per step.

    T is the number of outputs of the longest sequence, its length or less at a lower rate; beyond those of a shorter
    one there is NaN.
    """
    program = bundle.compiled.program
    steps = (program.rows(int(samples.lengths.max(initial=0))),) if program.output_rate == "step" else ()
    outputs: FloatArray = np.full((len(samples), *steps, program.output_size), np.nan)
    for indices, y, _ in _batches(bundle, samples, progress, options):
        outputs[(indices, slice(y.shape[1])) if steps else indices] = y
    return outputs


def _batches(
    bundle: Bundle, samples: Samples, progress: Callable[[int], None], options: Mapping[str, object]
) -> Iterator[tuple[IntArray, FloatArray, IntArray]]:
    """Indices, outputs and lengths of some sequences at a time."""
    executor = bundle.compiled.fast_executor(int(samples.lengths.sum()), **options)
    for indices in samples.batches(BATCH):
        x, lengths = samples.batch(indices)
        yield indices, executor.run(x, lengths), lengths
        progress(len(indices))


def last_steps(outputs: FloatArray, rows: IntArray) -> FloatArray:
    """Outputs (n, size) of the last step of every sequence, where they are per step (n, T, size), ``rows`` (n,) each.

    NaN where no sequence has any.
    """
    if outputs.ndim == 2:
        return outputs
    if not outputs.shape[1]:
        return np.full((len(outputs), outputs.shape[2]), np.nan)
    return outputs[np.arange(len(outputs)), np.maximum(rows - 1, 0)]


def accuracy(outputs: FloatArray, label: NDArray[np.int64]) -> float:
    """Share of sequences whose largest output, of (n, size), is the labelled class."""
    return float((outputs.argmax(-1) == label).mean())


def measure(bundle: Bundle, samples: Samples, outputs: FloatArray) -> dict[str, Value]:
    """Every metric by name; costs are those of a sequence of mean length.

    ``outputs`` are those of `evaluate_steps`: where they are per step the digest is of every step, and the accuracy
    that of the last one.
    """
    rows = bundle.compiled.program.rows_of(samples.lengths)
    found: dict[str, Value] = {
        "outputs.sha256": _digest(outputs, rows), "weights.sha256": weights_digest(bundle)
    }  # fmt: skip
    if samples.label is not None:
        found["accuracy"] = accuracy(last_steps(outputs, rows), samples.label)
    costs = {key: value for key, value in bundle.cost(samples.mean_steps).items() if key not in NOT_GATED}
    found |= {f"cost.{key}": float(value) for key, value in flatten(costs) if math.isfinite(value)}
    return dict(sorted(found.items()))


def weights_digest(bundle: Bundle) -> str:
    """SHA-256 of the integer weights, in execution order."""
    every = hashlib.sha256()
    for op, matrix in bundle.compiled.program.matrices():
        every.update(f"{op.name} {matrix.codes.shape}".encode())
        every.update(np.ascontiguousarray(matrix.codes, np.dtype("<i8")).tobytes())
    return every.hexdigest()


def compare(metrics: Mapping[str, Value], baseline: Json) -> list[Moved]:
    """Metrics that moved out of their tolerance, or that the bundle no longer has."""
    moved = []
    for name, entry in sorted(metrics_of(baseline).items()):
        old, new = entry["value"], metrics.get(name)
        if new is None or not _within(old, new, entry):
            moved.append(Moved(name, old, new, _tolerance_text(entry)))
    return moved


def unlisted(metrics: Mapping[str, Value], baseline: Json) -> list[str]:
    """Metrics that the baseline does not hold, and that are therefore not gated."""
    return sorted(set(metrics) - set(metrics_of(baseline)))


def _within(old: Value, new: Value, entry: Json) -> bool:
    if isinstance(old, str) or isinstance(new, str):
        return old == new
    allowed = max(float(entry.get("absolute", 0.0)), float(entry.get("relative", 0.0)) * abs(old))
    return abs(new - old) <= allowed


def _tolerance_text(entry: Json) -> str:
    absolute, relative = entry.get("absolute"), entry.get("relative")
    parts = [f"{absolute:g}"] if absolute is not None else []
    parts += [f"{relative:.3g} relative"] if relative is not None else []
    return " or ".join(parts) or "none"


def make_baseline(metrics: Mapping[str, Value], previous: Json | None = None) -> Json:
    """A baseline of these metrics; ``previous`` keeps its choice of metrics and their tolerances."""
    kept: Json = metrics_of(previous) if previous else {name: None for name in metrics}
    entries = {
        name: {"value": metrics[name], **_tolerance(name, metrics[name], entry)}
        for name, entry in kept.items()
        if name in metrics
    }
    return {"schema": SCHEMA, "metrics": entries}


def metrics_of(baseline: Json) -> Json:
    """The gated metrics by name."""
    gated: Json = baseline["metrics"]
    return gated


def _tolerance(name: str, value: Value, kept: Json | None) -> Tolerance:
    if kept is not None:
        return {key: kept[key] for key in ("absolute", "relative") if key in kept}
    if isinstance(value, str):
        return {}
    return COST_TOLERANCE if name.startswith("cost.") else ACCURACY_TOLERANCE


def read_baseline(path: Path) -> Json:
    """A baseline file.

    Raises:
        UsageError: SSMC-C10 where it is missing or not a baseline.
    """
    text = read_text(path, "SSMC-C10", "give a baseline, or write it with --update")
    try:
        data: Json = json.loads(text)
        if data["schema"] != SCHEMA:
            raise ValueError(f"schema {data['schema']!r}")
        if not metrics_of(data):
            raise ValueError("it holds no metric")
        for name, entry in metrics_of(data).items():
            _check_entry(name, entry)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as cause:
        fact = f"not a baseline of schema {SCHEMA} ({type(cause).__name__}: {cause})"
        raise UsageError("SSMC-C10", fact, "write it anew with --update", str(path)) from cause
    return data


def _check_entry(name: str, entry: Json) -> None:
    unknown = set(entry) - {"value", "absolute", "relative"}
    if unknown or "value" not in entry:
        raise ValueError(f"metric {name} has keys {sorted(entry)}")
    if not isinstance(entry["value"], str) and not _is_number(entry["value"]):
        raise ValueError(f"metric {name}: its value {entry['value']!r} is no finite number and no digest")
    if any(not _is_number(entry[k]) or entry[k] < 0 for k in ("absolute", "relative") if k in entry):
        raise ValueError(f"metric {name}: a tolerance is a finite number, 0 or more")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def baseline_text(baseline: Json) -> str:
    """The baseline as a file, one metric a line so that a review shows which moved."""
    lines = [
        f"  {json.dumps(name)}: {json.dumps(entry, sort_keys=True, allow_nan=False)}"
        for name, entry in sorted(metrics_of(baseline).items())
    ]
    listed = ",\n".join(lines)
    return f'{{\n "metrics": {{\n{listed}\n }},\n "schema": "{SCHEMA}"\n}}\n'


def junit(metrics: Mapping[str, Value], moved: list[Moved], baseline: Json, name: str) -> bytes:
    """A JUnit file with one test case per gated metric."""
    failed = {m.metric: m for m in moved}
    cases = sorted(metrics_of(baseline))
    suite = ElementTree.Element("testsuite", name=name, tests=str(len(cases)), failures=str(len(failed)))
    for metric in cases:
        case = ElementTree.SubElement(suite, "testcase", classname=name, name=printable(metric))
        if metric in failed:
            ElementTree.SubElement(case, "failure", message=str(failed[metric]))
    return bytes(ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True))


def _digest(outputs: FloatArray, lengths: IntArray) -> str:
    """SHA-256 of the outputs, in order; of the true steps where they are per step."""
    true = outputs if outputs.ndim == 2 else outputs[np.arange(outputs.shape[1]) < lengths[:, None]]
    return hashlib.sha256(np.ascontiguousarray(true, "<f8").tobytes()).hexdigest()


def _shown(value: Value | None) -> str:
    if value is None:
        return "missing"
    return value[:12] if isinstance(value, str) else f"{value:.6g}"
