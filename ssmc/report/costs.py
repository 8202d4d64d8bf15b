"""Any target's cost figures, put in order for reading.

A cost is nested JSON whose keys carry the units (`ssmc.report.units`). Three shapes are recognised:

- a *span* ``{"per_step": .., "per_sequence": ..}`` (or two keys with those endings) is one line with two columns;
- a *range* ``{"low": .., "nominal": .., "high": ..}`` is shown as ``nominal (low to high)``;
- a mapping to numbers whose own key names a unit, and the rows of ``components``, are breakdowns to draw.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from ssmc.ir.serialize import Json
from ssmc.report.units import quantity, unit_of, words

SPAN = ("per_step", "per_sequence")
RANGE = {"low", "nominal", "high"}
LARGEST_CHART = 12
#: figures that stand elsewhere on the page, or are no figures
APART = {
    "assumed_share", "comparison", "components", "critical_path", "hardware", "limit", "lowering", "matrices",
    "not_modelled", "schema", "steps",
}  # fmt: skip


def shown(key: str, value: Any) -> str:
    """A scalar or a range as text."""
    if isinstance(value, dict) and set(value) == RANGE:
        low, nominal, high = (quantity(key, value[name]) for name in ("low", "nominal", "high"))
        return nominal if low == high else f"{nominal} ({low} to {high})"
    return quantity(key, value)


def nominal(value: Any) -> float | None:
    """The number of a scalar or of a range."""
    if isinstance(value, dict) and set(value) == RANGE:
        value = value["nominal"]
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def spans(cost: Json) -> Json:
    """Key -> ``{"per_step": .., "per_sequence": ..}``."""
    found: Json = {key: value for key, value in cost.items() if isinstance(value, dict) and set(value) == set(SPAN)}
    for key in cost:
        stem = key.removesuffix("_per_step")
        if stem != key and f"{stem}_per_sequence" in cost:
            found[stem] = {name: cost[f"{stem}_{name}"] for name in SPAN}
    return dict(sorted(found.items()))


def constants(cost: Json) -> Json:
    """Key -> scalar, text or range of everything that is not counted per step."""
    paired = {f"{key}_{name}" for key in spans(cost) for name in SPAN}
    found: Json = {}
    for key, value in cost.items():
        if key in APART or key in paired or value in ({}, [], ""):
            continue
        if _is_leaf(value):
            found[key] = value
        elif isinstance(value, dict) and set(value) == {"per_step", "finish"}:
            found |= {f"{words(key)}_{name}_{unit_of(key)}": value[name] for name in ("per_step", "finish")}
    return dict(sorted(found.items()))


def total_rows(cost: Json) -> list[tuple[str, str, str]]:
    """(figure, per step, per inference)."""
    return [
        (words(key), shown(key, value["per_step"]), shown(key, value["per_sequence"]))
        for key, value in spans(cost).items()
    ]


def constant_rows(cost: Json) -> list[tuple[str, str]]:
    """(figure, value)."""
    return [(words(key), shown(key, value)) for key, value in constants(cost).items()]


def breakdowns(cost: Json) -> Iterator[tuple[str, str, dict[str, float]]]:
    """(title, key with the unit, values) of everything worth a drawing."""
    rows = cost.get("components", [])
    for field, axis in (("energy_pj", "component"), ("energy_pj", "op"), ("area_um2", "component"), ("area_um2", "op")):
        sums: dict[str, float] = defaultdict(float)
        for row in rows:
            sums[row[axis]] += row.get(field, row.get(f"{field}_nominal", 0.0))
        values = {name: value for name, value in sums.items() if value}
        if len(values) > 1:
            yield f"{words(field)} by {axis}", field, _largest(values, whole=True)
    for key, value in sorted(cost.items()):
        if key not in APART and isinstance(value, dict) and unit_of(key) and not set(value) & ({*SPAN} | RANGE):
            yield words(key), key, _largest({name: float(v) for name, v in value.items()}, whole=False)


def _largest(values: dict[str, float], *, whole: bool) -> dict[str, float]:
    """The largest, in order; where they add up to a whole, the rest as one."""
    ranked = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    rest = ranked[LARGEST_CHART:]
    return dict(ranked[:LARGEST_CHART]) | ({f"{len(rest)} others": sum(v for _, v in rest)} if whole and rest else {})


def comparison_rows(variants: Json) -> list[tuple[str, ...]]:
    """(figure, one value per variant in sorted order)."""
    names = sorted(variants)
    flat = {name: _comparable(variants[name]) for name in names}
    keys = sorted({key for figures in flat.values() for key in figures})
    return [(words(key), *(flat[name].get(key, "–") for name in names)) for key in keys]


def _comparable(variant: Json) -> dict[str, str]:
    """Per inference where there is a span; text as it is."""
    per_inference = {key: value["per_sequence"] for key, value in spans(variant).items()}
    every = {**constants(variant), **per_inference}
    return {key: shown(key, value) for key, value in every.items()}


def metric_rows(metrics: Json) -> list[tuple[str, str, str, str, str]]:
    """(metric, counting, fp32, model, how many times less) of the figures of the literature."""
    keys = sorted({key for counting in metrics.values() for key in counting["model"]})
    return [
        (words(key), name, quantity(key, fp32), quantity(key, model), f"{fp32 / model:.1f}×" if model else "–")
        for key in keys
        for name, counting in sorted(metrics.items())
        for fp32, model in [(counting["fp32"][key], counting["model"][key])]
    ]


def _is_leaf(value: Any) -> bool:
    return isinstance(value, int | float | str) or (isinstance(value, dict) and set(value) == RANGE)
