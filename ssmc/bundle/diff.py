"""What differs between two bundles, two reports or two baselines, the largest change first."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from ssmc.bundle.check import NOT_GATED, accuracy, evaluate, metrics_of, read_baseline
from ssmc.bundle.check import SCHEMA as BASELINE
from ssmc.bundle.files import MARKER
from ssmc.bundle.folder import Bundle, load
from ssmc.data import Samples
from ssmc.errors import UsageError
from ssmc.ir.rounding import IntArray
from ssmc.ir.serialize import DAMAGE, Json
from ssmc.reading import read_text
from ssmc.report.differences import Change, Difference
from ssmc.report.facts import Report, report_from_json
from ssmc.report.units import flatten

#: tables of a report's cost that are shown by part, or that say nothing that other figures do not
DETAILS = (*NOT_GATED, "components", "limit", "matrices", "occupancy_ns", "steps")
ENERGY = "energy_pj_nominal"


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        name: what it is read from.
        kind: ``report`` (a bundle holds one) or ``baseline``.
        figures: totals by dotted key, whose end is the unit.
        parts: energy in picojoule a sequence, by ``operation/component``.
        facts: everything that is equal or not, by what it is of: options, hardware keys, kernels, operations, mapping.
        weights: integer weights by operation; a report has none.
        steps: of the sequence whose costs the figures are; a baseline has none.
        bundle: that it is read from; a report and a baseline have none.
    """

    name: str
    kind: str
    figures: dict[str, float]
    parts: dict[str, float]
    facts: dict[str, str]
    weights: dict[str, IntArray]
    steps: int | None = None
    bundle: Bundle | None = None


def read_side(path: Path, steps: int | None = None) -> Side:
    """A bundle's folder, a ``report.json`` or a baseline.

    The costs of a bundle are those of a sequence of ``steps`` steps; as compiled where it is None.

    Raises:
        UsageError: SSMC-B01..B04 and SSMC-C10 from the file, SSMC-C11 where it is none of the three.
    """
    if path.is_dir() or path.name == MARKER:
        bundle = load(path if path.is_dir() else path.parent)
        report = bundle.report
        if steps not in (None, report.cost.get("steps")):
            report = replace(report, cost=bundle.cost(steps))
        return _of_report(str(path), report, bundle)
    text = read_text(path, "SSMC-C11", "give a bundle, a report.json or a baseline")
    try:
        data: Json = json.loads(text)
        if data.get("schema") == BASELINE:
            return _of_baseline(str(path), read_baseline(path))
        return _of_report(str(path), report_from_json(data), None)
    except DAMAGE as cause:
        fact = "is neither bundle nor report nor baseline"
        raise UsageError("SSMC-C11", fact, "give a bundle, a report.json or a baseline", str(path)) from cause


def difference(old: Side, new: Side, *notes: str) -> Difference:
    """Compare two sides of one kind; ``notes`` come before the figures.

    Raises:
        UsageError: SSMC-C11 where one is a baseline and the other is not.
    """
    if old.kind != new.kind:
        fact = f"{old.name} is a {old.kind}, {new.name} a {new.kind}"
        raise UsageError("SSMC-C11", fact, "give two of one kind; ssmc check compares a bundle with a baseline")
    figures = sorted(_changes(old.figures, new.figures), key=_effect)
    total = sum(new.parts.values()) - sum(old.parts.values())
    parts = [Change(c.key, c.old, c.new, c.absolute / total if total else None) for c in _changes(old.parts, new.parts)]
    keys = dict.fromkeys([*old.facts, *new.facts])
    pairs = ((key, old.facts.get(key, ""), new.facts.get(key, "")) for key in keys)
    apart = f"figures of a sequence are those of {old.steps} steps, then of {new.steps}"
    return Difference(
        (old.name, new.name),
        tuple(figures),
        tuple(sorted(parts, key=lambda c: (-abs(c.absolute), c.key))),
        tuple((key, a, b) for key, a, b in pairs if a != b),
        dict(_weights(old.weights, new.weights)),
        (*notes, *((apart,) if old.steps != new.steps else ())),
    )


def on_data(
    old: Side, new: Side, samples: Samples, progress: Callable[[int], None] = lambda done: None
) -> tuple[Side, Side, str]:
    """Both with their accuracy on labelled sequences as a figure, and a sentence on the predictions that differ.

    Raises:
        UsageError: SSMC-U12 where a side is no bundle, or the data has no labels.
    """
    if old.bundle is None or new.bundle is None or samples.label is None:
        what = "no label" if samples.label is None else f"no bundle in {(new if old.bundle else old).name}"
        raise UsageError("SSMC-U12", f"--data: there is {what}", "give two bundles, and sequences with labels")
    before, after = (evaluate(bundle, samples, progress=progress) for bundle in (old.bundle, new.bundle))
    moved = int((before.argmax(-1) != after.argmax(-1)).sum())
    return (
        replace(old, figures={"accuracy": accuracy(before, samples.label), **old.figures}),
        replace(new, figures={"accuracy": accuracy(after, samples.label), **new.figures}),
        f"{moved} of {len(samples)} predictions differ",
    )


def _effect(change: Change) -> tuple[bool, float, str]:
    """Order of figures: largest relative change first, those that one side alone has at the end."""
    alone = change.old is None or change.new is None
    return alone, -abs(change.relative), change.key


def _changes(old: Mapping[str, float], new: Mapping[str, float]) -> Iterator[Change]:
    for key in dict.fromkeys([*old, *new]):
        if old.get(key) != new.get(key):
            yield Change(key, old.get(key), new.get(key))


def _weights(old: Mapping[str, IntArray], new: Mapping[str, IntArray]) -> Iterator[tuple[str, Json | None]]:
    for name in old:
        if name not in new or np.array_equal(old[name], new[name]):
            continue
        if old[name].shape != new[name].shape:
            yield name, None
            continue
        gap = np.abs(old[name] - new[name])
        first = [int(i) for i in np.argwhere(gap)[0]]
        yield name, {"differing": int((gap > 0).sum()), "of": gap.size, "largest": int(gap.max()), "first": first}


def _of_baseline(name: str, data: Json) -> Side:
    values = {key: entry["value"] for key, entry in metrics_of(data).items()}
    figures = {key: float(value) for key, value in values.items() if not isinstance(value, str)}
    facts = {key: value for key, value in values.items() if isinstance(value, str)}
    return Side(name, "baseline", figures, {}, facts, {})


def _of_report(name: str, report: Report, bundle: Bundle | None) -> Side:
    totals = {key: value for key, value in report.cost.items() if key not in DETAILS}
    figures = {**dict(flatten(totals)), **dict(flatten(report.metrics, "metrics."))}
    rows = report.cost.get("components", [])
    parts = {f"{row['op']}/{row['component']}": float(row[ENERGY]) for row in rows if row.get(ENERGY)}
    weights = {} if bundle is None else {op.name: matrix.codes for op, matrix in bundle.compiled.program.matrices()}
    settings = {} if bundle is None else bundle.compiled.settings()
    facts = {**dict(_facts(report)), **{f"hardware {key}": value for key, value in settings.items()}}
    finite = {key: float(value) for key, value in figures.items() if math.isfinite(value)}
    return Side(name, "report", finite, parts, facts, weights, report.cost.get("steps"), bundle)


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    """What a report says that is no figure of its cost."""
    yield "ssmc", report.ssmc
    yield "steps", str(report.cost.get("steps", ""))
    yield from ((f"model {key}", str(value)) for key, value in report.model.items())
    yield from ((f"target {key}", str(value)) for key, value in report.target.items())
    for kernel in report.kernels:
        for key, value in asdict(kernel).items():
            if key not in ("name", "poles"):
                yield f"kernel {kernel.name} {key}", f"{value:.6g}" if isinstance(value, float) else str(value)
    for op in report.ops:
        for key, value in asdict(op).items():
            if key != "name":
                yield f"operation {op.name} {key}", str(value)
    for row in report.cost.get("matrices", []):
        yield from ((f"mapping {row['matrix']} {key}", str(row[key])) for key in row if key != "matrix")
    used: dict[str, int] = {}
    for block in report.cost.get("mapping", []):
        for name in {item["matrix"] for item in block["blocks"]}:
            used[name] = used.get(name, 0) + int(block["arrays"])
    yield from ((f"mapping {name} arrays", str(count)) for name, count in used.items())
    for place in report.passes:
        yield f"pass {place.name}", f"{place.effect}, applied {len(place.applied)}, declined {len(place.declined)}"
