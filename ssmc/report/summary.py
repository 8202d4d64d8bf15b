"""The summary figures that the page and the terminal both begin with."""

from __future__ import annotations

from typing import Any

from ssmc.ir.serialize import Json
from ssmc.printable import printable
from ssmc.report.costs import constants, nominal, shown, spans
from ssmc.report.facts import Report
from ssmc.report.units import number, quantity, words

#: figures of a target's cost worth a card, where it has them
TOTALS = ("energy_pj", "macs", "adc_conversions")
CONSTANTS = (
    "latency_per_step_ns", "initiation_interval_ns", "max_steps_per_s",
    "area_um2", "arrays", "utilisation", "leakage_uw",
)  # fmt: skip


def summary(report: Report) -> list[tuple[str, str, str]]:
    """(value, label, note) of the summary figures, safe to show."""
    return [(printable(value), label, printable(note)) for value, label, note in _figures(report)]


def _figures(report: Report) -> list[tuple[str, str, str]]:
    weights = sum(op.weights - op.zero_weights for op in report.ops)
    memory = sum((op.weights - op.zero_weights) * op.weight_bits for op in report.ops)
    states = sum(k.live_states for k in report.kernels)
    figures = [
        (number(weights), "nonzero weights", quantity("weight_bytes", memory / 8)),
        (number(states), "states", f"{len(report.kernels)} kernels, {_forms(report)}"),
    ]
    if report.kernels:
        weakest = min(report.kernels, key=lambda k: k.stability_margin)
        figures.append((f"{weakest.stability_margin:.5f}", "stability margin", f"weakest: {weakest.name}"))
    return [*figures, _exactness(report), *_head(report), *_pruned(report), *_costs(report)]


def _head(report: Report) -> list[tuple[str, str, str]]:
    """What the model does to its outputs outside the integer program."""
    if "head" not in report.model:
        return []
    name = str(report.model["head"]).removesuffix("_kept").replace("_", "-")
    return [(name, "outside the integer program", "applied by ssmc run; emitted code gives what it reads")]


def _exactness(report: Report) -> tuple[str, str, str]:
    """Of the program that runs: its operations, and the passes that moved the model on the way to it."""
    bounded = [op.name for op in report.ops if op.bound]
    moved = [f"{p.name} is {p.effect}" for p in report.passes if p.effect != "exact"]
    note = "; ".join(filter(None, [", ".join(bounded)[:60], ", ".join(moved)]))
    return f"all but {len(bounded)}" if bounded else "all", "operations proven exact", note


def _pruned(report: Report) -> list[tuple[str, str, str]]:
    p = report.pruning
    if not p:
        return []
    accuracy = f"accuracy {p['accuracy_before']:.2%} -> {p['accuracy_after']:.2%} on {p['sequences']} sequences"
    return [
        (f"{p['modes_cut']} of {p['modes']}", "modes pruned", accuracy),
        (f"{p['channels_cut']} of {p['channels']}", "channels pruned", f"budget {p['budget_points']:g} points"),
    ]


def _costs(report: Report) -> list[tuple[str, str, str]]:
    per_sequence = {key: value["per_sequence"] for key, value in spans(report.cost).items()}
    constant = {key.replace(" ", "_"): value for key, value in constants(report.cost).items()}
    steps = f"for {number(report.cost.get('steps', 0))} steps"
    return [
        *(_figure(key, per_sequence[key], steps) for key in TOTALS if nominal(per_sequence.get(key))),
        *(_figure(key, constant[key], "") for key in CONSTANTS if nominal(constant.get(key))),
        *_power(report.cost),
    ]


def _figure(key: str, value: Any, note: str) -> tuple[str, str, str]:
    """A figure with its interval as a note."""
    whole, _, interval = shown(key, value).partition(" (")
    return whole, words(key), ", ".join(filter(None, [note, interval.removesuffix(")")]))


def _power(cost: Json) -> list[tuple[str, str, str]]:
    """Power at the rate that was asked for, where one was."""
    found = cost.get("real_time")
    if not found:
        return []
    note = f"at {number(found['steps_per_s'])} steps/s, leakage {quantity('uw', found['leakage_uw'])} included"
    return [(quantity("uw", found["power_uw"]), "power", note)]


def _forms(report: Report) -> str:
    return "/".join(sorted({k.form for k in report.kernels})) or "none"
