"""The report of a crossbar target: which cells hold which kernel, real-time margin, and why each choice was made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ssmc.ir.serialize import Json
from ssmc.report.array_drawing import HUES, figure
from ssmc.report.costs import shown
from ssmc.report.markup import Cell, Html, escape, section, table
from ssmc.report.units import number, quantity, words

LOOP_WIDTH = 980.0
MOST_DRAWN = 24
SCALES = {
    "first_code": "first code",
    "last_code": "last code",
    "accumulator_units": "full scale, accumulator units",
    "full_scale_ua": "full scale, µA",
    "full_scale_v": "full scale, V",
}


def crossbar_sections(cost: Json) -> Iterator[str]:
    """The sections, those that the cost has something for."""
    yield _warnings(cost.get("warnings", []))
    yield _mapping(cost.get("mapping", []))
    yield _schedule(cost)
    yield _lossy(cost)
    yield _converters(cost.get("converters", []))
    yield _decisions(cost.get("decisions", []))
    yield _basis(cost)


def _mapping(layouts: list[Json]) -> str:
    if not layouts:
        return ""
    figures = "".join(figure(layout, _matrices(layouts)) for layout in layouts[:MOST_DRAWN])
    rest = len(layouts) - MOST_DRAWN
    more = f"<p>and {rest} further layouts in report.json</p>" if rest > 0 else ""
    lead = (
        "Which cells of the arrays hold which matrix; rows are inputs with their drivers left, columns outputs with "
        "their converters below. Arrays that look the same are drawn once; dark: cells of the first that are not at "
        "code 0. Dashed: where the states of a kernel end. Blocks of one wave are driven at once, others one after the "
        "other."
    )
    return section("Mapping", lead, f'<div class="charts">{figures}</div>{more}')


def _lossy(cost: Json) -> str:
    """What conversions that round or clip partial sums change."""
    found = cost.get("lowering")
    if not found:
        return ""
    lead = (
        "Some converters round or clip partial sums, so the program differs from the one before mapping. Both were run "
        f"free in integers on {found['sequences']} sequences of {found['steps']} steps of drawn input."
    )
    share = found["codes_differing"] / found["codes_compared"]
    rows = [
        ("codes that differ", f"{number(found['codes_differing'])} of {number(found['codes_compared'])} ({share:.2%})"),
        ("largest difference of an output", f"{number(found['largest_output_difference_codes'])} codes"),
    ]
    lossy = [(m["matrix"], m["why"]) for m in cost["matrices"] if m["conversion"] == "lossy"]
    return section("Lossy conversions", lead, table(("figure", "value"), rows), table(("matrix", "why"), lossy))


def _warnings(lines: list[str]) -> str:
    """Figures that do not follow the keys that they depend on."""
    if not lines:
        return ""
    lead = "These figures of the hardware file were measured at other settings than the file has."
    return section("Figures that do not follow", lead, table(("warning",), [(line,) for line in lines]))


def _converters(found: list[Json]) -> str:
    """The full scale of the converters of every matrix, from the narrowest column to the widest."""
    if not found:
        return ""
    lead = (
        "What the converters take at full scale, from the narrowest column to the widest: in accumulator units (one "
        "cell code times one driver step), and in microampere and volt where the hardware file has dac.read_v and "
        "adc.input_v. report.json has every column."
    )
    keys = [key for key in SCALES if any(key in one for one in found)]
    rows = []
    for name in dict.fromkeys(one["matrix"] for one in found):
        parts = [one for one in found if one["matrix"] == name]
        columns = ([x for one in parts for x in one[key]] for key in keys)
        spans = (f"{number(min(values))} to {number(max(values))}" for values in columns)
        rows.append((name, str(len(parts)), *spans))
    return section("Converter ranges", lead, table(("matrix", "conversions", *(SCALES[key] for key in keys)), rows))


def _matrices(layouts: list[Json]) -> list[str]:
    return list(dict.fromkeys(block["matrix"] for layout in layouts for block in layout["blocks"]))


def _schedule(cost: Json) -> str:
    rows: list[tuple[Cell, ...]] = []
    if "real_time" in cost:
        margin = cost["real_time"]
        rate = margin["steps_per_s"]
        verdict = "keeps up" if margin["keeps_up"] else "is too slow"
        rows.append(("sample rate", f"{number(rate)} steps/s: {verdict}, margin {number(margin['margin'], 3)}×"))
        rows.append(("latency", f"{margin['latency_samples']:.3g} samples"))
        rows.append(("power at that rate, with the leakage that the file knows", f"{margin['power_uw']:.3g} µW"))
    if "one_more_adc" in cost:
        more = cost["one_more_adc"]
        gain = f"{number(more['max_steps_per_s'])} steps/s, {more['times_faster']:.3g}× as fast"
        paid = f"for {quantity('um2', more['area_added_um2'])}; then limited by {more['limited_by']}"
        rows.append((f"one more converter an array ({more['adcs_per_array']})", f"{gain}, {paid}"))
    stages = cost.get("limit", {}).get("stages", [])
    if not rows and not stages:
        return ""
    drawing = _stages(stages) if stages else ""
    limit = f"{shown('max_steps_per_s', cost['max_steps_per_s'])} steps/s, limited by {cost['limited_by'] or 'nothing'}"
    lead = (
        "The next step cannot start before the state is back at the drivers; the slowest loop or resource sets the "
        "pace."
    )
    return section("Real time", lead, drawing, table(("figure", "value"), [("as compiled", limit), *rows]))


def _stages(stages: list[Json]) -> str:
    """What limits the rate, one after the other: widths are times."""
    whole = sum(stage["ns"] for stage in stages)
    kinds = list(dict.fromkeys(stage["instruction"] for stage in stages))
    hues = {kind: 360 * k // max(len(kinds), HUES) for k, kind in enumerate(kinds)}
    x, parts = 0.0, []
    for stage in stages:
        width = LOOP_WIDTH * stage["ns"] / whole
        parts.append(_stage(stage, x, width, hues[stage["instruction"]]))
        x += width
    head = ("stage", "time", "share", "made of")
    legend = [_kind(stages, kind, hue, whole) for kind, hue in hues.items()]
    return (
        f'<svg class="stages" viewBox="0 0 {LOOP_WIDTH:.0f} 26" width="{LOOP_WIDTH:.0f}" height="26" role="img" '
        f'aria-label="what limits the rate">{"".join(parts)}</svg>{table(head, legend, numeric=(1, 2))}'
    )


def _stage(stage: Json, x: float, width: float, hue: int) -> str:
    words = f"{stage['op']}, {stage['instruction']}: {stage['how']} = {quantity('ns', stage['ns'])}"
    label = f"{stage['instruction']} {quantity('ns', stage['ns'])}"
    fits = width > 7 * len(label)
    text = f'<text x="{x + width / 2:.1f}" y="17" text-anchor="middle">{escape(label)}</text>' if fits else ""
    return (
        f'<rect x="{x:.1f}" y="0" width="{width:.1f}" height="26" fill="hsl({hue} 50% 60%)"><title>{escape(words)}'
        f"</title></rect>{text}"
    )


def _kind(stages: list[Json], kind: str, hue: int, whole: float) -> tuple[Cell, ...]:
    """All stages of one instruction: its colour, their time together, and how it is computed."""
    same = [stage for stage in stages if stage["instruction"] == kind]
    time = sum(stage["ns"] for stage in same)
    each = Counter(f"{stage['how']} = {quantity('ns', stage['ns'])}" for stage in same)
    made = "; ".join(f"{count} times {how}" if count > 1 else how for how, count in each.items())
    name = Html(f'<span class="key" style="background: hsl({hue} 50% 60%)"></span>{escape(kind)}')
    return name, quantity("ns", time), f"{time / whole:.1%}", made


def _decisions(decisions: list[Json]) -> str:
    rows = [row for decision in decisions for row in _weighed(decision)]
    if not rows:
        return ""
    head = ("decision", "alternative", "energy of a step and the end", "area", "interval", "")
    lead = "What was weighed where the compiler chose: figures of the whole program with each alternative."
    return section("Decisions", lead, table(head, rows, numeric=(2, 3, 4)))


def _basis(cost: Json) -> str:
    """How far the figures can be trusted: assumed keys, and what the file leaves out."""
    shares, missing = cost.get("assumed_share"), cost.get("not_modelled")
    if not shares or missing is None:
        return ""
    rows = [(words(key), f"{share:.0%}") for key, share in sorted(shares.items())]
    left_out = [("no cost", what) for what in missing["costs"]] + [("no effect", what) for what in missing["noise"]]
    lead = (
        "Every figure is a count times a key of the hardware file. Keys with a source are published; assumed ones are "
        "plausible. What is not modelled is left out of cost and noise, which does not mean that it is 0."
    )
    parts = [table(("figure", "share on assumed keys"), rows, numeric=(1,))]
    parts += [table(("not modelled", "what, and the keys that would"), left_out)] if left_out else []
    return section("What the figures rest on", lead, *parts)


def basis_lines(cost: Json) -> list[tuple[str, str]]:
    """For a terminal: the same."""
    shares, missing = cost.get("assumed_share", {}), cost.get("not_modelled", {})
    lines = [(f"{words(key)} on assumed keys", f"{share:.0%}") for key, share in sorted(shares.items())]
    return lines + [("not modelled", what) for kind in sorted(missing) for what in missing[kind]]


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
