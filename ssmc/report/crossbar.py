"""The report of a crossbar target: which cells hold which kernel, real-time margin, and why each choice was made."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from ssmc.ir.serialize import Json
from ssmc.report.markup import Cell, section, table
from ssmc.report.units import number, quantity, words

SIDE = 150.0
HUES = 8
MOST_DRAWN = 24


def crossbar_sections(cost: Json) -> Iterator[str]:
    """The sections, those that the cost has something for."""
    yield _mapping(cost.get("mapping", []))
    yield _schedule(cost)
    yield _decisions(cost.get("decisions", []))


def _mapping(layouts: list[Json]) -> str:
    if not layouts:
        return ""
    matrices = list(dict.fromkeys(block["matrix"] for layout in layouts for block in layout["blocks"]))
    figures = "".join(_figure(layout, matrices) for layout in layouts[:MOST_DRAWN])
    rest = len(layouts) - MOST_DRAWN
    more = f"<p>and {rest} further layouts in report.json</p>" if rest > 0 else ""
    lead = (
        "Which cells of the arrays hold which matrix; rows are inputs, columns outputs. Arrays that look the same are "
        "drawn once. Blocks of the same wave are driven at once, others one after the other."
    )
    return section("Mapping", lead, f'<div class="charts">{figures}</div>{more}')


def _figure(layout: Json, matrices: list[str]) -> str:
    names = ", ".join(dict.fromkeys(block["matrix"] for block in layout["blocks"]))
    title = f"{layout['arrays']} × {names}"
    note = f"{layout['rows']} × {layout['columns']} cells, {layout['utilisation']:.0%} used"
    return f"<figure><h3>{escape(title)}</h3>{array_svg(layout, matrices, title)}<p>{escape(note)}</p></figure>"


def array_svg(layout: Json, matrices: list[str], title: str) -> str:
    """One array: its outline, its blocks (colour by matrix, shade by wave), and the reference column."""
    scale = SIDE / max(layout["rows"], layout["columns"])
    width, height = layout["columns"] * scale, layout["rows"] * scale
    blocks = "".join(_block(block, matrices.index(block["matrix"]), scale) for block in layout["blocks"])
    edge = (layout["columns"] - layout["reference_columns"]) * scale
    reference = f'<path class="axis" d="M {edge:.1f} 0 V {height:.1f}"/>' if layout["reference_columns"] else ""
    return (
        f'<svg class="array" viewBox="-1 -1 {width + 2:.1f} {height + 2:.1f}" width="{width + 2:.0f}" '
        f'height="{height + 2:.0f}" role="img" aria-label="{escape(title)}">'
        f'<rect x="0" y="0" width="{width:.1f}" height="{height:.1f}" fill="none" stroke="currentColor"/>'
        f"{blocks}{reference}</svg>"
    )


def _block(block: Json, index: int, scale: float) -> str:
    x, y, w, h = (block[key] * scale for key in ("column", "row", "columns", "rows"))
    hue, opacity = 360 * (index % HUES) // HUES, 0.85 - 0.5 * (block["wave"] % 4) / 4
    span = f"rows {block['row']}+{block['rows']}, columns {block['column']}+{block['columns']}, wave {block['wave']}"
    return (
        f'<rect x="{x:.2f}" y="{y:.2f}" width="{w:.2f}" height="{h:.2f}" fill="hsl({hue} 55% 50%)" '
        f'fill-opacity="{opacity:.2f}"><title>{escape(block["matrix"])}: {span}</title></rect>'
    )


def _schedule(cost: Json) -> str:
    rows: list[tuple[Cell, ...]] = []
    if "real_time" in cost:
        margin = cost["real_time"]
        rate = margin["steps_per_s"]
        verdict = "keeps up" if margin["keeps_up"] else "is too slow"
        rows.append(("sample rate", f"{number(rate)} steps/s: {verdict}, margin {margin['margin']:.3g}×"))
        rows.append(("latency", f"{margin['latency_samples']:.3g} samples"))
        rows.append(("power at that rate, without leakage", f"{margin['power_uw']:.3g} µW"))
    if "one_more_adc" in cost:
        more = cost["one_more_adc"]
        gain = f"{number(more['max_steps_per_s'])} steps/s, {more['times_faster']:.3g}× as fast"
        paid = f"for {quantity('um2', more['area_added_um2'])}; then limited by {more['limited_by']}"
        rows.append((f"one more converter an array ({more['adcs_per_array']})", f"{gain}, {paid}"))
    if not rows:
        return ""
    limit = f"{number(cost['max_steps_per_s'])} steps/s, limited by {cost['limited_by'] or 'nothing'}"
    lead = (
        "The next step cannot start before the state is back at the drivers; the slowest loop or resource sets the "
        "pace."
    )
    return section("Real time", lead, table(("figure", "value"), [("as compiled", limit), *rows]))


def _decisions(decisions: list[Json]) -> str:
    rows = [row for decision in decisions for row in _weighed(decision)]
    if not rows:
        return ""
    head = ("decision", "alternative", "energy of a step and the end", "area", "interval", "")
    lead = "What was weighed where the compiler chose: figures of the whole program with each alternative."
    return section("Decisions", lead, table(head, rows, numeric=(2, 3, 4)))


def _weighed(decision: Json) -> Iterator[tuple[Cell, ...]]:
    for name, figures in sorted(decision["alternatives"].items()):
        mark = "chosen" if name == decision["chosen"] else ""
        if isinstance(figures, str):
            yield decision["what"], name, "–", "–", "–", figures
            continue
        keys = ("energy_pj", "area_um2", "initiation_interval_ns")
        yield decision["what"], name, *(quantity(key, figures[key]) for key in keys), mark


def decision_lines(cost: Json) -> list[str]:
    """For a terminal: one line a decision."""
    return [f"{d['what']}: {d['chosen']}" for d in cost.get("decisions", [])]


def schedule_lines(cost: Json) -> list[tuple[str, str]]:
    """For a terminal: (figure, value) of margin and of one more converter."""
    found = []
    for key in ("real_time", "one_more_adc"):
        for name, value in sorted(cost.get(key, {}).items()):
            shown = value if isinstance(value, str | bool) else quantity(name, value)
            found.append((f"{words(key)}: {words(name)}", str(shown)))
    return found
