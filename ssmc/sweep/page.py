"""Results of a sweep as a table, as CSV, and as a page with what is best at equal cost."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from ssmc.report.markup import Cell, Html, escape, page, section, table
from ssmc.report.text import columns
from ssmc.report.units import quantity, words
from ssmc.sweep.pareto import Axis, front, pareto_plot
from ssmc.sweep.spec import PATHS, Sweep
from ssmc.sweep.store import Result

#: figures that a table and a page show, where any point has them
SHOWN = (
    "accuracy", "noise.accuracy.mean", "cost.energy_pj.per_sequence.nominal", "cost.area_um2.nominal",
    "cost.latency_ns.per_step.nominal", "cost.adc_conversions.per_step", "cost.arrays", "cost.macs.per_step",
    "size_bits",
)  # fmt: skip
COSTS = SHOWN[2:]
QUALITY = ("noise.accuracy.mean", "accuracy")


def shown_figures(results: Sequence[Result]) -> list[str]:
    """Those of `SHOWN` that some point has."""
    return [key for key in SHOWN if any(key in result.figures for result in results)]


def as_table(sweep: Sweep, results: Sequence[Result]) -> str:
    """Aligned columns: what varies, then the figures; the error of a point that was refused."""
    keys, figures = sweep.varied, shown_figures(results)
    head = (*keys, *(words(_label(key)) for key in figures), "refused")
    return columns(head, [(*_settings(r, keys), *_values(r, figures), r.error) for r in results])


def as_csv(sweep: Sweep, results: Sequence[Result]) -> str:
    """Every key that varies and every figure, unrounded; units end the names."""
    figures = sorted({key for result in results for key in result.figures})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*sweep.varied, *figures, "seconds", "error"])
    for result in results:
        settings = [result.point.get(key, "") for key in sweep.varied]
        writer.writerow(
            [*settings, *(result.figures.get(key, "") for key in figures), f"{result.seconds:.3f}", result.error]
        )
    return text.getvalue()


def as_html(sweep: Sweep, results: Sequence[Result], title: str) -> str:
    """One page without scripts: a plot for every cost against accuracy, and the table."""
    done = [result for result in results if not result.error]
    lead = f"{len(results)} of {len(sweep.points)} points are done, {len(results) - len(done)} of them refused."
    return page(title, lead, _plots(sweep, done), _points(sweep, results))


def _plots(sweep: Sweep, done: Sequence[Result]) -> str:
    quality = next((key for key in QUALITY if any(key in r.figures for r in done)), None)
    if quality is None:
        return ""
    drawn = "".join(_plot(sweep, done, cost, quality) for cost in COSTS)
    lead = "A point on the line is best: no other is as accurate for less. Point at a dot to see its settings."
    return section("Best at equal cost", lead, f'<div class="charts">{drawn}</div>' if drawn else "")


def _plot(sweep: Sweep, done: Sequence[Result], cost: str, quality: str) -> str:
    """Quality over one cost; empty where the cost is the same for all points."""
    known = [result for result in done if cost in result.figures and quality in result.figures]
    if len({result.figures[cost] for result in known}) < 2:
        return ""
    key = _label(cost)
    dots = [(r.figures[cost], r.figures[quality], ", ".join(_named(r, sweep.varied))) for r in known]
    return pareto_plot(dots, Axis(words(key), partial(quantity, key)), Axis(words(quality), "{:.1%}".format, most=1.0))


def _points(sweep: Sweep, results: Sequence[Result]) -> str:
    keys, figures = sweep.varied, shown_figures(results)
    quality = next((key for key in QUALITY if key in figures), None)
    best = {cost: front([(r.figures.get(cost), r.figures.get(quality)) for r in results]) for cost in COSTS if quality}
    head = (*keys, *(words(_label(key)) for key in figures), "best in", "refused")
    rows: list[tuple[Cell, ...]] = []
    for number, result in enumerate(results):
        names = [words(_label(cost)) for cost, on in best.items() if number in on]
        mark = Html(f"<b>{escape(', '.join(names))}</b>") if names else ""
        rows.append((*_settings(result, keys), *_values(result, figures), mark, result.error))
    numeric = tuple(range(len(keys), len(keys) + len(figures)))
    return section("Points", "In the order of the file.", table(head, rows, numeric=numeric))


def _settings(result: Result, keys: Sequence[str]) -> list[str]:
    return [_setting(key, result.point.get(key, "")) for key in keys]


def _named(result: Result, keys: Sequence[str]) -> Iterator[str]:
    yield from (f"{key} {_setting(key, result.point[key])}" for key in keys if key in result.point)


def _setting(key: str, value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text.rpartition("/")[2] if key in PATHS else text


def _values(result: Result, figures: Sequence[str]) -> list[str]:
    return [_value(key, result.figures[key]) if key in result.figures else "" for key in figures]


def _value(key: str, value: float) -> str:
    return f"{value:.2%}" if "accuracy" in key else quantity(_label(key), value)


def _label(key: str) -> str:
    """``cost.energy_pj.per_sequence.nominal`` to ``energy_pj``."""
    parts = key.split(".")
    return parts[1] if parts[0] == "cost" else key
