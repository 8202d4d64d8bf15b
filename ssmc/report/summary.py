"""What both the page and the terminal say: summary figures and the cost figures in order."""

from __future__ import annotations

from collections.abc import Iterator

from ssmc.ir.serialize import Json
from ssmc.report.facts import Report
from ssmc.report.units import flatten, number, quantity, unit_of, words

#: scalars of a target's cost worth a card, where it has them, and whether they grow with the number of steps
HEADLINES = {
    "energy_pj": True,
    "latency_ns": True,
    "initiation_interval_ns": False,
    "area_um2": False,
    "conversions": True,
    "cycles": True,
}
LARGEST_CHART = 16


def summary(report: Report) -> list[tuple[str, str, str]]:
    """(value, label, note) of the summary figures."""
    weights = sum(op.weights for op in report.ops)
    memory = sum(op.weights * op.weight_bits for op in report.ops)
    states = sum(k.groups * k.states for k in report.kernels)
    figures = [
        (number(weights), "integer weights", quantity("memory_bits", memory) if memory else ""),
        (number(states), "states", f"{len(report.kernels)} kernels, {_forms(report)}"),
    ]
    if report.kernels:
        weakest = min(report.kernels, key=lambda k: k.stability_margin)
        figures.append((f"{weakest.stability_margin:.5f}", "stability margin", f"weakest: {weakest.name}"))
    bounded = [op.name for op in report.ops if op.bound]
    figures.append(("all" if not bounded else f"all but {len(bounded)}", "operations proven exact", ", ".join(bounded)[:60]))
    inference = report.cost.get("inference", {})
    note = f"for {number(report.cost['steps'])} steps" if inference else ""
    return figures + [
        (quantity(key, inference[key]), words(key), note if grows else "")
        for key, grows in HEADLINES.items()
        if _is_number(inference.get(key))
    ]


def _forms(report: Report) -> str:
    return "/".join(sorted({k.form for k in report.kernels})) or "none"


def cost_columns(report: Report) -> tuple[tuple[str, ...], list[tuple[str, ...]]] | None:
    """Column heads and rows of the cost figures that are plain numbers at the top of the target's cost."""
    step, inference = report.cost.get("step", {}), report.cost.get("inference", {})
    keys = sorted(key for key in inference if _is_number(inference[key]))
    if not keys:
        return None
    rows = [(words(k), quantity(k, step[k]) if k in step else "–", quantity(k, inference[k])) for k in keys]
    return ("one step", f"{number(report.cost['steps'])} steps"), rows


def cost_groups(cost: Json, prefix: str = "") -> Iterator[tuple[str, dict[str, float]]]:
    """(dotted key, values) of every breakdown: a mapping to numbers whose own key names the unit."""
    for key in sorted(cost):
        value = cost[key]
        if not isinstance(value, dict):
            continue
        flat = dict(flatten(value))
        if unit_of(key) and 2 <= len(flat) <= LARGEST_CHART:
            yield f"{prefix}{key}", {name: float(v) for name, v in flat.items()}
        elif not unit_of(key):
            yield from cost_groups(value, f"{prefix}{key}.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
